"""Parsers against malformed files: each file is read, or refused with one line that names the file and the problem."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core import PredictionFormat, Sample, Source, Task
from harness.data import manifest
from harness.errors import DataError
from tasks import TASKS
from tests import embedded

EMBEDDED = [task.name for task in embedded.EMBEDDED]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.just(10**30), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), st.sampled_from(["", "7", "COCO_val2014_000000000007.jpg", "\u2028", "🐕"]),
)  # fmt: skip
NAMES = st.sampled_from(["image_id", "question_id", "sent_id", "image", "caption", "answer", "bbox", "score", "boxes",
                         "category_id", "segmentation", "sentence_id"])  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=12
)
QUIET = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def reads_or_refuses(read: Callable[[], object], name: str) -> None:
    """Checks that reading succeeds, or fails with one line that names the file."""
    try:
        read()
    except DataError as error:
        assert "\n" not in str(error)
        assert name in str(error)


@pytest.fixture(scope="module")
def samples(miniature: Path) -> dict[str, list[Sample[Any]]]:
    """Three samples of each task."""
    return {name: list(TASKS[name].load(Source(miniature, TASKS[name].splits[0])))[:3] for name in EMBEDDED}


def mutate(draw: st.DrawFn, entries: list[Any]) -> Any:
    """The content of a good file with one change, or any other content."""
    value = json.loads(json.dumps(entries))
    change = draw(st.sampled_from(["value", "drop", "extra", "double", "whole"]))
    if change == "whole" or not value or not isinstance(value[0], dict):
        return draw(VALUES)
    entry = value[draw(st.integers(0, len(value) - 1))]
    key = draw(st.sampled_from(sorted(entry)))
    if change == "value":
        entry[key] = draw(VALUES)
    elif change == "drop":
        del entry[key]
    elif change == "extra":
        value.append(draw(VALUES))
    else:
        value.append(entry)
    return value


def _is_json(form: PredictionFormat) -> bool:
    return form.ending == ".json" and not form.folder


@st.composite
def changed(draw: st.DrawFn, entries: list[Any]) -> Any:
    return mutate(draw, entries)


# test_embeddings.py tests the files of embeddings, which are not JSON.
@pytest.mark.parametrize("name", [name for name in EMBEDDED if _is_json(TASKS[name].predictions)])
@QUIET
@given(data=st.data())
def test_changed_predictions_are_read_or_refused(
    name: str, samples: dict[str, list[Sample[Any]]], tmp_path: Path, data: st.DataObject
) -> None:
    task: Task[Any] = TASKS[name]
    good = tmp_path / "good.json"
    if not good.exists():
        from baselines.oracle import Oracle
        from harness.core import Row, Score

        oracle = Oracle(samples[name])
        rows = [
            Row(s, answer, Score({}))
            for s in samples[name]
            if not hasattr(answer := oracle.answer_to(s.question), "reason")
        ]
        task.predictions.write(good, rows)
        assert task.predictions.read(good, samples[name]).keys() == {s.id for s in samples[name]}
    path = tmp_path / "p.json"
    path.write_text(json.dumps(data.draw(changed(json.loads(good.read_text())))))
    reads_or_refuses(lambda: task.predictions.read(path, samples[name]), "p.json")


# test_flickr30k.py tests the files of Flickr30k.
@pytest.mark.parametrize("name", [name for name in EMBEDDED if name != "flickr30k"])
def test_truncated_annotations_are_a_data_error(name: str, miniature: Path, tmp_path: Path) -> None:
    """Each annotation file truncated to a third, empty, and full of zeros."""
    task: Task[Any] = TASKS[name]
    split = task.splits[0]
    needed = [need for need in manifest.needs(task, [split]) if need.path.endswith((".json", ".p"))]
    for need in needed:
        for spoil in (lambda whole: whole[: len(whole) // 3], lambda whole: b"", lambda whole: b"\0" * 100):
            root = tmp_path / "root"
            for other in manifest.needs(task, [split]):
                if (miniature / other.path).is_file():
                    (root / other.path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(miniature / other.path, root / other.path)
            (root / need.path).write_bytes(spoil((miniature / need.path).read_bytes()))
            with pytest.raises(DataError) as caught:
                assert list(task.load(Source(root, split))), "no samples"
            assert "\n" not in str(caught.value)
