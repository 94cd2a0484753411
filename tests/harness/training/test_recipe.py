"""Settings of a recipe, given as text."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.training import recipes
from harness.training.recipe import changed
from tests.harness.training.tiny import TINY


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"speed": "3"}, "recipes have no 'speed'; they have steps, batch"),
        ({"rate": "fast"}, "not a value for 'rate', which is 0.0015"),
        ({"steps": "0"}, "steps=0: at least 1"),
        ({"betas": "0.9+2"}, r"betas=0.9\+2.0: two decays"),
        ({"lora": "-1"}, "lora=-1"),
        ({"image_size": "256"}, "recipe 'tiny' trains at its config's own size"),
        ({"precision": "int8"}, "not a value for 'precision'"),
        ({"checkpointing": "perhaps"}, "not a value for 'checkpointing'"),
    ],
)
def test_setting_that_is_wrong_is_refused(changes: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        changed(TINY, changes)


def test_settings_given_as_text_are_changed() -> None:
    other = changed(TINY, {"rate": "1e-5", "lora": "8", "freeze": "vision+encoder", "precision": "float16"})
    assert (other.plan.rate, other.plan.precision) == (1e-5, "float16")
    assert (other.lora, other.freeze) == (8, ("vision", "encoder"))
    with pytest.raises(UsageError, match="no recipe is called 'giant'; there are base-stage1"):
        recipes.find("giant")
