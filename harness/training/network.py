"""Preparing a network for training: fast forms, frozen parts, adapters, activation checkpointing and compilation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from harness.errors import CheckpointError, ResourceError, UsageError
from harness.florence2.bart import DecoderLayer, EncoderLayer
from harness.florence2.config import Config
from harness.florence2.davit import Block
from harness.florence2.fast.choose import trainable
from harness.florence2.model import Florence2
from harness.training.recipe import Recipe

# The linear maps that are called as modules.  Other code reads the weights of the rest, and would bypass an adapter.
ADAPTED = (
    r".*\.(attention|cross)\.(query|out)|.*layers\.\d+\.attention\.qkv|.*blocks\.\d+\.attention\.qkv|decoder\.memory"
)


def prepare(model: Florence2, recipe: Recipe) -> None:
    """Prepares the network in place: training forms, and the recipe's adapters, frozen parts and compilation.

    UsageError for a `freeze` that names no part or freezes everything, ResourceError for `lora` without peft installed.
    """
    trainable(model, recipe.plan.precision)
    if recipe.lora:
        _inject_adapters(model, recipe.lora)
    freeze(model, recipe.freeze)
    if recipe.checkpointing:
        for module in model.modules():
            if isinstance(module, Block | EncoderLayer | DecoderLayer):
                module.forward = _recomputed(module.forward)  # type: ignore[method-assign]
    if recipe.compile:
        model.vision.compile()
        model.encoder.compile(dynamic=True)
        model.decoder.compile(dynamic=True)


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Freezes the parameters whose names begin with these; UsageError for no such part, and if nothing is left."""
    for prefix in prefixes:
        parts = [p for name, p in model.named_parameters() if name == prefix or name.startswith(f"{prefix}.")]
        if not parts:
            names = ", ".join(name for name, _ in model.named_children())
            raise UsageError(f"freeze={prefix}: the network has no such part; it has {names}, and parts of them")
        for parameter in parts:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError("everything is frozen, so there is nothing to train")


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    return partial(checkpoint, forward, use_reentrant=False)


def _inject_adapters(model: Florence2, rank: int) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ResourceError("lora needs peft, which is not installed: pip install peft") from error
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=ADAPTED), model)


def trainable_copy(model: Florence2, config: Config, folder: Path) -> Florence2:
    """A network of size `config` with the weights of `model`, all trainable.

    CheckpointError if the output layer and the embedding are not tied: published Florence-2 checkpoints tie them, and
    saving would lose the output layer.  `folder` is the checkpoint's folder, for that message.
    """
    if model.lm_head.weight is not model.embedding.weight:
        raise CheckpointError(
            f"{folder} has an output layer that is not tied to its embedding; only tied checkpoints can be trained"
        )
    copied = Florence2(config)
    copied.load_state_dict(model.state_dict())
    return copied


def merged(model: Florence2, recipe: Recipe) -> Florence2:
    """A plain network on the CPU with the trained weights; adapters are merged.  `model` is unchanged."""
    plain = Florence2(model.config)
    if recipe.lora:
        from peft.tuners.tuners_utils import BaseTunerLayer

        model = copy.deepcopy(model)
        for name, module in list(model.named_modules()):
            if isinstance(module, BaseTunerLayer):
                module.merge()
                parent, _, last = name.rpartition(".")
                setattr(model.get_submodule(parent), last, module.get_base_layer())
    with torch.no_grad():
        plain.load_state_dict({name: tensor.detach().cpu() for name, tensor in model.state_dict().items()})
    return plain
