"""The same random weights in transformers' Florence-2 and in ours."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import Florence2Config, Florence2ForConditionalGeneration

from harness.florence2 import weights
from harness.florence2.config import Config, TextConfig, VisionConfig, native_config
from harness.florence2.fast.choose import accelerated
from harness.florence2.model import Florence2

TINY = Config(
    vision=VisionConfig(dims=(16, 32, 48, 64), depths=(1, 1, 2, 1), heads=(1, 2, 3, 4), groups=(2, 2, 3, 4), window=6),
    text=TextConfig(width=48, heads=3, encoder_layers=2, decoder_layers=2, ffn=96, positions=64, vocab=96),
    image_size=96,
)


class Twins(NamedTuple):
    theirs: Any
    ours: Florence2


def twins(config: Config = TINY, *, seed: int = 0, spread: float = 0.6, ending: float = 0.0) -> Twins:
    """transformers' model with every weight drawn, and ours loaded from its state under its own names.

    `spread` is the scale of the embeddings (transformers' own 0.02 writes one token for ever); `ending` is added to
    the end token's logit, by way of the last layer's norm, so that answers end by themselves.
    """
    torch.manual_seed(seed)
    theirs: Any = Florence2ForConditionalGeneration(Florence2Config(**native_config(config))).eval()
    with torch.no_grad():
        for name, tensor in theirs.named_parameters():
            if tensor.ndim > 1:
                fan_in = tensor[0].numel()
                tensor.normal_(std=spread if "embed" in name or "shared" in name else 1.4 * fan_in**-0.5)
            elif name.endswith("bias"):
                tensor.normal_(std=0.1)
            else:
                tensor.normal_(1.0, 0.1)
        end = theirs.model.language_model.shared.weight[2]
        theirs.model.language_model.decoder.layers[-1].final_layer_norm.bias += ending * end / end.square().sum()
    state = {name: tensor.detach().clone() for name, tensor in theirs.state_dict().items()}
    native, layout = weights.to_native(state)
    if layout != "native":
        raise AssertionError(layout)
    return Twins(theirs, weights.build(config, native, "a random model"))


def fast(model: Florence2) -> Florence2:
    """A copy of a network in its fast forms, on the CPU in float32."""
    return accelerated(copy.deepcopy(model), torch.device("cpu"), torch.float32)


def with_image_tokens(twin: Twins, prompt: Tensor, real: Tensor, image_tokens: int) -> tuple[Tensor, Tensor]:
    """Their `input_ids` and `attention_mask`: image places in front of the prompt."""
    rows = prompt.shape[0]
    places = torch.full((rows, image_tokens), twin.theirs.config.image_token_id)
    mask = torch.cat([torch.ones_like(places), real.long()], dim=1)
    return torch.cat([places, prompt], dim=1), mask
