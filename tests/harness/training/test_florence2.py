"""Florence-2 as a learner: the trainable network at the recipe's resolution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.florence2 import weights
from harness.florence2.preprocess import Preprocess
from harness.training.florence2 import Florence2Learner, prompt_tokens, resized
from harness.training.nano import NANO_UNIFIED_RECIPE as RECIPE

NANO = Path(__file__).parents[3] / "baselines/weights/florence2-nano"


def test_resized_network_at_the_recipes_resolution_is_trainable() -> None:
    """The loader freezes weights, also those of a checkpoint that needs no other resolution."""
    model = weights.load(NANO).model
    model.config = replace(model.config, image_size=128)
    assert all(p.requires_grad for p in resized(model, RECIPE, NANO, Preprocess(128, 128)).parameters())


def test_checkpoint_with_images_that_are_not_square_is_trained_at_a_given_size_only() -> None:
    model = weights.load(NANO).model
    with pytest.raises(UsageError, match="has images of 64x128 pixels; training is on squares: give --set image_size"):
        resized(model, replace(RECIPE, image_size=None), NANO, Preprocess(128, 64))
    square = resized(model, replace(RECIPE, image_size=96), NANO, Preprocess(128, 64))
    assert square.config.image_size == 96


def test_prompt_tokens_are_the_positions_without_the_image() -> None:
    config = replace(weights.load(NANO).model.config, image_size=128)
    # The image tokens are the cells of the last feature map, and their mean.
    assert prompt_tokens(config) == config.text.positions - (config.vision.map_side(128) ** 2 + 1)
    with pytest.raises(UsageError, match=r"an image of 768 pixels takes .* of them: give a smaller image"):
        resized(weights.load(NANO).model, replace(RECIPE, image_size=768), NANO, Preprocess(128, 128))


def test_limits_of_prompts_and_answers_are_read_after_the_network_has_its_size() -> None:
    learner = Florence2Learner(RECIPE, NANO)
    learner.begin({})
    assert learner.limits == (prompt_tokens(learner.model.config), RECIPE.answer_limit)
    assert learner.kinds is None and (learner.resizing.width, learner.resizing.height) == (128, 128)
