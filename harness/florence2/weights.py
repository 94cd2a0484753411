"""Published checkpoints as they are: either layout, either file format, found in a folder or on the hub.

Two layouts are in use: the original (`microsoft/Florence-2-*`) and transformers' own (`florence-community/*`).
Their names are brought to ours by the tables below.  Loading is strict both ways: a tensor that is not known,
or one that is not there, is an error that names it.

Accepted: `model.safetensors`, sharded safetensors, `pytorch_model.bin` (weights only, never code); float16,
bfloat16 or float32; a vocabulary padded beyond the config's; the tied embedding under any of its four names; an
`lm_head` of its own where it differs (a fine-tune may have untied it).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.errors import CheckpointError
from harness.florence2.config import Config, native_config, read_config
from harness.florence2.model import Florence2
from harness.florence2.preprocess import native_preprocess

# Our name (a pattern) to the native one; the packed and the alternating ones are in `native_names`.
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

# Original name (a pattern) to the native one, in order; the first that matches is applied.
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
    """A network with its weights; `sha256` is of the weight files' bytes."""

    model: Florence2
    sha256: str
    layout: str


class Unfilled(TorchFunctionMode):
    """Layers begin with whatever their memory held: who fills them afterwards need not draw numbers twice.

    On `meta` there is nothing to fill, and torch imports its compiler to do so (1 s).
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """`func` of its arguments; where it draws the numbers of a layer, the tensor as it is."""
        given = kwargs or {}
        draws = (torch.nn.init.normal_, torch.nn.init.uniform_, torch.nn.init.kaiming_uniform_)
        return given["tensor"] if func in draws else func(*args, **given)


def load(folder: Path, *, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """The network a folder's `config.json` and weights describe, in evaluation mode on the CPU.

    CheckpointError names what is missing, truncated, unknown or of another shape.
    """
    config = read_config(folder / "config.json")
    files = weight_files(folder)
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update(_read(file))
    native, layout = to_native(tensors)
    model = build(config, native, str(folder))
    return Checkpoint(model.to(dtype), file_digest(files), layout)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights; CheckpointError where there are none."""
    single, index, pickled = (
        folder / name for name in ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    )
    if single.is_file():
        return [single]
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            return [folder / name for name in names]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index} is not a readable index of weight files: {error!r}") from error
    if pickled.is_file():
        return [pickled]
    raise CheckpointError(f"{folder} holds no weights: neither model.safetensors nor pytorch_model.bin is there")


def build(config: Config, native: Mapping[str, Tensor], origin: str) -> Florence2:
    """A network filled from native names; every tensor is used exactly once."""
    native = dict(native)
    embedding = _take_embedding(native, origin)
    head = native.pop("lm_head.weight", embedding)
    config = replace(config, text=replace(config.text, vocab=embedding.shape[0]))
    rows = native.get("model.language_model.encoder.embed_positions.weight")
    if rows is not None:
        config = replace(config, text=replace(config.text, positions=rows.shape[0] - 2))
    with torch.device("meta"), Unfilled():
        model = Florence2(config)
    native["model.language_model.shared.weight"] = embedding
    ours: dict[str, Tensor] = {}
    missing: list[str] = []
    used: set[str] = set()
    for name, wanted in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        sources = native_names(name, config.text.decoder_layers)
        absent = [source for source in sources if source not in native]
        missing += absent
        if absent:
            continue
        used.update(sources)
        found = torch.cat([native[source] for source in sources]) if len(sources) > 1 else native[sources[0]]
        if found.shape != wanted.shape:
            raise CheckpointError(
                f"{origin}: {sources[0]} has shape {tuple(found.shape)}; this network needs {tuple(wanted.shape)}"
            )
        ours[name] = found.float()
    unknown = sorted(set(native) - used)
    if missing or unknown:
        raise CheckpointError(
            f"{origin} is not this network: {_named('missing', missing)}; {_named('unknown', unknown)}"
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
    """Tensors of either layout under native names, and which layout it was; what carries no weight is dropped."""
    original = any(name.startswith(("vision_tower.", "language_model.")) for name in tensors)
    native = {(_from_original(name) if original else name): tensor for name, tensor in tensors.items()}
    if original and "model.multi_modal_projector.image_projection.weight" in native:
        projection = native["model.multi_modal_projector.image_projection.weight"]
        native["model.multi_modal_projector.image_projection.weight"] = projection.t()
    bias = native.pop("final_logits_bias", None)
    if bias is not None and bias.any():
        raise CheckpointError("final_logits_bias is not zero; no published checkpoint has one, and none is implemented")
    native.pop(_FRAMES, None)  # a constant
    return native, "original" if original else "native"


def native_names(ours: str, decoder_layers: int) -> list[str]:
    """The native tensors a tensor of ours is made of, end to end."""
    packed = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.attention\.qkv\.(weight|bias)", ours)
    if packed:
        stack, layer, what = packed.groups()
        return [f"model.language_model.{stack}.layers.{layer}.self_attn.{x}_proj.{what}" for x in "qkv"]
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


def _native_block(stage: str, place: str, part: str, what: str) -> str:
    """Our flat list of blocks alternates; theirs is pairs of a spatial and a channel block."""
    pair, second = divmod(int(place), 2)
    kind, attention = ("channel_block", "channel_attn") if second else ("spatial_block", "window_attn")
    name = _BLOCK.get(part) or part.replace("attention", attention)
    return f"model.vision_tower.blocks.{stage}.{pair}.{kind}.{name}.{what}"


def _from_original(name: str) -> str:
    for pattern, replacement in _ORIGINAL:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def _take_embedding(native: dict[str, Tensor], origin: str) -> Tensor:
    """The token embedding under whichever of its names is there; CheckpointError where two of them differ."""
    found = [(name, native.pop(name)) for name in _TIED if name in native]
    if not found and "lm_head.weight" in native:
        found = [("lm_head.weight", native["lm_head.weight"])]
    if not found:
        raise CheckpointError(f"{origin} has no token embedding under any of {', '.join(_TIED)}")
    name, embedding = found[0]
    for other, tensor in found[1:]:
        if not torch.equal(tensor, embedding):
            raise CheckpointError(f"{origin}: {name} and {other} differ; encoder and decoder share one embedding")
    return embedding


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is not there, though the folder's index names it") from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{file} cannot be read (truncated? download it again): {_first_line(error)}") from error
    except Exception as error:  # torch.load raises pickle.UnpicklingError and more for what is not plain weights
        raise CheckpointError(f"{file} is not a file of plain weights: {_first_line(error)}") from error
    if not isinstance(loaded, dict) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise CheckpointError(f"{file} does not hold a table of tensors")
    return loaded


def save(model: Florence2, folder: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """`config.json`, `preprocessor_config.json` and `model.safetensors` in transformers' own layout."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(native_config(model.config), indent=2) + "\n")
    pixels = native_preprocess(model.config.image_size)
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels, indent=2) + "\n")
    save_file(dict(native_tensors(model, dtype)), folder / "model.safetensors", metadata={"format": "pt"})


def native_tensors(model: Florence2, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Every weight under its native name; a tied head is left out, as transformers leaves it."""
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.lm_head.weight is model.embedding.weight:
            continue
        names = native_names(name, model.config.text.decoder_layers)
        for source, part in zip(names, tensor.chunk(len(names)), strict=True):
            yield source, part.to(dtype).contiguous().clone()
    width = model.config.vision.dims[-1]
    yield _FRAMES, sinusoids(model.config.vision.max_frames, width).to(dtype)


def sinusoids(frames: int, width: int) -> Tensor:
    """(frames, width): the constant table transformers stores; even columns are sines, odd ones cosines."""
    half = width // 2
    rates = torch.exp(torch.arange(half).float() * -(torch.log(torch.tensor(10000.0)) / half))
    angles = torch.arange(frames).float()[:, None] * rates
    table = torch.empty(frames, width)
    table[:, 0::2], table[:, 1::2] = angles.sin(), angles.cos()
    return table


def file_digest(files: list[Path]) -> str:
    """sha256 over the bytes of the files, in order."""
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                whole.update(chunk)
    return whole.hexdigest()


def _named(what: str, names: list[str]) -> str:
    if not names:
        return f"nothing {what}"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what} {', '.join(names[:3])}{more}"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
