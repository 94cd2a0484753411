"""The table of recipes."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.training import recipes
from harness.training.nano import NANO_RECIPE


def test_find_known_name_returns_its_recipe() -> None:
    assert recipes.find("nano") is NANO_RECIPE
    assert all(name == recipe.name for name, recipe in recipes.RECIPES.items())


def test_find_unknown_name_raises() -> None:
    with pytest.raises(UsageError, match="no recipe is called 'giant'; there are base-stage1"):
        recipes.find("giant")
