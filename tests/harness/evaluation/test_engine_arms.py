"""Scenes and thresholds of the study's arms; `test_engine_study` makes every arm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.data_engine.judging import Judged
from harness.data_engine.regions import Boxes
from harness.evaluation.engine_arms import STAGES, Work
from harness.evaluation.held_out import objects_of
from harness.protocols.engine_study import CHOOSING, Cell, Sizes
from tasks.miniature.specialists import Noise

SIZES = Sizes(labelled=6, calibration=20, held_out=3)
CELL = Cell(arm="filtered", level=1.0, seed=0, sizes=SIZES)


def work(runs: Path, **changes: object) -> Work:
    return Work(replace(CELL, **changes), runs, "cpu")  # type: ignore[arg-type]


def test_scenes_of_a_seed_are_of_no_other_and_settings_are_chosen_on_others(tmp_path: Path) -> None:
    works = [work(tmp_path, seed=seed) for seed in (0, 1, CHOOSING)]
    labelled = [set(each.truths) for each in works]
    unseen = [{path.name for path in (each.unseen / "scenes").iterdir()} for each in works]
    assert not (labelled[0] & labelled[1] or labelled[0] & labelled[2] or labelled[1] & labelled[2])
    assert unseen[0] == unseen[1] and not unseen[0] & unseen[2]
    assert not {name.rpartition("/")[2] for name in labelled[0]} & unseen[0]
    assert len(works[0].calibration) == 20


def test_threshold_of_the_specialist_has_the_best_f1_in_calibration(tmp_path: Path) -> None:
    """Versus every threshold in a slow loop, with suppression as the stage has it."""
    made = work(tmp_path)
    engine = made.annotated("x", made.noise, STAGES)
    boxes = next(stage for stage in engine.recipe.stages if isinstance(stage, Boxes))
    [chosen] = boxes.scores.values()

    def f1(threshold: float) -> float:
        stage = replace(boxes, score=threshold, scores={}, across=1.0)
        records = [stage(record) for number in engine.shards for record in engine.raw_records(number, 0)]
        return Judged.of(records, made.calibration).f1()

    assert f1(chosen) == pytest.approx(max(f1(number / 50) for number in range(50)), abs=0.7)
    assert engine.current == 0
    judged = made.judged(engine, 0)
    assert judged.images == 6  # the scenes that no threshold was chosen on


def test_labels_of_the_truth_are_right(tmp_path: Path) -> None:
    made = work(tmp_path, arm="truth", level=0.0)
    engine, round_, note = made.labels("truth")
    assert (round_, note) == (0, "")
    assert made.judged(engine, 0).f1() == 100.0
    raw = made.annotated("raw", Noise(), ())
    assert 0 < made.judged(raw, 0).f1() < 100
    assert objects_of(made.truths).keys() == made.truths.keys()
