"""Verdicts of people: the page's file, an export of Label Studio, and damaged ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.data_engine import audit_verdicts
from harness.errors import DataError
from tests.harness.data_engine.test_audit_estimates import SAMPLE


def written(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def verdict(**changes: object) -> dict[str, object]:
    line = {"sample": SAMPLE.id, "annotation": SAMPLE.items[0].annotation, "verdict": "right", "by": "Ann"}
    return line | changes


def test_verdicts_of_a_person_are_read_and_the_last_of_an_item_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "v.jsonl", verdict(), "", verdict(verdict="wrong"))
    assert audit_verdicts.read_verdicts(path, SAMPLE) == {"Ann": {SAMPLE.items[0].annotation: "wrong"}}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((verdict(verdict="maybe"),), r"v\.jsonl, line 1: .*; a verdict is one of right, wrong, cannot tell"),
        ((verdict(), '{"sample": '), "line 2: "),
        ((verdict(sample="other"),), "line 1: a verdict on another sample than "),
        ((verdict(annotation="unknown"),), "a verdict on another sample"),
        (("",), "has no verdicts"),
    ],
)
def test_damaged_verdicts_are_refused(lines: tuple[object, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        audit_verdicts.read_verdicts(written(tmp_path / "v.jsonl", *lines), SAMPLE)


def test_absent_verdicts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        audit_verdicts.read_verdicts(tmp_path / "absent.jsonl", SAMPLE)


def exported(choice: object, by: object = 7, place: int = 0, **more: object) -> dict[str, object]:
    """A task as Label Studio exports it."""
    result = [{"type": "choices", "from_name": "verdict", "to_name": "image", "value": {"choices": choice}}]
    data = {"image": "x", "sample": SAMPLE.id, "annotation": SAMPLE.items[place].annotation}
    annotation = {"id": 1, "completed_by": by, "result": result, "was_cancelled": False, **more}
    return {"id": 12, "data": data, "annotations": [annotation], "predictions": []}


def test_export_of_label_studio_has_the_verdicts_of_each_person(tmp_path: Path) -> None:
    tasks = [
        exported(["right"]), exported(["cannot tell"], {"id": 3, "email": "bob@x"}, 1), exported(["wrong"], 7, 2),
        exported(["wrong"], 7, 3, was_cancelled=True), {**exported(["right"], 7, 4), "annotations": []},
    ]  # fmt: skip
    path = written(tmp_path / "export.json", json.dumps(tasks, indent=1))
    names = [item.annotation for item in SAMPLE.items]
    assert audit_verdicts.read_verdicts(path, SAMPLE) == {
        "7": {names[0]: "right", names[2]: "wrong"}, "bob@x": {names[1]: "cannot tell"},
    }  # fmt: skip
    assert audit_verdicts.sample_of(path) == SAMPLE.id


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([{"data": {}}], "is no export of Label Studio's in JSON: "),
        ([exported(["maybe"])], r"task 1: .*; a verdict is one of right, wrong, cannot tell"),
        ([exported(["right", "wrong"])], "task 1: "),
        ([exported(None)], "task 1: "),
        ([], "has no verdicts"),
    ],
)
def test_damaged_export_of_label_studio_is_refused(tasks: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        audit_verdicts.read_verdicts(written(tmp_path / "export.json", tasks), SAMPLE)
