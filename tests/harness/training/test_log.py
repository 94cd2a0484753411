"""The training log: means over the steps of a row, resumed logs, new columns and damaged lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.training.log import Log, plot, read
from harness.training.recipe import Plan

PLAN = Plan(steps=45, batch=4, rate=1.0)  # rows end after steps 19, 39 and 44


def write(log: Log, first: int, last: int) -> None:
    """Steps `first` to `last`, each with its number as the loss."""
    for step in range(first, last + 1):
        log(step, {"loss": float(step)}, rate=0.5)


def test_row_is_mean_of_its_steps(tmp_path: Path) -> None:
    with Log(tmp_path / "run.csv", PLAN).starting_at(0) as log:
        write(log, 0, 44)
    rows = read(tmp_path / "run.csv")
    # Means of 0..19, 20..39 and 40..44: (first + last) / 2.
    assert [(row["step"], row["loss"], row["rate"]) for row in rows] == [(19, 9.5, 0.5), (39, 29.5, 0.5), (44, 42, 0.5)]
    assert rows[-1]["seconds left"] == 0
    assert all(row["images/s"] > 0 for row in rows)
    assert (tmp_path / "run.png").is_file()


def test_resumed_log_has_the_means_of_an_uninterrupted_log(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    with Log(path, PLAN).starting_at(0) as log:
        write(log, 0, 29)
        state = log.state_dict()
        write(log, 30, 41)  # these steps were not saved, so the resumed run repeats them
    assert [row["step"] for row in read(path)] == [19, 39]
    resumed = Log(path, PLAN)
    resumed.load_state_dict(state)
    with resumed.starting_at(30) as log:
        assert [row["step"] for row in read(path)] == [19]
        write(log, 30, 44)
    assert [(row["step"], row["loss"]) for row in read(path)] == [(19, 9.5), (39, 29.5), (44, 42)]


def test_new_kind_adds_a_column_with_empty_cells_before(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    with Log(path, PLAN).starting_at(0) as log:
        write(log, 0, 19)
        for step in range(20, 40):
            log(step, {"loss": 1.0, "caption": 2.0 if step < 30 else 4.0}, rate=0.5)
    assert path.read_text().splitlines()[0] == "step,loss,caption,rate,images/s,seconds left"
    first, second = read(path)
    assert "caption" not in first
    assert second["caption"] == 3.0  # the mean of ten 2s and ten 4s


def test_read_of_damaged_lines_skips_them(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_bytes(b"step,loss\n19,1.5\nx,2\n,3\n39,\xff\n59,\0 2.5\n7")
    assert read(path) == [{"step": 19, "loss": 1.5}, {"step": 59, "loss": 2.5}, {"step": 7}]
    assert read(tmp_path / "none.csv") == []


def test_disabled_log_writes_nothing(tmp_path: Path) -> None:
    with Log(tmp_path / "run.csv", PLAN, enabled=False).starting_at(0) as log:
        write(log, 0, 44)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_plot_of_loss_that_is_not_finite_writes_an_image(value: float, tmp_path: Path) -> None:
    rows = [{"step": step, "loss": loss, "rate": 0.1} for step, loss in ((19, 2.0), (39, value), (59, 1.0))]
    plot(rows, tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
