"""Sizes of the network: NANO, BASE, LARGE, and those in a checkpoint's `config.json`.

BASE and LARGE follow arXiv:2311.06242v1, Table 15; sizes that the table lacks are from the checkpoints' configs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import CheckpointError

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

    CheckpointError if the file is missing, is not JSON, or does not describe a Florence-2.
    """
    try:
        fields = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no config.json: it is not a checkpoint folder") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable config.json: {error}") from error
    try:
        return parse_config(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not describe a Florence-2: {error!r}") from error


def parse_config(fields: Mapping[str, Any]) -> Config:
    """The sizes in a parsed `config.json`; KeyError, TypeError or ValueError if it is not a Florence-2's."""
    vision, text = fields["vision_config"], fields["text_config"]
    native = "embed_dim" in vision
    positions = vision if native else vision["image_pos_embed"]
    frames = (
        vision["max_temporal_embeddings"] if native else vision["visual_temporal_embedding"]["max_temporal_embeddings"]
    )
    config = Config(
        vision=VisionConfig(
            dims=_four(vision["embed_dim"] if native else vision["dim_embed"]),
            depths=_four(vision["depths"]),
            heads=_four(vision["num_heads"]),
            groups=_four(vision["num_groups"]),
            patch_size=_four(vision["patch_size"]),
            stride=_four(vision["patch_stride"]),
            padding=_four(vision["patch_padding"]),
            prenorm=_four(vision["patch_prenorm"]),
            window=int(vision["window_size"]),
            mlp_ratio=int(vision.get("mlp_ratio", 4)),
            max_side=int(positions["max_position_embeddings"] if native else positions["max_pos_embeddings"]),
            max_frames=int(frames),
        ),
        text=TextConfig(
            width=int(text["d_model"]),
            heads=int(text["encoder_attention_heads"]),
            encoder_layers=int(text["encoder_layers"]),
            decoder_layers=int(text["decoder_layers"]),
            ffn=int(text["encoder_ffn_dim"]),
            positions=int(text["max_position_embeddings"]),
            vocab=int(text["vocab_size"]),
        ),
    )
    _require(text, "scale_embedding", False)
    _require(text, "activation_function", "gelu")
    _require(text, "decoder_attention_heads", config.text.heads)
    _require(text, "decoder_ffn_dim", config.text.ffn)
    return config


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


def _four(values: Any) -> Any:
    if len(values) != 4:
        raise ValueError(f"a DaViT of {len(values)} stages; four are implemented")
    return tuple(values)


def _require(text: Mapping[str, Any], key: str, expected: object) -> None:
    if text.get(key, expected) != expected:
        raise ValueError(f"text_config.{key} is {text[key]!r}; only {expected!r} is implemented")
