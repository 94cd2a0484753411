"""The network as three graphs with plain tensors in and out: vision, text encoder and decoder.

Shapes are those of `bart`.  B sequences, K beams of each, T new tokens, C capacity of the cache, S encoder tokens, Y
layers, N heads, D channels in a head, E width, V vocabulary.

The decoder reads its cache where it lies, and returns the keys and values of the new tokens only, so that no graph
copies a cache.  Masks are added to attention scores: 0 at real tokens, -inf elsewhere.  The beams of a sequence share
its cross-attention keys and values, as in `bart`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.bart import Decoder
from harness.florence2.config import Config
from harness.florence2.model import Florence2

VERSION = 1  # raised whenever an exported graph changes
PARTS = ("vision", "encoder", "decoder")
Pair = tuple[Tensor, Tensor]


class VisionGraph(nn.Module):
    """Normalised pixels (B, 3, height, width) to image tokens (B, I, E)."""

    def __init__(self, model: Florence2) -> None:
        super().__init__()
        self.vision, self.fusion = model.vision, model.fusion

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        tokens: Tensor = self.fusion(self.vision(pixels))
        return tokens


class EncoderGraph(nn.Module):
    """Image tokens (B, I, E), prompt ids (B, P) and a mask (B, 1, 1, S) to keys and values (Y, B, N, S, D)."""

    def __init__(self, model: Florence2) -> None:
        super().__init__()
        self.embedding, self.encoder, self.decoder = model.embedding, model.encoder, model.decoder

    def forward(self, image: Tensor, prompt: Tensor, mask: Tensor) -> Pair:
        """See the class."""
        encoded = self.encoder(torch.cat([image, self.embedding(prompt)], dim=1), mask)
        memory = self.decoder.project_memory(encoded, None)
        return memory.keys, memory.values


class DecoderGraph(nn.Module):
    """The scores of the token after the last of T new tokens, and the keys and values of the new tokens."""

    def __init__(self, model: Florence2) -> None:
        super().__init__()
        self.embedding, self.decoder, self.head = model.embedding, model.decoder, model.lm_head

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        past_mask: Tensor,
        new_mask: Tensor,
        memory_mask: Tensor,
        past_keys: Sequence[Tensor],
        past_values: Sequence[Tensor],
        memory_keys: Sequence[Tensor],
        memory_values: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, K, V), and keys and values (Y, B, K, N, T, D).

        `tokens` and `positions` are (B, K, T).  `past_mask` (B, K, 1, 1, C), `new_mask` (T, T) and `memory_mask`
        (B, 1, 1, S) belong to the cache, the new tokens and the memory.  Each layer has its own cached keys and values
        (B, K, N, C, D), and those of the memory (B, N, S, D).
        """
        decoder: Decoder = self.decoder
        x: Tensor = decoder.norm(self.embedding(tokens) + decoder.positions.weight[positions + 2])  # (B, K, T, E)
        keys, values = [], []
        for index, layer in enumerate(decoder.layers):
            past = past_keys[index], past_values[index]
            memory = memory_keys[index], memory_values[index]
            x, key, value = _decode_layer(layer, x, past, (past_mask, new_mask), memory, memory_mask)
            keys.append(key)
            values.append(value)
        return self.head(x[:, :, -1]), torch.stack(keys), torch.stack(values)


def _decode_layer(
    layer: Any, x: Tensor, past: Pair, masks: Pair, memory: Pair, memory_mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`bart.DecoderLayer` of x (B, K, T, E), with the keys and values (B, K, N, T, D) of the new tokens."""
    batch, beams, tokens, width = x.shape
    own, cross = layer.attention, layer.cross
    q, k, v = own.qkv(x).unflatten(-1, (3, own.heads, -1)).permute(3, 0, 1, 4, 2, 5)  # (B, K, N, T, D) each
    q = q * q.shape[-1] ** -0.5
    scores = [q @ past[0].transpose(-1, -2) + masks[0], q @ k.transpose(-1, -2) + masks[1]]
    shares = torch.cat(scores, -1).softmax(-1)  # (B, K, N, T, C + T)
    capacity = past[0].shape[3]
    y = shares[..., :capacity] @ past[1] + shares[..., capacity:] @ v
    x = layer.attention_norm(x + own.out(y.transpose(2, 3).flatten(3)))
    q = cross.query(x).view(batch, beams * tokens, cross.heads, -1).transpose(1, 2)  # (B, N, K*T, D)
    y = F.scaled_dot_product_attention(q, *memory, memory_mask)
    x = layer.cross_norm(x + cross.out(y.transpose(1, 2).reshape(batch, beams, tokens, width)))
    return layer.mlp_norm(x + layer.mlp(x)), k, v


def plain(model: Florence2) -> Florence2:
    """The plain network with the weights of `model`, which are shared and not copied.

    ValueError for weights that are not float32.
    """
    if {weight.dtype for weight in model.state_dict().values()} != {torch.float32}:
        raise ValueError("graphs are exported from a network with float32 weights")
    with torch.device("meta"):
        copy = Florence2(model.config)
    copy.load_state_dict(model.state_dict(), assign=True)
    return copy.requires_grad_(False).eval()


def modules(model: Florence2) -> dict[str, nn.Module]:
    """The graphs of a plain network, by part."""
    return {"vision": VisionGraph(model), "encoder": EncoderGraph(model), "decoder": DecoderGraph(model)}


@torch.no_grad()
def export(model: Florence2, height: int, width: int, folder: Path) -> None:
    """Writes vision.onnx, encoder.onnx and decoder.onnx with their weights, for images of `height` x `width` pixels.

    Every axis but the image's sides may have any length.
    """
    examples, axes = _examples(model.config, height, width), _axes(model.config)
    for part, module in modules(plain(model)).items():
        with _quiet():
            program = torch.export.export(module.eval(), examples[part], dynamic_shapes=axes[part], strict=False)
            exported: Any = torch.onnx.export(program, examples[part], dynamo=True, verbose=False)
        exported.save(str(folder / f"{part}.onnx"), external_data=True)


def _examples(config: Config, height: int, width: int) -> dict[str, tuple[Any, ...]]:
    """Inputs of each graph; no free axis has length 0 or 1, which torch would take for a constant."""
    batch, beams, tokens, capacity, prompt = 2, 3, 4, 5, 7
    text, vision = config.text, config.vision
    image = vision.map_side(height) * vision.map_side(width) + 1
    length, size = image + prompt, text.width // text.heads
    past = torch.zeros(batch, beams, text.heads, capacity, size)
    memory = torch.zeros(batch, text.heads, length, size)
    ids = torch.zeros(batch, beams, tokens, dtype=torch.long)
    masks = torch.zeros(batch, beams, 1, 1, capacity), torch.zeros(tokens, tokens), torch.zeros(batch, 1, 1, length)
    layers = [[one.clone() for _ in range(text.decoder_layers)] for one in (past, past, memory, memory)]
    return {
        "vision": (torch.zeros(batch, 3, height, width),),
        "encoder": (torch.zeros(batch, image, text.width), torch.zeros(batch, prompt, dtype=torch.long), masks[2]),
        "decoder": (ids, ids.clone(), *masks, *layers),
    }


def _axes(config: Config) -> dict[str, tuple[Any, ...]]:
    """The free axes of each input."""

    def free(*axes: int) -> dict[int, Any]:
        return dict.fromkeys(axes, torch.export.Dim.DYNAMIC)

    past, memory = ([free(*axes)] * config.text.decoder_layers for axes in ((0, 1, 3), (0, 2)))
    return {
        "vision": (free(0),),
        "encoder": (free(0), free(0, 1), free(0, 3)),
        "decoder": (free(0, 1, 2), free(0, 1, 2), free(0, 1, 4), free(0, 1), free(0, 3), past, past, memory, memory),
    }


@contextmanager
def _quiet() -> Any:
    """Keeps torch's exporter from reporting that torchvision is not installed, and its own deprecations."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
