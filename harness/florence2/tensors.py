"""Tensors by name from weight files, as training tools leave them.

Read are safetensors, and what `torch.save` wrote of a state dict, whole or as one entry of a dict (`model`,
`state_dict`).  `torch.load` reads weights only: code in a file is never run.

Names may have a common beginning (`module.` of DataParallel, `base_model.model.` of PEFT, an attribute of a Lightning
module), and parts that wrappers insert (`_orig_mod.` of torch.compile).  Both are removed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.errors import CheckpointError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGEST = torch.finfo(torch.float32).max
WRAPPED_UNDER = ("model", "state_dict", "model_state_dict", "module", "weights")
# A tensor that every checkpoint has, in the original layout and in the native one; what precedes it is the prefix.
_ANCHORS = (
    "language_model.model.encoder.layernorm_embedding.weight",
    "model.language_model.encoder.layernorm_embedding.weight",
)
_INSERTED = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


@dataclass(frozen=True, slots=True)
class State:
    """Tensors by name; `notes` say what was unwrapped or removed to get them."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read_state(files: list[Path]) -> State:
    """The tensors of weight files, without prefixes; all are dense, real, floating-point and finite.

    CheckpointError names the file, and the tensor if one is to blame.
    """
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    for file in files:
        state = read_file(file)
        notes += state.notes
        if twice := sorted(tensors.keys() & state.tensors.keys()):
            raise CheckpointError(f"{file} holds {twice[0]}, which another of the weight files holds too")
        tensors.update(state.tensors)
    named, removed = without_prefix(tensors, str(files[0].parent))
    return State(named, (*notes, *removed))


def read_file(file: Path) -> State:
    """The tensors of one file under the names in it.

    CheckpointError for a file that is missing, truncated, not a state dict, or with a tensor that is not a plain one.
    """
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist, but the folder's index names it")
    try:
        if file.suffix == ".safetensors":
            loaded: Any = load_file(file)
        else:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{file} cannot be read (truncated? download it again): {_first_line(error)}") from error
    except Exception as error:  # torch.load raises pickle.UnpicklingError and others for a file with code in it
        raise CheckpointError(
            f"{file} is not a file of plain weights, such as torch.save(model.state_dict()): {_first_line(error)}"
        ) from error
    table, notes = _unwrapped(loaded, file)
    for name, tensor in table.items():
        if reason := unusable(tensor):
            raise CheckpointError(f"{file}: {name} {reason}")
    return State(dict(table), notes)


def unusable(tensor: Tensor) -> str:
    """Why a tensor cannot be a weight of the network; "" if it can."""
    remedy = "give the weights before quantisation"
    if tensor.is_quantized:
        return f"is quantised ({tensor.dtype}): {remedy}"
    if tensor.layout != torch.strided:
        return f"has the layout {tensor.layout}; weights are dense"
    if tensor.device.type != "cpu":
        return f"has no values: its device is {tensor.device}"
    if tensor.dtype not in FLOATS:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in FLOATS)
        hint = "" if tensor.dtype.is_complex or tensor.dtype == torch.bool else f"; if it is quantised, {remedy}"
        return f"has the type {str(tensor.dtype).removeprefix('torch.')}; weights are {names}{hint}"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"has the shape {tuple(tensor.shape)}, but fewer values are stored"
    if not tensor.ndim:
        return "is a single number, not a table"
    bad = not_finite(tensor)
    counted = f"{bad:,} of {tensor.numel():,} values that are NaN, infinite or beyond float32"
    return f"has {counted}: a training that diverged? take an earlier checkpoint" if bad else ""


def not_finite(tensor: Tensor) -> int:
    """The number of values of a floating-point tensor that are NaN, infinite, or infinite in float32.

    The lowest and the highest value decide whether there are any, since NaN is both: one pass without a copy.
    """
    if not tensor.numel():
        return 0
    lowest, highest = torch.aminmax(tensor)
    if float(lowest) >= -LARGEST and float(highest) <= LARGEST:
        return 0
    return tensor.numel() - int((tensor.double().abs() <= LARGEST).sum())


def without_prefix(tensors: Mapping[str, Tensor], origin: str) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under the names that the network's own class gives them, and notes on what was removed.

    `origin` names the checkpoint in a CheckpointError: for the tensors of two networks, for tensors beside those of the
    network, and for adapters that are not merged.
    """
    notes: list[str] = []
    plain = {_INSERTED.sub("", name): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        raise CheckpointError(f"{origin} holds tensors both with and without the parts of names that wrappers insert")
    if plain.keys() != tensors.keys():
        changed = next(name for name in tensors if name not in plain)
        notes.append(f"parts of tensor names that wrappers insert were removed, as in {changed}")
    adapter = next((name for name in plain if ".lora_" in name or ".base_layer." in name), None)
    if adapter is not None:
        raise CheckpointError(
            f"{origin} holds {adapter}: weights with an adapter that is not merged; save them after "
            "merge_and_unload(), or save the adapter alone with save_pretrained()"
        )
    prefixes = sorted({name.removesuffix(anchor) for anchor in _ANCHORS for name in plain if name.endswith(anchor)})
    if len(prefixes) > 1:
        raise CheckpointError(f"{origin} holds {len(prefixes)} networks, under {' and '.join(map(repr, prefixes[:4]))}")
    if not prefixes or not prefixes[0]:
        return plain, notes
    [prefix] = prefixes
    if others := sorted(name for name in plain if not name.startswith(prefix)):
        raise CheckpointError(
            f"{origin} holds the network under {prefix!r}, and {len(others)} tensors beside it, such as {others[0]}"
        )
    notes.append(f"the prefix {prefix!r} of tensor names was removed")
    return {name.removeprefix(prefix): tensor for name, tensor in plain.items()}, notes


def _unwrapped(loaded: Any, file: Path) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """The table of tensors in what a file holds: the whole, or the one entry that is such a table."""
    if _is_table(loaded):
        return loaded, ()
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{file} holds a {type(loaded).__name__}, not a table of tensors by name")
    if loaded and all(isinstance(value, Tensor) for value in loaded.values()):
        key = next(key for key in loaded if not isinstance(key, str))
        raise CheckpointError(f"{file} names a tensor {key!r}; names are text, as in model.state_dict()")
    inside = [key for key in WRAPPED_UNDER if _is_table(loaded.get(key))]
    if len(inside) == 1:
        return loaded[inside[0]], (f"{file.name} holds the tensors under {inside[0]!r}",)
    entries = ", ".join(repr(key)[:40] for key in list(loaded)[:6])
    more = f" and {len(loaded) - 6} more" if len(loaded) > 6 else ""
    expected = f"a table of tensors by name is expected, whole or under one of {', '.join(WRAPPED_UNDER)}"
    raise CheckpointError(f"{file} holds {entries or 'nothing'}{more}; {expected}")


def _is_table(value: Any) -> bool:
    """Whether a value is a dict of tensors by name, and not empty."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items())
    )


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
