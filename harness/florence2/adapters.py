"""PEFT adapters (LoRA): the folder that `save_pretrained` of a PEFT model leaves, merged into its base's weights.

For a linear map or a convolution with weight W, and factors A and B of rank r (arXiv:2106.09685, section 4.1):

    W' = W + s B A        s = alpha / r, or alpha / sqrt(r) with `use_rslora` (arXiv:2312.03732)

With `use_dora`, each row of W' is rescaled to a learned norm (arXiv:2402.09353, equation 5).  Parts that were trained
whole (`modules_to_save`, biases) replace the base's.  An adapter of another kind is refused by its name.

A LoRA on the output layer unties it from the embedding, as in PEFT.  An adapter of the embedding is refused.  PEFT
changes some of the places where the embedding is used (encoder, decoder, output layer), and this network has one
embedding for all.  PEFT's own merge of a LoRA there changes all places, so it gives another model than was trained.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import CheckpointError
from harness.florence2.files import ADAPTER_CONFIG, ADAPTER_FILES, read_json
from harness.florence2.tensors import read_file

PREFIX = "base_model.model."
ONE_EMBEDDING = (
    "PEFT trains it in some of its places only, and this network shares one embedding between encoder, decoder and "
    "output layer; train again without it"
)
# Settings that do not change what the saved tensors mean, whatever their value.
_HARMLESS = frozenset({
    "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying", "eva_config",
    "exclude_modules", "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha",
    "lora_bias", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core", "modules_to_save", "peft_type",
    "peft_version", "qalora_group_size", "r", "rank_pattern", "alpha_pattern", "revision", "target_modules",
    "task_type", "use_dora", "use_rslora", "init_lora_weights", "runtime_config",
})  # fmt: skip
_KEEP_THE_BASE = (None, True, False, "gaussian", "orthogonal", "eva")  # initialisations that do not change the base
_FACTOR = re.compile(r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_magnitude_vector)")
_WHOLE = re.compile(r"(?P<module>.+?)(\.base_layer)?\.(?P<kind>weight|bias)")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The `adapter_config.json` of a LoRA: the base it names (None: none), and its scales."""

    base: str | None
    revision: str | None
    alpha: float
    alpha_pattern: Mapping[str, float]
    rank_stabilised: bool
    whole_modules: tuple[str, ...]  # names, or ends of names, of the modules that were trained whole

    def scale(self, module: str, rank: int) -> float:
        """The factor s of a module's update; patterns match whole ends of names, as in PEFT."""
        alpha = next(
            (alpha for key, alpha in self.alpha_pattern.items() if re.match(rf"(.*\.)?({key})$", module)), self.alpha
        )
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """The settings of the adapter in a folder.

    CheckpointError for a missing or malformed file, and for an adapter whose tensors mean something else than a LoRA's.
    """
    path = folder / ADAPTER_CONFIG
    if not path.exists():
        raise CheckpointError(f"{folder} has weights of an adapter, but no {ADAPTER_CONFIG}")
    fields = read_json(path)
    kind = fields.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"{path}: an adapter of type {kind!r}; only LORA is implemented: merge it with PEFT")
    unknown = sorted(key for key, value in fields.items() if value and key not in _HARMLESS)
    if unknown:
        stated = ", ".join(f"{key} {fields[key]!r}"[:60] for key in unknown)
        raise CheckpointError(f"{path}: a LoRA with {stated}, which is not implemented: merge it with PEFT")
    if fields.get("init_lora_weights") not in _KEEP_THE_BASE:
        stated = f"init_lora_weights is {fields['init_lora_weights']!r}"
        raise CheckpointError(f"{path}: {stated}, which changes the base's weights: merge it with PEFT")
    pattern = fields.get("alpha_pattern") or {}
    alphas = [fields.get("lora_alpha"), *(pattern.values() if isinstance(pattern, dict) else [None])]
    if any(type(alpha) not in (int, float) or not abs(alpha) <= 1e6 for alpha in alphas):
        raise CheckpointError(f"{path}: lora_alpha and alpha_pattern are not numbers: {alphas[:4]!r}")
    for key in pattern:
        if not _is_simple(key):
            raise CheckpointError(
                f"{path}: alpha_pattern has the expression {key[:60]!r}, which is malformed or too complex"
            )
    return AdapterConfig(
        base=_text(fields, "base_model_name_or_path", path),
        revision=_text(fields, "revision", path),
        alpha=float(fields["lora_alpha"]),
        alpha_pattern=pattern,
        rank_stabilised=bool(fields.get("use_rslora")),
        whole_modules=_names(fields, path),
    )


def adapter_files(folder: Path) -> list[Path]:
    """The settings and the weights of the adapter in a folder; CheckpointError if one of them is missing."""
    for name in ADAPTER_FILES:
        if (folder / name).is_file():
            return [folder / ADAPTER_CONFIG, folder / name]
    raise CheckpointError(f"{folder} has {ADAPTER_CONFIG}, but none of {', '.join(ADAPTER_FILES)}")


def merged(
    native: Mapping[str, Tensor], folder: Path, rename: Callable[[str], str], tied: Sequence[str]
) -> tuple[dict[str, Tensor], str]:
    """The base's tensors with the adapter of a folder merged in, in float32 where it changes them; and a description.

    `native` are the base's tensors under native names, and `rename` maps an original name to its native one.  `tied`
    are the names under which the embedding may be.  CheckpointError, with the tensor's name, for one that fits nothing
    in the base.
    """
    config = read_adapter_config(folder)
    file = adapter_files(folder)[1]
    factors, whole = _sorted(read_file(file).tensors, file)
    weights = dict(native)
    if "lm_head.weight" in weights and not any(name in weights for name in tied):
        weights[tied[0]] = weights["lm_head.weight"]
    whole = {rename(name): tensor for name, tensor in whole.items()}
    under_factors = "lm_head.weight" in whole and "lm_head.weight" in map(
        rename, (f"{name}.weight" for name in factors)
    )
    if under_factors and _is_tied(weights, tied) and not any(name in whole for name in tied):
        whole[tied[0]] = whole["lm_head.weight"]  # saved by PEFT since tokens were added; it is the embedding too
    _replace(weights, whole, config, file, tied)
    for module, parts in factors.items():
        name = rename(f"{module}.weight")
        if name in tied:
            raise CheckpointError(f"{file}: a LoRA on the embedding ({module}) is not implemented: {ONE_EMBEDDING}")
        if name == "lm_head.weight" and name not in weights:  # tied: the embedding itself stays as it is
            weights[name] = next(weights[embedding] for embedding in tied if embedding in weights)
        if name not in weights:
            raise CheckpointError(f"{file} adapts {module}, which the base model lacks")
        weights[name] = _updated(weights[name].float(), parts, config, module, file)
        if (shift := parts.get("lora_B.bias")) is not None:
            bias = rename(f"{module}.bias")
            if bias not in weights or weights[bias].shape != shift.shape:
                raise CheckpointError(f"{file} adapts the bias of {module}, which the base model lacks")
            rank = parts["lora_A.weight"].shape[0]
            weights[bias] = weights[bias].float() + config.scale(module, rank) * shift.float()
    ranks = sorted({parts["lora_A.weight"].shape[0] for parts in factors.values()})
    described = f"LoRA of rank {', '.join(map(str, ranks))} on {len(factors)} modules" if factors else "no LoRA"
    return weights, f"{described}, {len(whole)} tensors replaced" if whole else described


def _sorted(tensors: Mapping[str, Tensor], file: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """An adapter's factors by module and part, and the tensors that replace the base's; without PEFT's prefix."""
    factors: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for given, tensor in tensors.items():
        name = given.removeprefix(PREFIX)
        if match := _FACTOR.fullmatch(name.removesuffix(".weight") if "magnitude" in name else name):
            factors.setdefault(match["module"], {})[match["part"]] = tensor
        elif (match := _WHOLE.fullmatch(name)) and "lora_" not in name:
            whole[f"{match['module']}.{match['kind']}"] = tensor
        elif ".lora_embedding_" in name:
            raise CheckpointError(f"{file} holds {given}, a LoRA on the embedding: {ONE_EMBEDDING}")
        else:
            raise CheckpointError(f"{file} holds {given}, which is not implemented: merge the adapter with PEFT")
    for module, parts in factors.items():
        if lacking := {"lora_A.weight", "lora_B.weight"} - parts.keys():
            raise CheckpointError(f"{file} holds no {min(lacking)} of {module}")
    return factors, whole


def _replace(
    weights: dict[str, Tensor], whole: Mapping[str, Tensor], config: AdapterConfig, file: Path, tied: Sequence[str]
) -> None:
    """Puts the tensors that were trained whole, or saved for their changed size, in place of the base's."""
    embeddings = {name: tensor for name, tensor in whole.items() if name in tied}
    for name in embeddings:
        module = name.removesuffix(".weight")
        if any(module.endswith(ending) for ending in config.whole_modules):
            raise CheckpointError(
                f"{file}: an embedding that was trained whole ({module}) is not implemented: {ONE_EMBEDDING}"
            )
    if embeddings:  # saved since tokens were added, and tied as before
        if "lm_head.weight" not in whole:
            if not _is_tied(weights, tied):
                raise CheckpointError(f"{file} holds an embedding, but no output layer; in the base they are not tied")
            weights.pop("lm_head.weight", None)
        for name in tied:
            weights.pop(name, None)
    for name, tensor in whole.items():
        free = name == "lm_head.weight" or name in tied
        if not free and (name not in weights or weights[name].shape != tensor.shape):
            there = f"has shape {tuple(weights[name].shape)}" if name in weights else "is not there"
            raise CheckpointError(
                f"{file} replaces {name} by one of shape {tuple(tensor.shape)}; in the base it {there}"
            )
        weights[name] = tensor


def _is_tied(weights: Mapping[str, Tensor], tied: Sequence[str]) -> bool:
    """Whether the output layer is absent, and therefore the embedding, or equals it."""
    head = weights.get("lm_head.weight")
    return head is None or any(torch.equal(head, weights[name]) for name in tied if name in weights)


def _updated(weight: Tensor, parts: Mapping[str, Tensor], config: AdapterConfig, module: str, file: Path) -> Tensor:
    """The weight of a linear map (out, in), or of a convolution (out, in, height, width), after the update."""
    down, up = parts["lora_A.weight"].float(), parts["lora_B.weight"].float()  # (r, in, ...), (out, r, ...)
    fits = (
        weight.ndim == down.ndim == up.ndim
        and weight.ndim in (2, 4)
        and down.shape[0] > 0
        and weight.shape == (up.shape[0], *down.shape[1:])
        and up.shape[1:] == (down.shape[0], *(1,) * (weight.ndim - 2))
    )
    if not fits:
        stated = f"A {tuple(down.shape)} and B {tuple(up.shape)} do not fit its weight {tuple(weight.shape)}"
        raise CheckpointError(f"{file}: the LoRA on {module}: {stated}")
    update = (up.flatten(1) @ down.flatten(1)).view_as(weight) * config.scale(module, down.shape[0])
    magnitude = parts.get("lora_magnitude_vector")
    if magnitude is None:
        return weight + update
    if weight.ndim != 2 or magnitude.shape != (weight.shape[0],):
        raise CheckpointError(f"{file}: the DoRA on {module} is not of a linear map: merge it with PEFT")
    changed = weight + update
    factor: Tensor = magnitude.float() / changed.square().sum(1).sqrt()
    return changed * factor[:, None]


def _is_simple(expression: str) -> bool:
    """Whether a regular expression compiles and cannot take exponential time: no repeated group, few repetitions."""
    if len(expression) > 200 or re.search(r"\)[*+?{]", expression) or len(re.findall(r"[*+{]", expression)) > 4:
        return False
    try:
        re.compile(expression)
    except (re.error, OverflowError):
        return False
    return True


def _text(fields: Mapping[str, Any], key: str, path: Path) -> str | None:
    """A text of the settings; None if it is absent or empty."""
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise CheckpointError(f"{path}: {key} is {value!r}, not a text")
    return value or None


def _names(fields: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    value = fields.get("modules_to_save") or ()
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise CheckpointError(f"{path}: modules_to_save is {value!r}, not a list of names")
    return tuple(value)
