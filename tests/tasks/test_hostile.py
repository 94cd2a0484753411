"""Every parser against whatever a file may hold: it reads it, or says in one line what is wrong, and where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core import Sample, Source, Task
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


def only_complains(read: Callable[[], object], name: str) -> None:
    """Reading succeeds, or fails with one line that names the file."""
    try:
        read()
    except DataError as error:
        assert "\n" not in str(error)
        assert name in str(error)


@pytest.fixture(scope="module")
def asked(miniature: Path) -> dict[str, list[Sample[Any]]]:
    """Three samples of every task."""
    return {name: list(TASKS[name].load(Source(miniature, TASKS[name].splits[0])))[:3] for name in EMBEDDED}


def mutate(draw: st.DrawFn, entries: list[Any]) -> Any:
    """A good file with one thing changed somewhere, or something else altogether."""
    value = json.loads(json.dumps(entries))
    what = draw(st.sampled_from(["value", "drop", "extra", "double", "whole"]))
    if what == "whole" or not value or not isinstance(value[0], dict):
        return draw(VALUES)
    entry = value[draw(st.integers(0, len(value) - 1))]
    key = draw(st.sampled_from(sorted(entry)))
    if what == "value":
        entry[key] = draw(VALUES)
    elif what == "drop":
        del entry[key]
    elif what == "extra":
        value.append(draw(VALUES))
    else:
        value.append(entry)
    return value


@st.composite
def changed(draw: st.DrawFn, entries: list[Any]) -> Any:
    return mutate(draw, entries)


@pytest.mark.parametrize("name", [name for name in EMBEDDED if not TASKS[name].predictions.folder])
@QUIET
@given(data=st.data())
def test_predictions(name: str, asked: dict[str, list[Sample[Any]]], tmp_path: Path, data: st.DataObject) -> None:
    task: Task[Any] = TASKS[name]
    good = tmp_path / "good.json"
    if not good.exists():
        from baselines.oracle import Oracle
        from harness.core import Row, Score

        oracle = Oracle(asked[name])
        rows = [
            Row(s, answer, Score({}))
            for s in asked[name]
            if not hasattr(answer := oracle.answer_to(s.question), "reason")
        ]
        task.predictions.write(good, rows)
        assert task.predictions.read(good, asked[name]).keys() == {s.id for s in asked[name]}
    path = tmp_path / "p.json"
    path.write_text(json.dumps(data.draw(changed(json.loads(good.read_text())))))
    only_complains(lambda: task.predictions.read(path, asked[name]), "p.json")


@pytest.mark.parametrize(
    "name", [name for name in EMBEDDED if name != "flickr30k"]
)  # whose files have tests of their own
def test_torn_annotations(name: str, miniature: Path, tmp_path: Path) -> None:
    """Every annotation file cut off at a third, emptied, and full of zeros."""
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
