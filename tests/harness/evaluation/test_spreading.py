"""Runs on a Ray cluster against runs of one process: tokens and values equal, confidences within 1e-5."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cluster.ray_cluster import Spread, connect
from harness.core import Boxes, Quads, Run
from harness.errors import ModelError, UsageError
from harness.evaluation import spreading
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.request import Request
from harness.store import Kept, RunFolder
from tests import toy

ray = pytest.importorskip("ray")
TASKS = {
    "florence2-nano": "coco_caption,refcoco_res,coco_detection,textvqa",
    "clip-nano": "flickr30k_retrieval",
    "centre-box": "refcoco",
}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    connect("local", 2)
    yield
    ray.shutdown()


def runs(out: Path, model: str, **more: Any) -> list[tuple[Run, RunFolder]]:
    request = Request(task=TASKS[model], model=model, data="miniature", limit=8, out=out, **more)
    return [(evaluated.run, evaluated.folder) for evaluated in evaluate_each(request)]


def scores(kept: Kept) -> list[float]:
    value = kept.answer.value
    if isinstance(value, Boxes):
        return [*(value.region_scores or ()), *(value.label_scores or ())]
    return []


@pytest.mark.parametrize("model", TASKS)
def test_answers_of_two_workers_are_those_of_one_process(tmp_path: Path, model: str) -> None:
    alone = runs(tmp_path / "alone", model)
    spread = runs(tmp_path / "spread", model, spread=Spread(workers=2))
    assert [run.id for run, _ in spread] == [run.id for run, _ in alone]
    for (one, of_one), (two, of_two) in zip(alone, spread, strict=True):
        assert two.status == one.status == "partial"
        mine, theirs = of_one.answers(), of_two.answers()
        assert sorted(mine) == sorted(theirs)
        for name, kept in mine.items():
            other = theirs[name]
            assert (other.answer.raw, other.answer.tokens, other.asked) == (
                kept.answer.raw, kept.answer.tokens, kept.asked,
            )  # fmt: skip
            assert scores(other) == pytest.approx(scores(kept), abs=1e-5)
            if not isinstance(kept.answer.value, Boxes | Quads):
                assert other.answer.value == kept.answer.value
        assert two.metrics.keys() == one.metrics.keys()
        assert two.provenance["model"]["executor"]["ray"] == ray.__version__


def test_run_that_one_process_finished_is_not_asked_again_by_a_cluster(tmp_path: Path) -> None:
    [(alone, _)] = runs(tmp_path, "centre-box")
    [(spread, _)] = runs(tmp_path, "centre-box", spread=Spread(workers=1))
    assert spread == alone


def test_workers_with_other_annotations_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's digest is made another one, as if its copy of the file differed from the workers'."""
    request = Request(task="refcoco", model="centre-box", data="miniature", out=tmp_path, spread=Spread(workers=1))
    expect = spreading.expect

    def wrong(cluster: Any, request: Request, part: Any) -> None:
        expect(cluster, request, part)
        cluster._expected = "0" * 64

    monkeypatch.setattr(spreading, "expect", wrong)
    with pytest.raises(ModelError, match="its data has the digest"):
        list(evaluate_each(request))


def test_object_and_oracle_are_refused_since_workers_cannot_build_them(tmp_path: Path) -> None:
    request = Request(task="refcoco", model=toy.Counting(), data="miniature", out=tmp_path, spread=Spread())
    with pytest.raises(UsageError, match="not from an object"):
        list(evaluate_each(request))
    request = Request(task="refcoco", model="oracle", data="miniature", out=tmp_path, spread=Spread())
    with pytest.raises(UsageError, match="built from a task's samples"):
        list(evaluate_each(request))
