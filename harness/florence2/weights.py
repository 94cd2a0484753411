"""Loads and saves checkpoints: the two published layouts, in any of their file formats.

The layouts are the original one (`microsoft/Florence-2-*`) and transformers' own, here called native
(`florence-community/*`).  The tables below map their tensor names to ours.  Loading is strict: an unknown tensor and a
missing tensor are errors that name it.

Accepted variants:
    `model.safetensors` or `pytorch_model.bin`, whole or sharded (see `tensors` for prefixes and wrapped state dicts)
    float16, bfloat16, float32 or float64
    a vocabulary that is padded beyond the config's
    the tied embedding under any of its four names
    an `lm_head` that differs from the embedding: fine-tuning may untie them
    a PEFT adapter beside its base model (see `adapters`)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.errors import CheckpointError
from harness.florence2 import adapters
from harness.florence2.config import Config, native_config, read_config
from harness.florence2.files import WEIGHT_FILES, file_digest, is_adapter, weight_files
from harness.florence2.model import Florence2
from harness.florence2.preprocess import native_preprocess
from harness.florence2.tensors import read_state

# Our name (a pattern) to the native name.  `native_names` adds packed products and the vision tower's blocks.
_NATIVE = (
    (r"vision\.stages\.(\d+)\.embed\.", r"model.vision_tower.convs.\1."),
    (r"fusion\.rows\.", r"model.multi_modal_projector.image_position_embed.row_embeddings."),
    (r"fusion\.columns\.", r"model.multi_modal_projector.image_position_embed.column_embeddings."),
    (r"fusion\.projection\.", r"model.multi_modal_projector.image_projection."),
    (r"fusion\.norm\.", r"model.multi_modal_projector.image_proj_norm."),
    (r"embedding\.", r"model.language_model.shared."),
    (r"(encoder|decoder)\.positions\.", r"model.language_model.\1.embed_positions."),
    (r"(encoder|decoder)\.norm\.", r"model.language_model.\1.layernorm_embedding."),
    (r"(encoder|decoder)\.layers\.(\d+)\.attention\.out\.", r"model.language_model.\1.layers.\2.self_attn.out_proj."),
    (r"(encoder|decoder)\.layers\.(\d+)\.attention_norm\.", r"model.language_model.\1.layers.\2.self_attn_layer_norm."),
    (r"decoder\.layers\.(\d+)\.cross\.query\.", r"model.language_model.decoder.layers.\1.encoder_attn.q_proj."),
    (r"decoder\.layers\.(\d+)\.cross\.out\.", r"model.language_model.decoder.layers.\1.encoder_attn.out_proj."),
    (r"decoder\.layers\.(\d+)\.cross_norm\.", r"model.language_model.decoder.layers.\1.encoder_attn_layer_norm."),
    (r"(encoder|decoder)\.layers\.(\d+)\.mlp\.up\.", r"model.language_model.\1.layers.\2.fc1."),
    (r"(encoder|decoder)\.layers\.(\d+)\.mlp\.down\.", r"model.language_model.\1.layers.\2.fc2."),
    (r"(encoder|decoder)\.layers\.(\d+)\.mlp_norm\.", r"model.language_model.\1.layers.\2.final_layer_norm."),
    (r"lm_head\.", r"lm_head."),
)
_BLOCK = {
    "conv1": "conv1",
    "conv2": "conv2",
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.up": "ffn.fc1",
    "mlp.down": "ffn.fc2",
}

# Original name (a pattern) to the native name; the first pattern that matches is applied.
_ORIGINAL = (
    (r"^vision_tower\.convs\.(\d+)\.proj\.", r"model.vision_tower.convs.\1.conv."),
    (r"^vision_tower\.(.*)\.(conv[12])\.fn\.dw\.", r"model.vision_tower.\1.\2."),
    (r"^vision_tower\.(.*)\.(?:window|channel)_attn\.norm\.", r"model.vision_tower.\1.norm1."),
    (r"^vision_tower\.(.*)\.(window|channel)_attn\.fn\.", r"model.vision_tower.\1.\2_attn."),
    (r"^vision_tower\.(.*)\.ffn\.norm\.", r"model.vision_tower.\1.norm2."),
    (r"^vision_tower\.(.*)\.ffn\.fn\.net\.", r"model.vision_tower.\1.ffn."),
    (r"^vision_tower\.", r"model.vision_tower."),
    (r"^image_projection$", r"model.multi_modal_projector.image_projection.weight"),
    (r"^image_proj_norm\.", r"model.multi_modal_projector.image_proj_norm."),
    (r"^image_pos_embed\.", r"model.multi_modal_projector.image_position_embed."),
    (r"^visual_temporal_embed\.", r"model.multi_modal_projector.visual_temporal_embed."),
    (r"^language_model\.lm_head\.", r"lm_head."),
    (r"^language_model\.final_logits_bias$", r"final_logits_bias"),
    (r"^language_model\.model\.", r"model.language_model."),
)
_TIED = tuple(
    f"model.language_model.{name}.weight" for name in ("shared", "encoder.embed_tokens", "decoder.embed_tokens")
)
_FRAMES = "model.multi_modal_projector.visual_temporal_embed.pos_idx_to_embed"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network with its weights; `sha256` is that of the weight files, `layout` is "original" or "native".

    `notes` are sentences for the record: what was unwrapped, removed or merged to get the weights.
    """

    model: Florence2
    sha256: str
    layout: str
    notes: tuple[str, ...] = ()


class SkipInitialisation(TorchFunctionMode):
    """A mode in which layers are built without initial values: their memory stays as it is.

    For weights that are filled afterwards.  On the meta device it also avoids torch's import of its compiler.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The result of `func`; for a function that initialises a tensor, the tensor unchanged."""
        keywords = kwargs or {}
        initialisers = (torch.nn.init.normal_, torch.nn.init.uniform_, torch.nn.init.kaiming_uniform_)
        return keywords["tensor"] if func in initialisers else func(*args, **keywords)


def load(folder: Path, *, base: Path | None = None, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """The network of a folder's `config.json` and weights, in evaluation mode on the CPU.

    For a folder with a PEFT adapter, these are those of `base`, the folder of its base model, with the adapter merged.

    CheckpointError names the file or tensor that is missing, truncated, unknown, or of another shape or type.
    """
    adapted = is_adapter(folder)
    whole = _base_of(folder, base) if adapted else folder
    config = read_config(whole / "config.json")
    files = weight_files(whole)
    state = read_state(files)
    native, layout = to_native(state.tensors)
    notes = state.notes
    if adapted:
        native, merge = adapters.merged(native, folder, _from_original, _TIED)
        files += adapters.adapter_files(folder)
        notes = (*notes, f"the PEFT adapter in {folder} ({merge}) is merged onto {whole}")
    model = build(config, native, str(folder))
    return Checkpoint(model.to(dtype), file_digest(files), layout, notes)


def _base_of(folder: Path, base: Path | None) -> Path:
    """The folder of an adapter's base model; CheckpointError if `folder` or `base` is not what it should be."""
    whole = [name for name in WEIGHT_FILES if (folder / name).exists()]
    if whole:
        raise CheckpointError(
            f"{folder} holds an adapter and also {whole[0]}: move one of them away, since either may be meant"
        )
    if base is None:
        named = adapters.read_adapter_config(folder).base
        raise CheckpointError(f"{folder} is a PEFT adapter; the weights of its base model ({named}) are needed too")
    if is_adapter(base):
        raise CheckpointError(
            f"{base}, the base model of the adapter in {folder}, is itself an adapter: merge it first"
        )
    return base


def build(config: Config, native: Mapping[str, Tensor], origin: str) -> Florence2:
    """The network of a config and of tensors under native names; every tensor must be used exactly once.

    Vocabulary and position table take their sizes from the tensors: published checkpoints pad the vocabulary.
    `origin` names the checkpoint in a CheckpointError.
    """
    native = dict(native)
    embedding = _take_embedding(native, origin)
    head = native.pop("lm_head.weight", embedding)
    config = replace(config, text=replace(config.text, vocab=embedding.shape[0]))
    rows = native.get("model.language_model.encoder.embed_positions.weight")
    if rows is not None and rows.shape[0] > 2:
        config = replace(config, text=replace(config.text, positions=rows.shape[0] - 2))
    with torch.device("meta"), SkipInitialisation():
        model = Florence2(config)
    native["model.language_model.shared.weight"] = embedding
    ours: dict[str, Tensor] = {}
    missing: list[str] = []
    used: set[str] = set()
    for name, empty in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        sources = native_names(name, config.text.decoder_layers)
        absent = [source for source in sources if source not in native]
        missing += absent
        if absent:
            continue
        used.update(sources)
        parts = [native[source] for source in sources]
        shape = (empty.shape[0] // len(sources), *empty.shape[1:])  # checked before a copy is made
        for source, part in zip(sources, parts, strict=True):
            if part.shape != shape:
                raise CheckpointError(f"{origin}: {source} has shape {tuple(part.shape)}; this network needs {shape}")
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        ours[name] = tensor.float()
    unknown = sorted(set(native) - used)
    if missing or unknown:
        raise CheckpointError(
            f"{origin} does not fit this network: {_listed('missing', missing)}; {_listed('unknown', unknown)}"
        )
    tied = head is embedding or (head.shape == embedding.shape and torch.equal(head, embedding))
    if not tied:
        if head.shape != embedding.shape:
            raise CheckpointError(
                f"{origin}: lm_head has shape {tuple(head.shape)}, the embedding {tuple(embedding.shape)}"
            )
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    ours["lm_head.weight"] = ours["embedding.weight"] if tied else head.float()
    model.load_state_dict(ours, assign=True)
    if tied:
        model.lm_head.weight = model.embedding.weight
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval().requires_grad_(False)


def to_native(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Tensors of either layout under native names, and the name of their layout.

    Constants are dropped.  CheckpointError for a `final_logits_bias` that is not zero.
    """
    original = any(name.startswith(("vision_tower.", "language_model.")) for name in tensors)
    native = {(_from_original(name) if original else name): tensor for name, tensor in tensors.items()}
    if original and "model.multi_modal_projector.image_projection.weight" in native:
        projection = native["model.multi_modal_projector.image_projection.weight"]
        native["model.multi_modal_projector.image_projection.weight"] = projection.t()
    bias = native.pop("final_logits_bias", None)
    if bias is not None and bias.any():
        raise CheckpointError("final_logits_bias is not zero; only the published checkpoints' zero is implemented")
    native.pop(_FRAMES, None)  # a constant table
    return native, "original" if original else "native"


def native_names(ours: str, decoder_layers: int) -> list[str]:
    """The names of the native tensors that, concatenated, give one of our tensors; ValueError for an unknown name."""
    packed = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.attention\.qkv\.(weight|bias)", ours)
    if packed:
        stack, layer, kind = packed.groups()
        return [f"model.language_model.{stack}.layers.{layer}.self_attn.{x}_proj.{kind}" for x in "qkv"]
    if ours.startswith("decoder.memory."):
        layers = (f"model.language_model.decoder.layers.{layer}.encoder_attn" for layer in range(decoder_layers))
        return [f"{layer}.{x}_proj.{ours.rpartition('.')[2]}" for layer in layers for x in "kv"]
    block = re.fullmatch(r"vision\.stages\.(\d+)\.blocks\.(\d+)\.(.+)\.(weight|bias)", ours)
    if block:
        return [_native_block(*block.groups())]
    for pattern, replacement in _NATIVE:
        if re.match(pattern, ours):
            return [re.sub(pattern, replacement, ours)]
    raise ValueError(f"no native name for {ours}")


def _native_block(stage: str, index: str, part: str, kind: str) -> str:
    """The native name of a block's weight or bias (`kind`).

    Our list of blocks alternates spatial and channel blocks; the native list has pairs of them.
    """
    pair, second = divmod(int(index), 2)
    block, attention = ("channel_block", "channel_attn") if second else ("spatial_block", "window_attn")
    name = _BLOCK.get(part) or part.replace("attention", attention)
    return f"model.vision_tower.blocks.{stage}.{pair}.{block}.{name}.{kind}"


def _from_original(name: str) -> str:
    for pattern, replacement in _ORIGINAL:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def _take_embedding(native: dict[str, Tensor], origin: str) -> Tensor:
    """Removes and returns the token embedding, under any of its names; CheckpointError if two of them differ."""
    copies = [(name, native.pop(name)) for name in _TIED if name in native]
    if not copies and "lm_head.weight" in native:
        copies = [("lm_head.weight", native["lm_head.weight"])]
    if not copies:
        raise CheckpointError(f"{origin} has no token embedding under any of {', '.join(_TIED)}")
    name, embedding = copies[0]
    if embedding.ndim != 2:
        raise CheckpointError(f"{origin}: {name} has shape {tuple(embedding.shape)}; an embedding has two dimensions")
    for other, tensor in copies[1:]:
        if not torch.equal(tensor, embedding):
            raise CheckpointError(f"{origin}: {name} and {other} differ; encoder and decoder share one embedding")
    return embedding


def save(model: Florence2, folder: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Writes `config.json`, `preprocessor_config.json` and `model.safetensors` in transformers' own layout."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(native_config(model.config), indent=2) + "\n")
    pixels = native_preprocess(model.config.image_size)
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels, indent=2) + "\n")
    save_file(dict(native_tensors(model, dtype)), folder / "model.safetensors", metadata={"format": "pt"})


def native_tensors(model: Florence2, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Every weight under its native name; without a tied `lm_head`, as in transformers."""
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.lm_head.weight is model.embedding.weight:
            continue
        names = native_names(name, model.config.text.decoder_layers)
        for source, part in zip(names, tensor.chunk(len(names)), strict=True):
            yield source, part.to(dtype).contiguous().clone()
    width = model.config.vision.dims[-1]
    yield _FRAMES, sinusoids(model.config.vision.max_frames, width).to(dtype)


def sinusoids(frames: int, width: int) -> Tensor:
    """(frames, width): the table of frame embeddings that transformers stores; even columns sines, odd ones cosines."""
    half = width // 2
    rates = torch.exp(torch.arange(half).float() * -(torch.log(torch.tensor(10000.0)) / half))
    angles = torch.arange(frames).float()[:, None] * rates
    table = torch.empty(frames, width)
    table[:, 0::2], table[:, 1::2] = angles.sin(), angles.cos()
    return table


def _listed(adjective: str, names: list[str]) -> str:
    if not names:
        return f"nothing {adjective}"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{adjective} {', '.join(names[:3])}{more}"
