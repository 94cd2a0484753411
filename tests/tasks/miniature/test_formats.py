"""The embedded benchmark through the tasks: ceilings, floors, and official result files."""

from __future__ import annotations

from pathlib import Path

import pytest

import baselines
from baselines import Setting
from harness import runner
from harness.core import Answer
from tasks import TASKS
from tests.tasks.miniature.scenes import samples_of

OTHERS = ("coco_caption", "nocaps", "textcaps", "coco_detection", "flickr30k", "vqav2", "textvqa", "vizwiz", "docvqa",
          "refcocog_caption", "odinw_miniature", "rf100_vl_miniature", "lvis_minival", "flickr30k_caption")  # fmt: skip


@pytest.mark.parametrize(("task", "least"), [
    # The oracle gives all boxes.  Of several texts it gives the most frequent, so other people's answers cost a part.
    ("coco_detection", 99.9), ("flickr30k", 100), ("odinw_miniature", 99.9),
    ("rf100_vl_miniature", 99.9), ("lvis_minival", 99.9), ("flickr30k_caption", 100), ("docvqa", 100),
    ("vqav2", 95), ("textvqa", 95), ("vizwiz", 90),
    ("coco_caption", 100), ("nocaps", 100), ("textcaps", 100), ("refcocog_caption", 100),
])  # fmt: skip
def test_oracle_scores_far_above_the_floor(miniature: Path, task: str, least: float) -> None:
    values = {}
    for name in ("oracle", "whole-image"):
        samples = samples_of(miniature, task)
        model = baselines.find(name).load(Setting(root=miniature, samples=samples))
        results = dict(model.answer((place, sample.question) for place, sample in enumerate(samples)))
        answers = {samples[place].id: answer for place, answer in results.items() if isinstance(answer, Answer)}
        assert len(answers) == len(samples)
        estimate = runner.reduce(TASKS[task], runner.mark(TASKS[task], samples, answers), 0)[TASKS[task].headline]
        assert estimate.value is not None and estimate.low is not None and estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high
        values[name] = estimate.value
    assert values["oracle"] >= least
    assert values["whole-image"] < 0.5 * values["oracle"]


@pytest.mark.parametrize("task", OTHERS)
def test_exported_predictions_have_the_same_scores(miniature: Path, tmp_path: Path, task: str) -> None:
    """Through the official result file and back, scores are equal to the last bit."""
    samples = samples_of(miniature, task)
    model = baselines.find("oracle-quantised").load(Setting(root=miniature, samples=samples))
    results = dict(model.answer((place, sample.question) for place, sample in enumerate(samples)))
    answers = {samples[place].id: answer for place, answer in results.items() if isinstance(answer, Answer)}
    rows = runner.mark(TASKS[task], samples, answers)
    path = tmp_path / ("out" if TASKS[task].predictions.folder else "out.json")
    TASKS[task].predictions.write(path, rows)
    again = runner.mark(TASKS[task], samples, TASKS[task].predictions.read(path, samples))
    assert [row.score for row in again] == [row.score for row in rows]
