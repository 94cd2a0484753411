"""Scenes of the data engine's study: who may know their truth, and that they are drawn once."""

from __future__ import annotations

from pathlib import Path

from harness.core import Question, Text
from tasks.miniature.engine_world import truths_of
from tasks.miniature.study_scenes import APART, LABELLED, Teller, detailed_texts, every_truth, write


def test_truth_file_of_an_engine_has_the_calibration_scenes_alone(tmp_path: Path) -> None:
    write(tmp_path, LABELLED, 5, calibration=2)
    names = [f"scenes/{LABELLED + number}.jpg" for number in range(5)]
    assert list(truths_of(tmp_path)) == names[3:]
    every = every_truth(tmp_path)
    assert list(every) == names == list(detailed_texts(tmp_path))
    assert all((tmp_path / name).is_file() for name in names)
    for name, text in detailed_texts(tmp_path).items():
        assert all(thing.category in text for thing in every[name].things)
        assert text.startswith("The picture shows ")


def test_drawn_scenes_stay_and_another_seed_has_others(tmp_path: Path) -> None:
    write(tmp_path / "a", LABELLED, 1)
    before = (tmp_path / "a/every.json").stat().st_mtime_ns
    write(tmp_path / "a", LABELLED, 1)
    assert (tmp_path / "a/every.json").stat().st_mtime_ns == before
    assert truths_of(tmp_path / "a") == {}
    write(tmp_path / "b", LABELLED + APART, 1)
    assert not every_truth(tmp_path / "a").keys() & every_truth(tmp_path / "b").keys()


def test_teller_gives_the_texts_as_they_are() -> None:
    teller = Teller({"a": "A cat."})
    [(ticket, answer)] = teller.answer([(7, Question("a", None, "detailed_caption"))])
    assert ticket == 7
    assert answer.value == Text(("A cat.",))  # type: ignore[union-attr]
