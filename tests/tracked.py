"""What TensorBoard reads of the runs that a command sent to it, in the working directory of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Sent(NamedTuple):
    """A run: its folder's name without the time, its texts by name, and (step, value) of its numbers by name."""

    name: str
    texts: dict[str, str]
    numbers: dict[str, list[tuple[int, float]]]


def sent(folder: Path) -> list[Sent]:
    """The runs below `folder`, in the order of their names; the test is skipped without TensorBoard."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return [_read(accumulator.EventAccumulator(str(path)).Reload(), path) for path in sorted(folder.iterdir())]


def _read(read: Any, path: Path) -> Sent:
    tags = read.Tags()
    texts = {tag.removesuffix("/text_summary"): read.Tensors(tag)[0].tensor_proto.string_val[0].decode()
             for tag in tags["tensors"]}  # fmt: skip
    numbers = {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in tags["scalars"]}
    return Sent(path.name.rsplit("-", 3)[0], texts, numbers)
