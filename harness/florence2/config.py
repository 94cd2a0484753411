"""Sizes of the network: NANO, BASE, LARGE, and those in a checkpoint's `config.json`.

BASE and LARGE follow arXiv:2311.06242v1, Table 15; sizes that the table lacks are from the checkpoints' configs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import CheckpointError
from harness.florence2.files import found, read_json

Four = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Sizes of DaViT's four stages; a stage is a strided convolution and `depths` pairs of blocks."""

    dims: Four
    depths: Four
    heads: Four  # of window attention
    groups: Four  # of channel attention
    patch_size: Four = (7, 3, 3, 3)
    stride: Four = (4, 2, 2, 2)
    padding: Four = (3, 1, 1, 1)
    prenorm: tuple[bool, bool, bool, bool] = (False, True, True, True)
    window: int = 12
    mlp_ratio: int = 4
    max_side: int = 50  # rows and columns of the learned position tables
    max_frames: int = 100

    def map_side(self, pixels: int) -> int:
        """The side of the last feature map in cells, for an image side in pixels."""
        for kernel, stride, padding in zip(self.patch_size, self.stride, self.padding, strict=True):
            pixels = (pixels + 2 * padding - kernel) // stride + 1
        return pixels


@dataclass(frozen=True, slots=True)
class TextConfig:
    """Sizes of the text encoder and decoder."""

    width: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    ffn: int
    positions: int  # the position table has two more rows, as in BART
    vocab: int


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes of the whole network; `image_size` is the image side in training, in pixels."""

    vision: VisionConfig
    text: TextConfig
    image_size: int = 768

    @property
    def image_tokens(self) -> int:
        """Tokens of an image of the training size: one per cell of the last map, and one for their mean."""
        return self.vision.map_side(self.image_size) ** 2 + 1


BASE = Config(
    vision=VisionConfig(dims=(128, 256, 512, 1024), depths=(1, 1, 9, 1), heads=(4, 8, 16, 32), groups=(4, 8, 16, 32)),
    text=TextConfig(
        width=768, heads=12, encoder_layers=6, decoder_layers=6, ffn=3072, positions=1024, vocab=51289
    ),
)  # fmt: skip
LARGE = Config(
    vision=VisionConfig(
        dims=(256, 512, 1024, 2048), depths=(1, 1, 9, 1), heads=(8, 16, 32, 64), groups=(8, 16, 32, 64)
    ),
    text=TextConfig(
        width=1024, heads=16, encoder_layers=12, decoder_layers=12, ffn=4096, positions=1024, vocab=51289
    ),
)  # fmt: skip
NANO = Config(
    vision=VisionConfig(
        dims=(32, 64, 128, 160),
        depths=(1, 1, 2, 1),
        heads=(1, 2, 4, 5),
        groups=(1, 2, 4, 5),
        stride=(4, 2, 2, 1),
        window=8,
    ),
    text=TextConfig(width=128, heads=4, encoder_layers=2, decoder_layers=3, ffn=512, positions=256, vocab=1536),
    image_size=128,
)


def read_config(path: Path) -> Config:
    """The sizes in a checkpoint's `config.json`, in the original layout or in transformers' own.

    CheckpointError if the file is missing, is not JSON, or does not describe a Florence-2 that can be built.
    """
    if not path.exists():
        raise CheckpointError(f"{path.parent} has no config.json: it is not a checkpoint folder; {found(path.parent)}")
    fields = read_json(path)
    try:
        return parse_config(fields)
    except ValueError as error:
        raise CheckpointError(f"{path} does not describe a Florence-2: {error}") from error


def parse_config(fields: Mapping[str, Any]) -> Config:
    """The sizes in a parsed `config.json`; ValueError if they are not those of a Florence-2 that can be built.

    Every size is checked here, before anything is built: its type, its bounds (the published sizes and ample room),
    and that heads and groups divide their channels.
    """
    if quantised := fields.get("quantization_config"):
        method = quantised.get("quant_method", "?") if isinstance(quantised, Mapping) else quantised
        raise ValueError(
            f"its weights are quantised (quantization_config {_shown(method)}); give the weights before that"
        )
    vision, text = _part(fields, "vision_config"), _part(fields, "text_config")
    native = "embed_dim" in vision or "dim_embed" not in vision
    if native:
        side = _size(vision, "vision_config.max_position_embeddings", 1, 1024)
        frames = _size(vision, "vision_config.max_temporal_embeddings", 1, 100_000)
    else:
        side = _size(_part(vision, "image_pos_embed"), "image_pos_embed.max_pos_embeddings", 1, 1024)
        temporal = _part(vision, "visual_temporal_embedding")
        frames = _size(temporal, "visual_temporal_embedding.max_temporal_embeddings", 1, 100_000)
    config = Config(
        vision=VisionConfig(
            dims=_four(vision, "embed_dim" if native else "dim_embed", 2, 8192),
            depths=_four(vision, "depths", 1, 64),
            heads=_four(vision, "num_heads", 1, 1024),
            groups=_four(vision, "num_groups", 1, 1024),
            patch_size=_four(vision, "patch_size", 1, 64),
            stride=_four(vision, "patch_stride", 1, 64),
            padding=_four(vision, "patch_padding", 0, 63),
            prenorm=_four_flags(vision, "patch_prenorm"),
            window=_size(vision, "vision_config.window_size", 1, 256),
            mlp_ratio=_size(vision, "vision_config.mlp_ratio", 1, 64) if "mlp_ratio" in vision else 4,
            max_side=side,
            max_frames=frames,
        ),
        text=TextConfig(
            width=_size(text, "text_config.d_model", 1, 16384),
            heads=_size(text, "text_config.encoder_attention_heads", 1, 1024),
            encoder_layers=_size(text, "text_config.encoder_layers", 1, 128),
            decoder_layers=_size(text, "text_config.decoder_layers", 1, 128),
            ffn=_size(text, "text_config.encoder_ffn_dim", 1, 131_072),
            positions=_size(text, "text_config.max_position_embeddings", 1, 131_072),
            vocab=_size(text, "text_config.vocab_size", 4, 4_000_000),
        ),
    )
    _check_divisions(config)
    _require(vision, "vision_config", "projection_dim", config.text.width)
    _require(vision, "vision_config", "qkv_bias", True)
    _require(vision, "vision_config", "activation_function", "gelu")
    _require(vision, "vision_config", "image_feature_source", ["spatial_avg_pool", "temporal_avg_pool"])
    _require(text, "text_config", "scale_embedding", False)
    _require(text, "text_config", "activation_function", "gelu")
    _require(text, "text_config", "decoder_attention_heads", config.text.heads)
    _require(text, "text_config", "decoder_ffn_dim", config.text.ffn)
    return config


def _check_divisions(config: Config) -> None:
    """ValueError for channels that do not divide among heads or groups, and for padding as wide as its kernel."""
    vision, text = config.vision, config.text
    for number, (dim, heads, groups) in enumerate(zip(vision.dims, vision.heads, vision.groups, strict=True)):
        for count, name in ((heads, "num_heads"), (groups, "num_groups")):
            if dim % count:
                raise ValueError(f"vision_config.{name}: {dim} channels of stage {number} do not divide by {count}")
    for kernel, padding in zip(vision.patch_size, vision.padding, strict=True):
        if padding >= kernel:
            raise ValueError(f"vision_config.patch_padding: {padding} is not smaller than the patch size {kernel}")
    if vision.dims[-1] % 2:
        raise ValueError(f"vision_config: {vision.dims[-1]} channels of the last stage are not even")
    if text.width % text.heads:
        raise ValueError(f"text_config: d_model {text.width} does not divide by its {text.heads} heads")


def native_config(config: Config) -> dict[str, Any]:
    """The `config.json` of this network in transformers' own layout (`Florence2ForConditionalGeneration`)."""
    vision, text = config.vision, config.text
    return {
        "architectures": ["Florence2ForConditionalGeneration"],
        "model_type": "florence2",
        "is_encoder_decoder": True,
        "image_token_id": text.vocab - 1,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "tie_word_embeddings": True,
        "vision_config": {
            "model_type": "florence_vision",
            "embed_dim": list(vision.dims),
            "depths": list(vision.depths),
            "num_heads": list(vision.heads),
            "num_groups": list(vision.groups),
            "patch_size": list(vision.patch_size),
            "patch_stride": list(vision.stride),
            "patch_padding": list(vision.padding),
            "patch_prenorm": list(vision.prenorm),
            "window_size": vision.window,
            "mlp_ratio": float(vision.mlp_ratio),
            "max_position_embeddings": vision.max_side,
            "max_temporal_embeddings": vision.max_frames,
            "projection_dim": text.width,
            "drop_path_rate": 0.0,
            "qkv_bias": True,
            "activation_function": "gelu",
        },
        "text_config": {
            "model_type": "bart",
            "d_model": text.width,
            "encoder_attention_heads": text.heads,
            "decoder_attention_heads": text.heads,
            "encoder_layers": text.encoder_layers,
            "decoder_layers": text.decoder_layers,
            "encoder_ffn_dim": text.ffn,
            "decoder_ffn_dim": text.ffn,
            "max_position_embeddings": text.positions,
            "vocab_size": text.vocab,
            "activation_function": "gelu",
            "scale_embedding": False,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
            "forced_bos_token_id": 0,
            "forced_eos_token_id": 2,
            "tie_word_embeddings": True,
        },
    }


def with_text(config: Config, **changes: int) -> Config:
    """A copy of the sizes with some text sizes replaced: `with_text(LARGE, positions=4096)`."""
    return replace(config, text=replace(config.text, **changes))


def _part(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object of this key; ValueError if it is missing or is not an object."""
    value = fields.get(key)
    if not isinstance(value, Mapping):
        stated = f"is {_shown(value)}, not an object" if key in fields else "is missing"
        raise ValueError(f"{key} {stated} (model_type {_shown(fields.get('model_type'))})")
    return value


def _size(fields: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """The whole number of the last part of `name`; ValueError if it is missing, of another type or out of bounds."""
    key = name.rpartition(".")[2]
    if key not in fields:
        raise ValueError(f"{name} is missing")
    return _whole(fields[key], name, least, most)


def _whole(value: Any, name: str, least: int, most: int) -> int:
    """A number from JSON as an int; 4.0 is a whole number, True and "4" are not."""
    if type(value) not in (int, float) or not least <= value <= most or value != int(value):
        raise ValueError(f"{name} is {_shown(value)}; a whole number from {least} to {most} is expected")
    return int(value)


def _four(fields: Mapping[str, Any], key: str, least: int, most: int) -> Four:
    """The four whole numbers of a list, one for each stage."""
    first, second, third, fourth = (
        _whole(value, f"vision_config.{key}[{index}]", least, most) for index, value in enumerate(_stages(fields, key))
    )
    return first, second, third, fourth


def _four_flags(fields: Mapping[str, Any], key: str) -> tuple[bool, bool, bool, bool]:
    values = _stages(fields, key)
    if not all(isinstance(value, bool) for value in values):
        raise ValueError(f"vision_config.{key} is {_shown(values)}; four of true and false are expected")
    first, second, third, fourth = values
    return first, second, third, fourth


def _stages(fields: Mapping[str, Any], key: str) -> list[Any]:
    """The list of this key; ValueError if it is missing or not a list of one value for each of four stages."""
    values = fields.get(key)
    if not isinstance(values, list):
        stated = f"is {_shown(values)}, not a list" if key in fields else "is missing"
        raise ValueError(f"vision_config.{key} {stated}")
    if len(values) != 4:
        raise ValueError(f"vision_config.{key} is of {len(values)} stages; a DaViT of four is implemented")
    return values


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _require(fields: Mapping[str, Any], part: str, key: str, expected: object) -> None:
    """ValueError if a setting is there and is not the only one that is implemented."""
    if fields.get(key, expected) != expected:
        raise ValueError(f"{part}.{key} is {_shown(fields[key])}; only {expected!r} is implemented")
