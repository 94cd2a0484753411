"""Sizes of the network, and the sizes in both layouts of `config.json`."""

from __future__ import annotations

import json
import math
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
    ({"model_type": "llava"}, r"does not describe a Florence-2: vision_config is missing \(model_type 'llava'\)"),
    ([], r"is not a readable config\.json: it holds a list, not an object"),
    ({**native_config(TINY), "text_config": [1]}, r"text_config is \[1\], not an object"),
    ({**native_config(TINY), "quantization_config": {"quant_method": "gptq"}}, "are quantised .*'gptq'"),
    (changed("vision_config", "depths", [1, 1, 1]), r"vision_config\.depths is of 3 stages; a DaViT of four"),
    (changed("vision_config", "depths", "abcd"), r"vision_config\.depths is 'abcd', not a list"),
    (changed("vision_config", "depths", [1, 1, 10**9, 1]), r"depths\[2\] is 1000000000; a whole number from 1 to 64"),
    (changed("vision_config", "depths", [1, True, 1, 1]), r"depths\[1\] is True; a whole number"),
    (changed("vision_config", "embed_dim", [16, 32, 48, -64]), r"embed_dim\[3\] is -64; a whole number"),
    (changed("vision_config", "embed_dim", [16, 32, 48.5, 64]), r"embed_dim\[2\] is 48.5; a whole number"),
    (changed("vision_config", "embed_dim", [16, 32, 48, "64"]), r"embed_dim\[3\] is '64'; a whole number"),
    (changed("vision_config", "embed_dim", [16, 32, 48, None]), r"embed_dim\[3\] is None; a whole number"),
    (changed("vision_config", "embed_dim", [16, 32, 48, 65]), "num_heads: 65 channels of stage 3 do not divide by 4"),
    (changed("vision_config", "num_groups", [2, 2, 5, 4]), "num_groups: 48 channels of stage 2 do not divide by 5"),
    (changed("vision_config", "num_heads", [1, 2, 0, 4]), r"num_heads\[2\] is 0; a whole number from 1"),
    (changed("vision_config", "window_size", "wide"), "window_size is 'wide'; a whole number"),
    (changed("vision_config", "window_size", 0), "window_size is 0; a whole number from 1"),
    (changed("vision_config", "window_size", math.inf), "window_size is inf; a whole number from 1"),
    (changed("vision_config", "window_size", 10**400), "window_size is 10+\\.\\.\\.; a whole number"),
    (changed("vision_config", "mlp_ratio", 2.5), r"mlp_ratio is 2\.5; a whole number"),
    (changed("vision_config", "patch_stride", [4, 2, 2, 0]), r"patch_stride\[3\] is 0; a whole number from 1"),
    (changed("vision_config", "patch_padding", [7, 1, 1, 1]), "patch_padding: 7 is not smaller than the patch size 7"),
    (changed("vision_config", "patch_prenorm", [0, 1, 1, 1]), "four of true and false are expected"),
    (changed("vision_config", "max_position_embeddings", 0), "max_position_embeddings is 0; a whole number from 1"),
    (changed("vision_config", "qkv_bias", False), "qkv_bias is False; only True is implemented"),
    (changed("vision_config", "projection_dim", 7), "projection_dim is 7; only 48 is implemented"),
    (changed("text_config", "encoder_layers", 10**9), "encoder_layers is 1000000000; a whole number from 1 to 128"),
    (changed("text_config", "d_model", 49), "d_model 49 does not divide by its 3 heads"),
    (changed("text_config", "vocab_size", -96), "vocab_size is -96; a whole number"),
    (changed("text_config", "max_position_embeddings", {}), r"max_position_embeddings is \{\}; a whole number"),
    (changed("text_config", "scale_embedding", True), "text_config.scale_embedding is True; only False is implemented"),
    (changed("text_config", "activation_function", "relu"), "only 'gelu' is implemented"),
    (changed("text_config", "decoder_attention_heads", 7), "text_config.decoder_attention_heads is 7; only 3"),
    (changed("text_config", "decoder_ffn_dim", 7), "text_config.decoder_ffn_dim is 7; only 96"),
])  # fmt: skip
def test_config_of_another_network_is_a_checkpoint_error(stated: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(stated))
    with pytest.raises(CheckpointError, match=message):
        read_config(tmp_path / "config.json")


@pytest.mark.parametrize("part", ["vision_config", "text_config"])
def test_config_without_a_size_is_a_checkpoint_error_that_names_it(part: str, tmp_path: Path) -> None:
    optional = {"mlp_ratio", "projection_dim", "qkv_bias", "activation_function", "drop_path_rate", "model_type"}
    optional |= {"scale_embedding", "decoder_attention_heads", "decoder_ffn_dim", "tie_word_embeddings"}
    for key in native_config(TINY)[part]:
        stated = native_config(TINY)
        del stated[part][key]
        if key in optional or key.endswith("_token_id"):
            parse_config(stated)
        else:
            with pytest.raises(ValueError, match=f"{part}.{key} is missing"):
                parse_config(stated)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("image_pos_embed", "image_pos_embed is 7, not an object"),
        ("visual_temporal_embedding", "visual_temporal_embedding is 7, not an object"),
        ("image_feature_source", "image_feature_source is 7; only"),
    ],
)
def test_original_config_of_another_network_is_refused(key: str, message: str) -> None:
    stated = original_config(TINY)
    stated["vision_config"][key] = 7
    with pytest.raises(ValueError, match=message):
        parse_config(stated)


def test_native_config_that_keeps_the_original_names_too_is_read() -> None:
    """florence-community's checkpoints have both."""
    stated = native_config(TINY)
    stated["vision_config"] = {**original_config(TINY)["vision_config"], **stated["vision_config"]}
    assert parse_config(stated) == parse_config(native_config(TINY))


def test_whole_number_written_as_float_is_that_number() -> None:
    stated = changed("vision_config", "window_size", 6.0)
    stated["text_config"]["vocab_size"] = 96.0
    assert parse_config(stated) == parse_config(native_config(TINY))


def test_config_that_is_missing_or_not_json_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json: it is not a checkpoint folder"):
        read_config(tmp_path / "config.json")
    (tmp_path / "checkpoint-500").mkdir()  # a Trainer's output folder, whose checkpoints are below it
    with pytest.raises(CheckpointError, match=r"it is not a checkpoint folder; there is checkpoint-500/$"):
        read_config(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"is not a readable config\.json"):
        read_config(tmp_path / "config.json")
