"""People's verdicts on the sample of an audit, from the page's file or an export of Label Studio.

The page downloads lines of JSON: {"sample": ..., "annotation": ..., "verdict": "right", "by": "Ann"}.  Label Studio's
export is a JSON list of tasks, with one annotation for each person; an annotation that was skipped is no verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from harness.data_engine.audit import AuditSample
from harness.errors import DataError

Decision = Literal["right", "wrong", "cannot tell"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
Verdicts = dict[str, dict[str, Decision]]  # person -> annotation -> verdict


class _Line(msgspec.Struct):
    """A line of the page's file."""

    sample: str
    annotation: str
    verdict: Decision
    by: Annotated[str, msgspec.Meta(max_length=200)] = ""


class _Data(msgspec.Struct):
    sample: str
    annotation: str


class _Annotation(msgspec.Struct):
    result: list[dict[str, Any]]
    completed_by: int | dict[str, Any] | None = None
    was_cancelled: bool = False


class _Task(msgspec.Struct):
    """A task in an export of Label Studio."""

    data: _Data
    annotations: list[_Annotation]


def sample_of(path: Path) -> str:
    """The id of the sample that the first verdict of a file is on; DataError for a file without one."""
    for _, line in _lines(path):
        return line.sample
    raise DataError(f"{path} has no verdicts")


def read_verdicts(path: Path, sample: AuditSample) -> Verdicts:
    """The verdicts of each person in a file; of several on one annotation, the last.

    DataError for a damaged file, for one without verdicts, and for verdicts on another sample.
    """
    known = {item.annotation for item in sample.items}
    verdicts: Verdicts = {}
    for place, line in _lines(path):
        if line.sample != sample.id or line.annotation not in known:
            raise DataError(f"{path}, {place}: a verdict on another sample than {sample.id}; give its own file")
        verdicts.setdefault(line.by, {})[line.annotation] = line.verdict
    if not verdicts:
        raise DataError(f"{path} has no verdicts")
    return verdicts


def _lines(path: Path) -> Iterator[tuple[str, _Line]]:
    """Every verdict of a file, and its place for messages."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"the verdicts {path} cannot be read: {error.strerror or error}") from error
    if data.lstrip()[:1] == b"[":
        yield from _of_label_studio(path, data)
        return
    for number, text in enumerate(data.splitlines(), 1):
        if text.strip():
            place = f"line {number}"
            try:
                yield place, msgspec.json.decode(text, type=_Line)
            except ValueError as error:
                raise DataError(f"{path}, {place}: {error}; a verdict is one of {', '.join(DECISIONS)}") from error


def _of_label_studio(path: Path, data: bytes) -> Iterator[tuple[str, _Line]]:
    try:
        tasks = msgspec.json.decode(data, type=list[_Task])
    except ValueError as error:
        raise DataError(f"{path} is no export of Label Studio's in JSON: {error}") from error
    for number, task in enumerate(tasks, 1):
        for annotation in task.annotations:
            choices = [each["value"] for each in annotation.result if each.get("type") == "choices" and "value" in each]
            if annotation.was_cancelled or not choices:
                continue
            place = f"task {number}"
            try:
                [verdict] = msgspec.convert(choices[0].get("choices"), tuple[Decision])
            except (ValueError, AttributeError) as error:
                raise DataError(f"{path}, {place}: {error}; a verdict is one of {', '.join(DECISIONS)}") from error
            yield place, _Line(task.data.sample, task.data.annotation, verdict, _person(annotation.completed_by))


def _person(completed_by: int | dict[str, Any] | None) -> str:
    """The name of a person in an export: an address, or a number."""
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("email") or completed_by.get("id")
    return "" if completed_by is None else str(completed_by)[:200]
