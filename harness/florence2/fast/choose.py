"""Chooses the form of each module of a network; no other file does.

The plain network is `davit`, `bart`, `fusion`, `model`.  A fast form is a subclass of a plain module that computes the
same function and has no parameters of its own.  `in_forms` replaces a module by its fast form, and both share one
`__dict__`: parameters, buffers, child modules and hooks are the same objects under the same names.  So `state_dict`,
`load_state_dict`, `.to` and deep copies work as on the plain network.

Linear maps in fewer bits (`quantised`) are built from the maps that they replace, and have no parameters.  Precisions:
    float32, float16   the whole network; the vocabulary's scores are float32
    bfloat16           vision tower and fusion, which have the largest numbers and most of the work.  Text layers
                       normalise their numbers, and are float16 on a GPU and float32 on a CPU: the scores of adjacent
                       bins are close, and bfloat16 has eight bits of precision where float16 has eleven
    int8 (CPU)         vision tower, fusion, encoder and `decoder.memory`, except channel attention, which is one linear
                       map in float32 (`as_one_map`)
    float8 (GPU)       linear maps, with bfloat16 between them.  Exceptions: the map to the vocabulary, whose scores
                       would tie; the output map of channel attention, whose weight is folded into another product; maps
                       whose sizes are not multiples of 16
In bfloat16 and int8 on a CPU, decoder layers and the map to the vocabulary have float16 weights (`HalfLinear`).  With
VNNI, the map to the vocabulary has int8 weights, and float32 scores of the best words (`ShortlistHead`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import nn

from harness.errors import ResourceError
from harness.florence2 import bart, davit, feed_forward
from harness.florence2.fast import settings, text, vision
from harness.florence2.fast.linear import FeedForward, Head, Linear
from harness.florence2.fast.quantised import FLOAT8, Float8Linear, HalfLinear, Int8Linear, ShortlistHead, largest_weight
from harness.florence2.fast.training import Bfloat16Linear
from harness.florence2.model import Florence2

log = logging.getLogger(__name__)
M = TypeVar("M", bound=nn.Module)
Forms = Mapping[type[nn.Module], type[nn.Module]]

FAST: Forms = {
    nn.Linear: Linear,
    feed_forward.FeedForward: FeedForward,
    davit.DaViT: vision.DaViT,
    davit.Stage: vision.Stage,
    davit.Block: vision.Block,
    davit.WindowAttention: vision.WindowAttention,
    davit.ChannelAttention: vision.ChannelAttention,
    bart.EncoderLayer: text.EncoderLayer,
    bart.DecoderLayer: text.DecoderLayer,
    bart.SelfAttention: text.SelfAttention,
}


def accelerated(model: Florence2, device: torch.device, dtype: torch.dtype) -> Florence2:
    """The model in its fast forms, on this device and in this precision; it is changed in place.

    ResourceError if the device or this build of torch has no kernel for the precision.
    """
    if dtype == torch.int8 and not hasattr(torch.ops.onednn, "qlinear_pointwise"):
        raise ResourceError("int8 needs oneDNN, and this build of torch has none; try --dtype float32")
    in_forms(model, FAST)
    if isinstance(model.lm_head, nn.Linear):
        model.lm_head = _sharing(model.lm_head, Head)
    if dtype == torch.int8:
        return _in_int8(model)
    if dtype == FLOAT8:
        return _in_float8(model, device)
    if dtype == torch.bfloat16:
        model.to(device=device, dtype=torch.float32 if device.type == "cpu" else torch.float16)
        model.vision.to(dtype)
        model.fusion.to(dtype)
        return _with_half_weights(model) if device.type == "cpu" else model
    return model.to(device=device, dtype=dtype)


def trainable(module: M, precision: str) -> M:
    """A plain network, or a module of one, in the forms for training; it is changed in place.

    Channel attention is folded.  In bfloat16 on a CPU, linear maps multiply in bfloat16; a call with another precision
    makes them plain again.  On a GPU, autocast sets the precision.
    """
    halved = precision == "bfloat16" and next(module.parameters()).device.type == "cpu"
    linear = Bfloat16Linear if halved else nn.Linear
    forms: Forms = {
        nn.Linear: linear, Bfloat16Linear: linear, davit.ChannelAttention: vision.ChannelAttention
    }  # fmt: skip
    return in_forms(module, forms)


def in_forms(module: M, forms: Forms) -> M:
    """A module with itself and all submodules in the forms of their types, if `forms` has them; changed in place."""
    for name, child in list(module.named_children()):
        setattr(module, name, in_forms(child, forms))
    return _sharing(module, forms.get(type(module), type(module)))  # type: ignore[return-value]


def _sharing(module: nn.Module, form: type[M]) -> M:
    """A module of this form that shares the `__dict__` of `module`; `module` itself if it has this form."""
    if type(module) is form:
        return module
    other = form.__new__(form)
    other.__dict__ = module.__dict__
    return other


def _in_int8(model: Florence2) -> Florence2:
    if largest_weight() < 127:
        log.warning("this CPU has no VNNI: int8 weights are rounded to seven bits, and int8 is slower than with VNNI")
    model = _with_half_weights(model.float())
    _replace(model, Int8Linear, lambda parent, _: not isinstance(parent, vision.ChannelAttention))
    return model


def _in_float8(model: Florence2, device: torch.device) -> Florence2:
    model.to(device=device, dtype=torch.bfloat16)
    try:
        with settings.cuda(device), torch.inference_mode():
            Float8Linear(nn.Linear(1024, 1024, device=device, dtype=torch.bfloat16))(
                torch.ones(16, 1024, device=device).bfloat16()
            )
    except (RuntimeError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ResourceError(f"{device} does not multiply float8 ({reason}); try --dtype bfloat16") from error
    with settings.cuda(device):
        _replace(model, Float8Linear, _is_for_float8)
    return model


def _with_half_weights(model: Florence2) -> Florence2:
    """The model with `HalfLinear` in its decoder and vocabulary map, if this build of torch has FBGEMM."""
    if "fbgemm" in torch.backends.quantized.supported_engines:
        _replace(model.decoder.layers, HalfLinear, lambda *_: True)
        quick_int8 = hasattr(torch.ops.onednn, "qlinear_pointwise") and largest_weight() == 127
        model.lm_head = (ShortlistHead if quick_int8 else HalfLinear)(model.lm_head)  # type: ignore[assignment]
    return model


def _replace(
    model: nn.Module, build: Callable[[nn.Linear], nn.Module], applies: Callable[[nn.Module, nn.Linear], bool]
) -> None:
    """Replaces each linear map by `build` of it, if `applies` is True for its parent and it."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear) and applies(parent, child):
                setattr(parent, name, build(child))


def _is_for_float8(parent: nn.Module, child: nn.Linear) -> bool:
    folded = isinstance(parent, vision.ChannelAttention) and child is parent.proj
    return not folded and not isinstance(child, Head) and child.in_features % 16 == child.out_features % 16 == 0
