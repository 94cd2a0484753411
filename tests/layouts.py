"""Writes checkpoints in the original layout, that of `microsoft/Florence-2-*`.

The tables here are the inverse of those in `weights`.  They were written independently, from the modules of the
published `modeling_florence2.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.florence2.config import Config
from harness.florence2.preprocess import native_preprocess

PROJECTOR = "model.multi_modal_projector."
VISION = "model.vision_tower."


def original_state(native: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Native tensors under their original names and shapes, with the tied embedding under all four of its names."""
    out = {_original_name(name): tensor for name, tensor in native.items() if "shared" not in name}
    out["image_projection"] = out["image_projection"].t().contiguous()
    shared = native["model.language_model.shared.weight"]
    for name in ("model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head"):
        out[f"language_model.{name}.weight"] = shared.clone()
    out["language_model.final_logits_bias"] = torch.zeros(1, shared.shape[0])
    return out


def _original_name(name: str) -> str:
    if name.startswith(VISION + "convs"):
        return name.removeprefix("model.").replace(".conv.", ".proj.")
    if name.startswith(VISION):
        attention = "window_attn" if "spatial_block" in name else "channel_attn"
        for native_part, original_part in (
            (".conv1.", ".conv1.fn.dw."),
            (".conv2.", ".conv2.fn.dw."),
            (".norm1.", f".{attention}.norm."),
            (".norm2.", ".ffn.norm."),
            (f".{attention}.", f".{attention}.fn."),
            (".ffn.", ".ffn.fn.net."),
        ):
            if native_part in name:
                return name.removeprefix("model.").replace(native_part, original_part)
        raise KeyError(name)
    if name.startswith(PROJECTOR):
        rest = name.removeprefix(PROJECTOR)
        if rest == "image_projection.weight":
            return "image_projection"
        return rest.replace("image_position_embed", "image_pos_embed")
    if name == "lm_head.weight":
        return "language_model.lm_head.weight"
    return "language_model.model." + name.removeprefix("model.language_model.")


def original_config(config: Config) -> dict[str, Any]:
    """The `config.json` of the original layout, which has other names for the vision tower's sizes."""
    vision, text = config.vision, config.text
    return {
        "architectures": ["Florence2ForConditionalGeneration"],
        "model_type": "florence2",
        "vision_config": {
            "model_type": "davit",
            "dim_embed": list(vision.dims),
            "depths": list(vision.depths),
            "num_heads": list(vision.heads),
            "num_groups": list(vision.groups),
            "patch_size": list(vision.patch_size),
            "patch_stride": list(vision.stride),
            "patch_padding": list(vision.padding),
            "patch_prenorm": list(vision.prenorm),
            "window_size": vision.window,
            "projection_dim": text.width,
            "image_pos_embed": {"type": "learned_abs_2d", "max_pos_embeddings": vision.max_side},
            "visual_temporal_embedding": {"type": "COSINE", "max_temporal_embeddings": vision.max_frames},
            "image_feature_source": ["spatial_avg_pool", "temporal_avg_pool"],
        },
        "text_config": {
            "model_type": "florence2_language",
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
            "num_beams": 3,
            "early_stopping": True,
            "no_repeat_ngram_size": 3,
        },
    }


def write_original(config: Config, native: Mapping[str, Tensor], folder: Path, *, pickled: bool = False) -> None:
    """Writes a checkpoint folder in the original layout, in float16 and without a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(original_config(config)))
    (folder / "preprocessor_config.json").write_text(json.dumps(native_preprocess(config.image_size)))
    state = {name: tensor.half().contiguous() for name, tensor in original_state(native).items()}
    if pickled:
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file(state, folder / "model.safetensors")
