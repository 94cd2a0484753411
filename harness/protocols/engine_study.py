"""The study of the data engine's rounds: its arms, its cells and the gate before them.

    labels   a round against filtered labels, without cross-fitting, and against naive replacement: F1 of the labels
    models   taught raw, filtered (also for twice the steps), round 1, round 2, and the truth: mAP
    sparse   100 detailed texts, from the start that the engine taught, from the one before, and from nothing: CIDEr

A cell is an arm with a level of noise and a seed.  The gate: taught the truth from the same start for as many steps, a
model must reach F1 of GATE on held-out scenes.  A weaker model can teach nothing to labels that are better than it, so
without the gate no cell of that seed is made, and the study tells nothing.

Seeds below CHOOSING are reported.  Settings are chosen on seeds from CHOOSING on, which have other scenes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.data_engine.records import digest
from harness.errors import DataError, UsageError
from harness.store.files import replace_file

NAME = "engine"
VERSION = 1  # raise it when the result of a cell changes
GATE = 80.0  # F1 of a model that was taught the truth
CHOOSING = 100  # the first seed to choose settings on
LEVELS = (0.5, 1.0, 1.5)  # factors on the noise of the specialist
SPARSE = 1.0  # the level of the arms on detailed texts
TRUTH = "truth"
ARMS: Mapping[str, str] = {
    TRUTH: "taught the truth: the gate, and the most that labels can give",
    "raw": "labels as the specialist gave them",
    "filtered": "labels after the filters: round 0",
    "filtered, twice the steps": "as many steps as a round and its model, without asking again",
    "replaced": "the labels of the taught model alone, in place of the specialist's",
    "round 1, not cross-fitted": "combined with a model that was taught the images it is asked about",
    "round 1": "combined with models that were not taught the images they are asked about",
    "round 2": "a second round on the first",
    "detailed, from the engine": "detailed texts from the model that round 1 taught",
    "detailed, from the start": "detailed texts from the start of all arms",
    "detailed, from nothing": "detailed texts from random weights",
}
"""Every arm with its description, in the order in which they are made: some use what earlier ones taught."""
AT_NO_LEVEL = (TRUTH, "detailed, from the start", "detailed, from nothing")
Make = Callable[["Cell"], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of the study: numbers of scenes, of steps, and of images in a step; `folds` of cross-fitting."""

    labelled: int = 500
    calibration: int = 200
    held_out: int = 200
    warm_scenes: int = 4_000
    warm_steps: int = 2_000
    steps: int = 400
    texts: int = 100
    text_steps: int = 200
    batch: int = 16
    rate: float = 1e-3
    folds: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """An arm with a level of noise (0 for an arm without noise) and a seed."""

    arm: str
    level: float
    seed: int
    sizes: Sizes

    @property
    def identity(self) -> str:
        """A digest of everything that decides on the result."""
        return digest([VERSION, asdict(self)])

    @property
    def title(self) -> str:
        """Its name in messages."""
        return f"{self.arm}, {f'noise {self.level:g}, ' if self.level else ''}seed {self.seed}"


def cells_of(
    seeds: Iterable[int], sizes: Sizes, *, arms: Sequence[str] | None = None, levels: Sequence[float] = LEVELS
) -> list[Cell]:
    """The cells in the order in which they are made: by seed, the gate first.

    UsageError, with the arms that there are, for another arm.
    """
    for name in arms or ():
        if name not in ARMS:
            raise UsageError(f"--arm {name}: no such arm; there are {', '.join(ARMS)}")
    chosen = [name for name in ARMS if not arms or name in arms or name == TRUTH]
    made = []
    for seed in seeds:
        for level in (0.0, *levels):
            for name in chosen:
                if (name in AT_NO_LEVEL) == (level == 0.0) and (level == SPARSE or name != "detailed, from the engine"):
                    made.append(Cell(arm=name, level=level, seed=seed, sizes=sizes))
    return made


def record_path(results: Path, cell: Cell) -> Path:
    """The file of a cell's record."""
    return results / "ablations" / NAME / f"{cell.identity}.json"


def read_record(results: Path, cell: Cell) -> dict[str, Any] | None:
    """The record of a finished cell, or None; DataError for a damaged one."""
    path = record_path(results, cell)
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        numbers = [*record["labels"].values(), *record["model"].values()]
        finite = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); delete it to run the cell again") from error
    if not finite:
        raise DataError(f"{path} is damaged: some values are not finite numbers; delete it to run the cell again")
    return record


def gate_of(results: Path, cell: Cell) -> float | None:
    """The F1 of the model that was taught the truth, of a cell's seed; None if it was not made."""
    record = read_record(results, Cell(arm=TRUTH, level=0.0, seed=cell.seed, sizes=cell.sizes))
    return None if record is None else float(record["model"]["F1"])


def run_cell(cell: Cell, make: Make, results: Path, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a cell, which is made unless it is there.

    `make` returns `labels` and `model`, each by measure, and what else is recorded; it resumes what was interrupted.
    UsageError for a cell whose seed has not passed the gate.
    """
    finished = read_record(results, cell)
    if finished is not None:
        return finished
    if cell.arm != TRUTH:
        f1 = gate_of(results, cell)
        if f1 is None or f1 < GATE:
            reached = "was not made" if f1 is None else f"reached F1 {f1:.1f}"
            raise UsageError(
                f"{cell.title}: the model that was taught the truth {reached}, and {GATE:g} is the gate: rounds would "
                "tell nothing; more --set warm_steps or steps"
            )
    clock, spent = time.monotonic(), time.process_time()
    made = make(cell)
    record = {
        "identity": cell.identity, **asdict(cell), **made, "seconds": round(time.monotonic() - clock, 1),
        "cpu seconds": round(time.process_time() - spent, 1), "provenance": provenance,
    }  # fmt: skip
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    replace_file(record_path(results, cell), text.encode())
    written: dict[str, Any] = json.loads(text)
    return written
