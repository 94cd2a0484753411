"""Shards that independent processes asked, joined: the same answers give the same record as one process."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import store
from harness.core import Embedding, Run, Value
from harness.errors import UsageError
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.merging import Merged, merge
from harness.evaluation.request import Request
from harness.shards import Shard
from harness.store import RunFolder


def run(out: Path, task: str, model: str, shard: Shard | None = None, **more: object) -> list[tuple[Run, RunFolder]]:
    request = Request(task=task, model=model, data="miniature", out=out, shard=shard, **more)  # type: ignore[arg-type]
    return [(evaluated.run, evaluated.folder) for evaluated in evaluate_each(request)]


def shards(out: Path, task: str, model: str, count: int, **more: object) -> None:
    for number in range(1, count + 1):
        run(out, task, model, Shard(number, count), **more)


def answers(folder: RunFolder) -> dict[str, tuple[tuple[str, ...], Value | None]]:
    return {name: (kept.answer.raw, kept.answer.value) for name, kept in folder.answers().items()}


@pytest.mark.parametrize(("task", "model"), [("vqav2", "most-frequent"), ("refcoco_res", "whole-image")])
def test_merged_shards_equal_the_run_of_one_process(tmp_path: Path, task: str, model: str) -> None:
    [(whole, of_whole)] = run(tmp_path / "whole", task, model, limit=20)
    shards(tmp_path / "parts", task, model, 3, limit=20)
    assert not list(store.runs(tmp_path / "parts"))  # nothing takes a shard for a run
    [merged] = merge([tmp_path / "parts"], data="miniature", out=tmp_path / "merged")
    assert merged.run.id == whole.id
    assert merged.run.status == whole.status == "partial"
    assert (merged.run.metrics, merged.missing) == (whole.metrics, ())
    assert answers(merged.folder) == answers(of_whole)
    assert merged.folder.scores() == of_whole.scores()
    assert merged.run.counts == whole.counts


def test_merged_shards_of_embeddings_equal_the_run_but_for_the_batches(tmp_path: Path) -> None:
    """A question about a text goes with the images of its shard; sums in other batches round otherwise."""
    [(whole, of_whole)] = run(tmp_path / "whole", "coco_retrieval", "clip-nano", limit=20)
    shards(tmp_path / "parts", "coco_retrieval", "clip-nano", 3, limit=20)
    [merged] = merge([tmp_path / "parts"], data="miniature", out=tmp_path / "merged")
    assert (merged.run.id, merged.run.status, merged.run.counts) == (whole.id, whole.status, whole.counts)
    mine, theirs = merged.folder.answers(), of_whole.answers()
    assert mine.keys() == theirs.keys()
    for name, kept in mine.items():
        one, other = kept.answer.value, theirs[name].answer.value
        assert isinstance(one, Embedding) and isinstance(other, Embedding)
        np.testing.assert_allclose(one.array, other.array, atol=2e-3)  # float16 of unit vectors


def test_answers_of_one_process_dealt_to_shards_merge_to_the_same_bytes(tmp_path: Path) -> None:
    [(whole, of_whole)] = run(tmp_path / "whole", "coco_caption", "florence2-nano", limit=12)
    shards(tmp_path / "parts", "coco_caption", "florence2-nano", 4, limit=12)
    kept = of_whole.answers()
    for part, _ in store.shards(tmp_path / "parts"):
        names = list(part.answers())
        (part.path / "answers.jsonl").unlink()
        with part.appending() as appender:
            for name in names:
                appender.write(kept[name])
    [merged] = merge([tmp_path / "parts"], data="miniature", out=tmp_path / "merged")
    assert (merged.folder.path / "scores.jsonl").read_bytes() == (of_whole.path / "scores.jsonl").read_bytes()
    assert store.as_json([merged.run.metrics, merged.run.headline]) == store.as_json([whole.metrics, whole.headline])


def test_memory_of_a_gpu_is_the_largest_of_the_shards_that_had_one(tmp_path: Path) -> None:
    shards(tmp_path, "vqav2", "most-frequent", 3, limit=20)
    for (part, record), on_gpu in zip(store.shards(tmp_path), (None, 700.0, 900.5), strict=True):
        peaks = {} if on_gpu is None else {"peak GPU memory MiB": on_gpu}
        part.write_run(replace(record, timings={**record.timings, **peaks}))
    [merged] = merge([tmp_path], data="miniature", out=tmp_path)
    assert merged.run.timings["peak GPU memory MiB"] == 900.5 and merged.run.timings["peak memory MiB"] > 0


def merged_without_the_third(tmp_path: Path) -> Merged:
    shards(tmp_path, "vqav2", "most-frequent", 3, limit=20)
    [third] = tmp_path.rglob("3-of-3")
    shutil.rmtree(third)
    [merged] = merge([tmp_path], data="miniature", out=tmp_path)
    return merged


def test_missing_shard_is_named_and_the_run_asks_only_for_the_rest(tmp_path: Path) -> None:
    merged = merged_without_the_third(tmp_path)
    assert (merged.run.status, merged.missing, dict(merged.run.metrics)) == ("incomplete", ("3/3",), {})
    kept = merged.run.counts["answered"]
    [(rest, _)] = run(tmp_path, "vqav2", "most-frequent", limit=20)
    assert rest.status == "partial"
    assert rest.counts["asked now"] == rest.counts["answered"] - kept


def test_missing_shard_that_comes_later_completes_the_run(tmp_path: Path) -> None:
    merged_without_the_third(tmp_path)
    run(tmp_path, "vqav2", "most-frequent", Shard(3, 3), limit=20)
    [merged] = merge([tmp_path], data="miniature", out=tmp_path)
    assert (merged.run.status, merged.missing) == ("partial", ())
    [again] = merge([tmp_path, tmp_path / "miniature"], data="miniature", out=tmp_path)  # the same shards, named twice
    assert again.run.metrics == merged.run.metrics
    assert again.run.provenance["shards"]["found"] == 3


def test_shards_of_two_countings_give_each_answer_once(tmp_path: Path) -> None:
    shards(tmp_path, "vqav2", "most-frequent", 2, limit=20)
    run(tmp_path, "vqav2", "most-frequent", Shard(1, 4), limit=20)
    [merged] = merge([tmp_path], data="miniature", out=tmp_path / "merged")
    [quarter] = tmp_path.rglob("1-of-4")  # its images are every second of the first half's
    extra = len(RunFolder(quarter).answers())
    lines = (merged.folder.path / "answers.jsonl").read_text().splitlines()
    assert len(lines) == merged.run.counts["answered"]
    assert merged.run.provenance["shards"] | {"machines": {}} == {
        "of": [2, 4], "found": 3, "answered twice": extra, "machines": {},
    }  # fmt: skip


def test_shard_again_asks_nothing_and_fresh_asks_again(tmp_path: Path) -> None:
    [(first, _)] = run(tmp_path, "vqav2", "most-frequent", Shard(1, 2), limit=20)
    [(again, _)] = run(tmp_path, "vqav2", "most-frequent", Shard(1, 2), limit=20)
    assert again == first
    [(fresh, _)] = run(tmp_path, "vqav2", "most-frequent", Shard(1, 2), limit=20, fresh=True)
    assert fresh.counts["asked now"] == first.counts["asked now"] > 0


@pytest.mark.parametrize(("folder", "message"), [("nowhere", "there is no folder"), ("empty", "there are no shards")])
def test_folder_without_shards_is_refused(tmp_path: Path, folder: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        list(merge([tmp_path / folder]))


def test_removing_a_run_removes_its_shards(tmp_path: Path) -> None:
    shards(tmp_path, "vqav2", "most-frequent", 2, limit=20)
    [merged] = merge([tmp_path], data="miniature", out=tmp_path)
    assert merged.folder.remove(tmp_path) == ()
    assert not list(tmp_path.rglob("*.json*"))
