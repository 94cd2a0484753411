"""The commands `train` and `recipes`."""

from __future__ import annotations

from harness.training import recipes
from tests.harness.conftest import Call as InFolder


def test_recipes_are_listed_and_shown(call: InFolder) -> None:
    status, out, _ = call("recipes")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == list(recipes.RECIPES)
    status, out, _ = call("recipes", "large-stage1")
    assert status == 0
    assert "'rate': 1e-05" in out and "'batch': 3072" in out and "stated by the paper: rate, batch" in out


def test_recipe_that_draws_no_scenes_or_is_not_known(call: InFolder) -> None:
    status, _, said = call("train", "--recipe", "mega", "--to", "x")
    assert status == 2 and "there are base-stage1" in said
    status, _, said = call("train", "--recipe", "nano", "--set", "rate", "--to", "x")
    assert status == 2 and "--set rate: key=value" in said
