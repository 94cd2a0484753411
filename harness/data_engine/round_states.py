"""The state of a round, `round1/round.json`: what it was begun with, which thresholds it chose, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.data_engine.tables import write_durably
from harness.errors import DataError

NAME = "round.json"
Thresholds = Mapping[str, Mapping[str, Mapping[str, Any]]]  # stage -> setting -> origin's name -> value


class Scores(msgspec.Struct, frozen=True):
    """Kept regions of calibration images versus their truth, in percent."""

    precision: float
    recall: float
    f1: float


class Moves(msgspec.Struct, frozen=True):
    """What a round changed among the kept annotations of a kind; see `harness.data_engine.churn`."""

    before: int
    after: int
    added: int
    dropped: int
    moved: int

    @property
    def share(self) -> float:
        """The changed annotations, in percent of those that one of the two rounds keeps at least; 0 without any."""
        changed = self.added + self.dropped + self.moved
        every = self.before + self.added
        return 100 * changed / every if every else 0.0


class Outcome(msgspec.Struct, frozen=True):
    """How a round ended.

    `before` and `after` are scores on the `images` that no threshold of the round was chosen on, under the round that
    it builds on and under itself.  `gain` is the difference of F1 with its 95 % interval by image, in points; None
    where there is none.
    """

    promoted: bool
    images: int
    before: Scores
    after: Scores
    gain: tuple[float, float | None, float | None]
    churn: Mapping[str, Moves]


class RoundState(msgspec.Struct, frozen=True):
    """A round: its number, the round that it builds on, its settings, and the digest of the annotations it teaches.

    `thresholds` is empty before they are chosen; `outcome` is None before the round ended.
    """

    round: int
    base: int
    settings: Mapping[str, Any]
    labels: str
    thresholds: Thresholds = {}
    outcome: Outcome | None = None


def read_state(folder: Path) -> RoundState | None:
    """The state of the round in a folder; None if it has none, DataError if its file is damaged."""
    path = folder / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=RoundState)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: {error}; restore it, or delete {folder} to make the round again"
        ) from error


def write_state(folder: Path, state: RoundState) -> None:
    """Writes the state of a round whole or not at all; ResourceError if the disk is full."""
    write_durably(folder / NAME, json.dumps(msgspec.to_builtins(state), indent=1).encode() + b"\n")
