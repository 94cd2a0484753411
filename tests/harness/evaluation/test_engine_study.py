"""The short form of the data engine's study: every arm end to end, once, with a page; and mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.evaluation import engine_study
from harness.evaluation.engine_study import render, run, sizes_of
from harness.protocols import engine_study as protocol
from harness.protocols.engine_study import ARMS, Sizes
from harness.training.history import history_of

TINY = Sizes(
    labelled=8, calibration=8, held_out=4, warm_scenes=8, warm_steps=2, steps=2, texts=4, text_steps=2, batch=2,
    rate=1e-6,
)  # fmt: skip


@pytest.mark.slow
def test_short_form_makes_every_arm_once_and_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At this rate every model stays the start: the gate is lowered, and labels alone differ."""
    monkeypatch.setattr(protocol, "GATE", 1.0)
    given = {"arms": None, "levels": (1.0,), "out": tmp_path, "command": ["test"], "device": "cpu"}
    run([0], TINY, runs=tmp_path / "runs", **given)  # type: ignore[arg-type]
    cells = protocol.cells_of([0], TINY, levels=(1.0,))
    records = {cell.arm: protocol.read_record(tmp_path, cell) or {} for cell in cells}
    assert records.keys() == ARMS.keys()
    assert records["truth"]["labels"] == {"precision": 100.0, "recall": 100.0, "F1": 100.0}
    assert records["raw"]["labels"]["recall"] >= records["filtered"]["labels"]["recall"]
    assert records["raw"]["labels"]["precision"] < records["filtered"]["labels"]["precision"]
    assert records["filtered, twice the steps"]["labels"] == records["filtered"]["labels"]
    assert records["detailed, from the start"]["model"]["CIDEr"] > records["detailed, from nothing"]["model"]["CIDEr"]
    start = next((tmp_path / "runs").glob("start-*/checkpoint"))
    for student in (tmp_path / "runs").rglob("student */checkpoint"):
        runs = history_of(student) or []
        assert runs[:-1] == history_of(start)  # every arm begins from the one start
        assert runs[-1]["recipe"]["plan"]["optimiser"] == "muon"
    for student in (tmp_path / "runs").rglob("student */checkpoint"):
        plan = (history_of(student) or [{}])[-1]["recipe"]["plan"]
        assert plan["steps"] == (4 if "twice" in student.parent.name else 2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    run([0], TINY, runs=tmp_path / "runs", **given)  # type: ignore[arg-type]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    page = render([0], TINY, levels=(1.0,), out=tmp_path, to=tmp_path / "to")
    text = page.read_text()
    assert "11 of 11 cells have a record" in text
    assert all(f"| {arm} |" in text for arm in ARMS)
    assert (tmp_path / "to/engine-labels.csv").is_file()


def test_no_cell_starts_after_the_minutes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run([0], TINY, arms=None, levels=(1.0,), out=tmp_path, command=[], device="cpu", minutes=-1.0, runs=tmp_path)
    assert "truth, seed 0 is not made: --minutes -1 are over; the same command resumes" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_page_of_seeds_for_choosing_is_another_one(tmp_path: Path) -> None:
    page = render([protocol.CHOOSING], TINY, levels=(1.0,), out=tmp_path, to=tmp_path)
    assert page.name == "engine-choosing.md"
    assert "not to be reported" in page.read_text()


def test_sizes_are_changed_by_name() -> None:
    assert sizes_of({"steps": "5", "rate": "0.002"}) == replace(Sizes(), steps=5, rate=0.002)
    assert engine_study.sizes_of({}) == Sizes()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("step", "5", "the study has no 'step'; it has labelled, calibration"),
        ("steps", "many", "--set steps=many: int is expected"),
        ("steps", "2.5", "int is expected"),
        ("folds", "0", "--set folds=0: above 0"),
    ],
)
def test_size_that_cannot_be_is_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sizes_of({name: value})
