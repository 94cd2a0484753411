"""A network made ready for a recipe: its forms, what is frozen, adapters, activations computed again, compilation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from harness.errors import CheckpointError, ResourceError, UsageError
from harness.florence2.bart import DecoderLayer, EncoderLayer
from harness.florence2.config import Config
from harness.florence2.davit import Block
from harness.florence2.fast.choose import trainable
from harness.florence2.model import Florence2
from harness.training.recipe import Recipe

# Linear maps that are called as modules; the others' weights are read by the code around them, past any adapter.
ADAPTED = (
    r".*\.(attention|cross)\.(query|out)|.*layers\.\d+\.attention\.qkv|.*blocks\.\d+\.attention\.qkv|decoder\.memory"
)


def prepare(model: Florence2, recipe: Recipe) -> None:
    """Gives the network its forms for training, and freezes, adapts and compiles it in place, as the recipe says.

    UsageError where `freeze` names no part, ResourceError where peft is asked for and not installed.
    """
    trainable(model, recipe.plan.precision)
    if recipe.lora:
        _adapt(model, recipe.lora)
    for prefix in recipe.freeze:
        parts = [p for name, p in model.named_parameters() if name == prefix or name.startswith(f"{prefix}.")]
        if not parts:
            there = ", ".join(name for name, _ in model.named_children())
            raise UsageError(f"freeze={prefix}: the network has no such part; it has {there}, and parts of them")
        for parameter in parts:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError("everything is frozen, so there is nothing to train")
    if recipe.checkpointing:
        for module in model.modules():
            if isinstance(module, Block | EncoderLayer | DecoderLayer):
                module.forward = _again(module.forward)  # type: ignore[method-assign]
    if recipe.compile:
        model.vision.compile()
        model.encoder.compile(dynamic=True)
        model.decoder.compile(dynamic=True)


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    return partial(checkpoint, forward, use_reentrant=False)


def _adapt(model: Florence2, rank: int) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ResourceError("lora needs peft, which is not installed: pip install peft") from error
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=ADAPTED), model)


def fresh(model: Florence2, config: Config, where: Path) -> Florence2:
    """A network of this size with the model's weights, free to be trained.

    CheckpointError where its output layer is not its embedding: no published Florence-2 is so, and saving would tie it.
    """
    if model.lm_head.weight is not model.embedding.weight:
        raise CheckpointError(f"{where} has an output layer apart from its embedding; only tied ones are trained")
    other = Florence2(config)
    other.load_state_dict(model.state_dict())
    return other


def merged(model: Florence2, recipe: Recipe) -> Florence2:
    """A plain network with the weights that were trained, adapters added in; the given one stays as it is."""
    plain = Florence2(model.config)
    if recipe.lora:
        from peft.tuners.tuners_utils import BaseTunerLayer

        model = copy.deepcopy(model)
        for name, module in list(model.named_modules()):
            if isinstance(module, BaseTunerLayer):
                module.merge()
                above, _, last = name.rpartition(".")
                setattr(model.get_submodule(above), last, module.get_base_layer())
    with torch.no_grad():
        plain.load_state_dict({name: tensor.detach().cpu() for name, tensor in model.state_dict().items()})
    return plain
