"""The recipes of the paper, against its tables."""

from __future__ import annotations

import pytest

from harness.florence2.config import BASE, LARGE
from harness.training import recipes
from harness.training.paper import REGION_TASKS, UNIFIED_TASKS
from harness.training.recipe import Mixing
from tasks import TASKS

# Table 15: 3 billion samples at 384 pixels, then 0.5 (base) or 0.1 (large) billion at 768; batches of 2048 and 3072.
STAGES = [
    ("base-stage1", BASE, 3e9, 2048, 1e-4, 384),
    ("base-stage2", BASE, 0.5e9, 2048, 1e-4, 768),
    ("large-stage1", LARGE, 3e9, 3072, 1e-5, 384),
    ("large-stage2", LARGE, 0.1e9, 3072, 1e-5, 768),
]


@pytest.mark.parametrize(("name", "size", "samples", "batch", "rate", "side"), STAGES)
def test_pretraining_stage_has_settings_of_table_15(
    name: str, size: object, samples: float, batch: int, rate: float, side: int
) -> None:
    recipe = recipes.find(name)
    assert recipe.plan.steps * recipe.plan.batch == pytest.approx(samples, rel=1e-3)
    assert (recipe.plan.batch, recipe.plan.rate, recipe.image_size) == (batch, rate, side)
    assert recipe.plan.warmup == 5_000
    assert recipe.config is not None
    assert recipe.config.text == size.text  # type: ignore[attr-defined]


def test_unified_mixture_has_every_task_with_a_training_split() -> None:
    assert set(UNIFIED_TASKS) == {name for name, task in TASKS.items() if task.train_splits}


@pytest.mark.parametrize("name", ["unified", "captioning", "questions", "regions"])
def test_mixture_of_recipe_has_known_tasks_and_positive_weights(name: str) -> None:
    data = recipes.find(name).data
    assert isinstance(data, Mixing)
    assert set(data.tasks) <= set(TASKS)
    assert all(weight > 0 for weight in data.tasks.values())


def test_region_tasks_are_detection_grounding_and_referring() -> None:
    families = ("refcoco", "refcoco_plus", "refcocog")
    expected = {"coco_detection", "flickr30k", *families, *(f"{name}_res" for name in families)}
    assert set(REGION_TASKS) == expected
