"""Sizes of the network, and the sizes in both layouts of `config.json`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Florence2Config

from harness.errors import CheckpointError
from harness.florence2.config import BASE, LARGE, NANO, Config, native_config, parse_config, read_config, with_text
from tests.layouts import original_config
from tests.twins import TINY

SIZES = {"tiny": TINY, "nano": NANO, "base": BASE, "large": LARGE}


@pytest.mark.parametrize("pixels", [1, 32, 33, 64, 96, 384, 767, 768])
@pytest.mark.parametrize("config", [NANO, BASE], ids=["nano", "base"])
def test_map_side_equals_the_side_after_four_convolutions(config: Config, pixels: int) -> None:
    vision = config.vision
    x = torch.zeros(1, 1, pixels, 1)
    for kernel, stride, padding in zip(vision.patch_size, vision.stride, vision.padding, strict=True):
        x = nn.Conv2d(1, 1, (kernel, 1), (stride, 1), (padding, 0))(x)
    assert vision.map_side(pixels) == x.shape[2]


def test_image_tokens_of_published_sizes_are_577() -> None:
    # 768 pixels over strides 4, 2, 2, 2 is a map of 24 x 24, and the mean is one token more: 577.
    assert BASE.image_tokens == LARGE.image_tokens == 577
    # 128 pixels over strides 4, 2, 2, 1 is a map of 8 x 8.
    assert NANO.image_tokens == 65


@pytest.mark.parametrize("config", SIZES.values(), ids=SIZES)
def test_config_of_either_layout_is_parsed_into_the_same_sizes(config: Config) -> None:
    # No layout stores the image side; the preprocessor's config has it.
    expected = replace(config, image_size=Config(config.vision, config.text).image_size)
    assert parse_config(native_config(config)) == expected
    if config is not NANO:  # the original layout has the published strides alone
        assert parse_config(original_config(config)) == expected


def test_native_config_keeps_its_values_in_transformers() -> None:
    stated = native_config(BASE)
    loaded = Florence2Config(**stated)
    for name, expected in stated["vision_config"].items():
        assert getattr(loaded.vision_config, name) == expected, name
    for name, expected in stated["text_config"].items():
        if not name.startswith("forced_"):  # transformers keeps these in its generation config
            assert getattr(loaded.text_config, name) == expected, name


def test_with_text_replaces_only_the_given_sizes() -> None:
    config = with_text(LARGE, positions=4096)
    assert config.text.positions == 4096
    assert replace(config, text=replace(config.text, positions=LARGE.text.positions)) == LARGE


def changed(part: str, key: str, value: Any) -> dict[str, Any]:
    """TINY's native config with one value of one part changed."""
    stated = native_config(TINY)
    stated[part][key] = value
    return stated


@pytest.mark.parametrize(("stated", "message"), [
    ({"model_type": "llava"}, "does not describe a Florence-2: KeyError"),
    ([], "does not describe a Florence-2: TypeError"),
    (changed("vision_config", "depths", [1, 1, 1]), "a DaViT of 3 stages; four are implemented"),
    (changed("vision_config", "window_size", "wide"), "invalid literal"),
    (changed("text_config", "scale_embedding", True), "text_config.scale_embedding is True; only False is implemented"),
    (changed("text_config", "activation_function", "relu"), "only 'gelu' is implemented"),
    (changed("text_config", "decoder_attention_heads", 7), "text_config.decoder_attention_heads is 7; only 3"),
    (changed("text_config", "decoder_ffn_dim", 7), "text_config.decoder_ffn_dim is 7; only 96"),
])  # fmt: skip
def test_config_of_another_network_is_a_checkpoint_error(stated: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(stated))
    with pytest.raises(CheckpointError, match=message):
        read_config(tmp_path / "config.json")


def test_config_that_is_missing_or_not_json_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json: it is not a checkpoint folder"):
        read_config(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"is not a readable config\.json"):
        read_config(tmp_path / "config.json")
