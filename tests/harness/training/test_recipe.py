"""Settings of a recipe: changed by text, and refused when out of range."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.training.recipe import changed
from tests.harness.training.tiny import TINY


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": "3"}, "recipes have no 'speed'; they have steps, batch"),
        ({"rate": "fast"}, "not a value for 'rate'; its value is 0.0015"),
        ({"steps": "0"}, "steps=0: at least 1"),
        ({"betas": "0.9+2"}, r"betas=0.9\+2.0: two decays, each at least 0 and below 1"),
        ({"average": "1"}, r"average=1.0: a decay, at least 0 and below 1"),
        ({"floor": "2"}, r"floor=2.0: a share of the learning rate"),
        ({"warmup": "-1"}, "warmup=-1: at least 0"),
        ({"clip": "inf"}, "clip=inf: above 0, and finite"),
        ({"lora": "-1"}, "lora=-1"),
        ({"image_size": "256"}, "recipe 'tiny' trains at its config's own size"),
        ({"precision": "int8"}, "not a value for 'precision'"),
        ({"optimiser": "sgd"}, "not a value for 'optimiser'; there are adamw, muon"),
        ({"checkpointing": "perhaps"}, "not a value for 'checkpointing'"),
    ],
)
def test_changed_with_invalid_setting_raises(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        changed(TINY, changes)


def test_changed_settings_are_parsed_by_type() -> None:
    recipe = changed(TINY, {"rate": "1e-5", "lora": "8", "freeze": "vision+encoder", "precision": "float16"})
    assert (recipe.plan.rate, recipe.plan.precision) == (1e-5, "float16")
    assert (recipe.lora, recipe.freeze) == (8, ("vision", "encoder"))
    recipe = changed(TINY, {"betas": "0.8+0.9", "checkpointing": "True", "steps": "7"})
    assert (recipe.plan.betas, recipe.checkpointing, recipe.plan.steps) == ((0.8, 0.9), True, 7)
    assert changed(TINY, {}) == TINY
