"""Cells of the data engine's study: their order, the gate, and records that are made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DataError, UsageError
from harness.protocols import engine_study as study
from harness.protocols.engine_study import ARMS, TRUTH, Cell, Sizes

SIZES = Sizes()


class Making:
    """Makes cells whose models have this F1, and lists them."""

    def __init__(self, f1: float = 90.0) -> None:
        self.f1, self.made = f1, list[str]()

    def __call__(self, cell: Cell) -> Mapping[str, Any]:
        self.made.append(cell.title)
        return {"labels": {"F1": 70.0}, "model": {"F1": self.f1}}


def test_gate_is_the_first_cell_of_each_seed_and_arms_without_noise_are_made_once() -> None:
    cells = study.cells_of([0, 1], SIZES)
    assert [(cell.arm, cell.level) for cell in cells[:4]] == [
        (TRUTH, 0.0), ("detailed, from the start", 0.0), ("detailed, from nothing", 0.0), ("raw", 0.5),
    ]  # fmt: skip
    assert [cell.seed for cell in cells] == [0] * (len(cells) // 2) + [1] * (len(cells) // 2)
    # 7 arms of labels with noise at three levels, 3 without noise, and that from the engine at one level
    assert len(cells) == 2 * (3 * 7 + 3 + 1)
    assert {cell.level for cell in cells if cell.arm == "detailed, from the engine"} == {1.0}
    assert {cell.arm for cell in cells} == set(ARMS)
    assert len({cell.identity for cell in cells}) == len(cells)


def test_chosen_arms_bring_the_gate_and_unknown_ones_are_refused() -> None:
    assert {cell.arm for cell in study.cells_of([0], SIZES, arms=["raw"])} == {TRUTH, "raw"}
    with pytest.raises(UsageError, match="--arm loud: no such arm; there are truth, raw, filtered"):
        study.cells_of([0], SIZES, arms=["loud"])


def test_identity_depends_on_sizes_seed_level_and_arm() -> None:
    cell = Cell(arm="raw", level=1.0, seed=0, sizes=SIZES)
    others = [
        replace(cell, arm="filtered"), replace(cell, level=0.5), replace(cell, seed=1),
        replace(cell, sizes=replace(SIZES, steps=401)),
    ]  # fmt: skip
    assert len({each.identity for each in (cell, *others)}) == 5
    assert replace(cell).identity == cell.identity


def test_cell_is_made_once_and_its_record_is_read_again(tmp_path: Path) -> None:
    make, cell = Making(), Cell(arm=TRUTH, level=0.0, seed=0, sizes=SIZES)
    first = study.run_cell(cell, make, tmp_path, {"harness": "x"})
    assert study.run_cell(cell, make, tmp_path, {}) == first == study.read_record(tmp_path, cell)
    assert make.made == ["truth, seed 0"]
    assert (first["arm"], first["sizes"]["steps"], first["model"]) == (TRUTH, 400, {"F1": 90.0})


@pytest.mark.parametrize(("f1", "said"), [(None, "was not made"), (79.9, r"reached F1 79\.9")])
def test_no_cell_is_made_before_its_seed_passed_the_gate(tmp_path: Path, f1: float | None, said: str) -> None:
    truth, raw = (Cell(arm=arm, level=level, seed=0, sizes=SIZES) for arm, level in ((TRUTH, 0.0), ("raw", 1.0)))
    study.run_cell(replace(truth, seed=1), Making(99.0), tmp_path, {})  # of another seed
    if f1 is not None:
        study.run_cell(truth, Making(f1), tmp_path, {})
    make = Making()
    with pytest.raises(UsageError, match=rf"raw, noise 1, seed 0: the model that was taught the truth {said}, and 80"):
        study.run_cell(raw, make, tmp_path, {})
    assert make.made == []


def test_cell_is_made_after_the_gate(tmp_path: Path) -> None:
    study.run_cell(Cell(arm=TRUTH, level=0.0, seed=0, sizes=SIZES), Making(80.0), tmp_path, {})
    record = study.run_cell(Cell(arm="raw", level=1.0, seed=0, sizes=SIZES), Making(10.0), tmp_path, {})
    assert record["labels"] == {"F1": 70.0}


@pytest.mark.parametrize("text", ["{", '{"labels": {}, "model": {"F1": NaN}}', '{"labels": {"F1": null}, "model": {}}'])
def test_damaged_record_is_one_line(tmp_path: Path, text: str) -> None:
    cell = Cell(arm="raw", level=1.0, seed=0, sizes=SIZES)
    path = study.record_path(tmp_path, cell)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(DataError, match=rf"{cell.identity}\.json is damaged.*delete it to run the cell again"):
        study.read_record(tmp_path, cell)
