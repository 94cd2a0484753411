"""Every recipe by name."""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import UsageError
from harness.training import nano, paper, rivals
from harness.training.recipe import Recipe

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *paper.PRETRAINING,
        paper.UNIFIED_RECIPE,
        paper.CAPTIONING_RECIPE,
        paper.QUESTIONS_RECIPE,
        paper.REGIONS_RECIPE,
        nano.NANO_RECIPE,
        nano.NANO_UNIFIED_RECIPE,
        rivals.LORA_RECIPE,
        rivals.DETECTOR_RECIPE,
    )
}


def find(name: str) -> Recipe:
    """A recipe by name; UsageError, with the names of all recipes, for an unknown name."""
    if name not in RECIPES:
        raise UsageError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]
