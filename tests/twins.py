"""The same random weights in transformers' Florence-2 and in ours, and the difference of their logits."""

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
    """Two networks with equal weights: `reference` is transformers'."""

    reference: Any
    ours: Florence2


def twins(config: Config = TINY, *, seed: int = 0, spread: float = 0.6, ending: float = 0.0) -> Twins:
    """transformers' network with random weights, and ours, loaded from its state under its tensor names.

    `spread` is the standard deviation of the embeddings; with transformers' 0.02, all generated tokens are the same.
    `ending` is added to the end token's logit, through the bias of the last norm, so that sequences end early.
    """
    torch.manual_seed(seed)
    reference: Any = Florence2ForConditionalGeneration(Florence2Config(**native_config(config))).eval()
    with torch.no_grad():
        for name, tensor in reference.named_parameters():
            if tensor.ndim > 1:
                fan_in = tensor[0].numel()
                tensor.normal_(std=spread if "embed" in name or "shared" in name else 1.4 * fan_in**-0.5)
            elif name.endswith("bias"):
                tensor.normal_(std=0.1)
            else:
                tensor.normal_(1.0, 0.1)
        end = reference.model.language_model.shared.weight[2]
        reference.model.language_model.decoder.layers[-1].final_layer_norm.bias += ending * end / end.square().sum()
    state = {name: tensor.detach().clone() for name, tensor in reference.state_dict().items()}
    native, layout = weights.to_native(state)
    if layout != "native":
        raise AssertionError(layout)
    return Twins(reference, weights.build(config, native, "a random model"))


def fast(model: Florence2) -> Florence2:
    """A copy of a network in its fast forms, in float32 on the CPU."""
    return accelerated(copy.deepcopy(model), torch.device("cpu"), torch.float32)


def with_image_tokens(twin: Twins, prompt: Tensor, real: Tensor, image_tokens: int) -> tuple[Tensor, Tensor]:
    """transformers' `input_ids` and `attention_mask`: placeholders of image tokens, then the prompt."""
    rows = prompt.shape[0]
    placeholders = torch.full((rows, image_tokens), twin.reference.config.image_token_id)
    mask = torch.cat([torch.ones_like(placeholders), real.long()], dim=1)
    return torch.cat([placeholders, prompt], dim=1), mask


class Inputs(NamedTuple):
    """A batch for teacher forcing: normalised pixels, prompt ids, where they are real, and decoder input ids."""

    pixels: Tensor
    prompt: Tensor
    real: Tensor
    tokens: Tensor


def inputs(config: Config, height: int, width: int, rows: int = 2) -> Inputs:
    """Random inputs; all prompts but the first have padding."""
    generator = torch.Generator().manual_seed(height * width)
    pixels = torch.randn(rows, 3, height, width, generator=generator)
    prompt = torch.randint(4, config.text.vocab - 8, (rows, 6), generator=generator)
    real = torch.ones(rows, 6, dtype=torch.bool)
    real[1:, 4:] = False
    tokens = torch.randint(4, config.text.vocab - 8, (rows, 7), generator=generator)
    return Inputs(pixels, prompt.masked_fill(~real, 1), real, tokens)


def reference_logits(twin: Twins, batch: Inputs) -> Tensor:
    """transformers' logits (B, T, V) of a batch, in the precision of its pixels."""
    network = copy.deepcopy(twin.reference).to(batch.pixels.dtype)
    with torch.inference_mode():
        image_tokens = twin.ours.encode_image(batch.pixels.float()).shape[1]
        ids, mask = with_image_tokens(twin, batch.prompt, batch.real, image_tokens)
        logits: Tensor = network(
            input_ids=ids, attention_mask=mask, pixel_values=batch.pixels, decoder_input_ids=batch.tokens
        ).logits
    return logits


def difference(twin: Twins, model: Florence2, height: int, width: int) -> float:
    """The largest difference of a network's logits and transformers' logits, both computed in float64.

    The two sum in different orders.  In float64 that changes logits by less than 1e-9 on any processor.
    """
    batch = inputs(model.config, height, width)
    batch = batch._replace(pixels=batch.pixels.double())
    expected = reference_logits(twin, batch)
    if expected.std() < 1:
        raise AssertionError("the logits are nearly constant: their difference would say nothing")
    with torch.inference_mode():
        return float((copy.deepcopy(model).double()(*batch) - expected).abs().max())


def rounding_errors(twin: Twins, model: Florence2, height: int, width: int) -> float:
    """The error of a network's float32 logits over that of transformers' float32 logits, both versus float64.

    Both round the same arithmetic in different orders, on the same processor, so the ratio is about 1.
    """
    batch = inputs(model.config, height, width)
    exact = reference_logits(twin, batch._replace(pixels=batch.pixels.double()))
    with torch.inference_mode():
        error = (model(*batch) - exact).abs().max()
    return float(error / (reference_logits(twin, batch) - exact).abs().max())
