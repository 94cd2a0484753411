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
from tests.baselines.test_grounding_dino import saved
from tests.hostile import DEATHS

ray = pytest.importorskip("ray")
CASES: list[tuple[str, str, int, int | None]] = [  # model, tasks, workers, questions of a chunk
    ("florence2-nano", "coco_caption,refcoco_res,coco_detection,textvqa", 2, None),
    ("florence2-nano", "textvqa", 1, 1),
    ("florence2-nano", "refcoco", 3, 5),
    ("grounding-dino-t", "coco_detection,refcoco", 2, 3),
    ("clip-nano", "flickr30k_retrieval", 3, None),
    ("centre-box", "refcoco", 1, None),
]
if DEATHS > 1:  # the long form, in `make hostile`: each rival with every number of workers
    CASES += [("grounding-dino-t", "coco_detection,refcoco", workers, None) for workers in (1, 3)]
    CASES += [("clip-nano", "flickr30k_retrieval", workers, 2) for workers in (1, 2)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    connect("local", 3)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grounding DINO with random weights."""
    return saved(tmp_path_factory.mktemp("dino"), "gdino")


def runs(out: Path, model: str, task: str = "refcoco", **more: Any) -> list[tuple[Run, RunFolder]]:
    request = Request(task=task, model=model, data="miniature", limit=8, out=out, **more)
    return [(evaluated.run, evaluated.folder) for evaluated in evaluate_each(request)]


def scores(kept: Kept) -> list[float]:
    value = kept.answer.value
    if isinstance(value, Boxes):
        return [*(value.region_scores or ()), *(value.label_scores or ())]
    return []


@pytest.mark.parametrize(("model", "task", "workers", "chunk"), CASES)
def test_answers_of_workers_are_those_of_one_process(
    tmp_path: Path, tiny: Path, model: str, task: str, workers: int, chunk: int | None
) -> None:
    weights = str(tiny) if model == "grounding-dino-t" else None
    alone = runs(tmp_path / "alone", model, task, weights=weights)
    spread = runs(tmp_path / "spread", model, task, weights=weights, spread=Spread(workers=workers, chunk=chunk))
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
