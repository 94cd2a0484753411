"""The recipes of the embedded checkpoints, against the recipes that their training histories record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.training.history import history_of
from harness.training.nano import NANO_RECIPE, NANO_UNIFIED_RECIPE
from harness.training.recipe import Recipe, described

WEIGHTS = Path(__file__).parents[3] / "baselines/weights"
RUNS = [
    ("florence2-nano", 0, NANO_RECIPE),
    ("florence2-nano-ft", 0, NANO_RECIPE),
    ("florence2-nano-ft", 1, NANO_UNIFIED_RECIPE),
]


@pytest.mark.parametrize(("checkpoint", "place", "recipe"), RUNS)
def test_recipe_equals_the_record_of_its_checkpoint(checkpoint: str, place: int, recipe: Recipe) -> None:
    """A run's identity is a digest of its recipe, so any change makes the recorded run another run."""
    history = history_of(WEIGHTS / checkpoint)
    assert history is not None
    assert history[place]["recipe"] == json.loads(json.dumps(described(recipe)))
