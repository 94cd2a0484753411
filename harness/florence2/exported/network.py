"""`Exported`: a network whose graphs another runtime computes, for the engine and its searches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.bart import Cache, Memory
from harness.florence2.config import Config
from harness.florence2.exported.runtimes import Graph, Settings
from harness.florence2.model import Florence2
from harness.florence2.weights import SkipInitialisation


class Exported(Florence2):
    """A `Florence2` without weights: `graphs` by part compute on the CPU, and `decode` returns the scores themselves.

    A result is valid until the next call of the same method.
    """

    def __init__(self, config: Config, graphs: Mapping[str, Graph], settings: Settings) -> None:
        with SkipInitialisation(), torch.device("meta"):
            super().__init__(config)
        self.embedding = nn.Embedding.from_pretrained(torch.zeros(1, config.text.width))  # type: ignore[no-untyped-call]
        self.lm_head = nn.Identity()  # type: ignore[assignment]
        self.graphs = dict(graphs)
        self.settings = settings
        self.backend = settings.describe()

    @property
    def hidden_width(self) -> int:
        """See `Florence2.hidden_width`; scores of the vocabulary take the place of hidden states."""
        return self.config.text.vocab

    def encode_image(self, pixels: Tensor) -> Tensor:
        """See `Florence2.encode_image`."""
        return self.graphs["vision"]([pixels])[0].clone()  # kept while prompts about the image wait

    def encode(self, image: Tensor, prompt: Tensor, real: Tensor | None = None) -> Memory:
        """See `Florence2.encode`."""
        mask = None if real is None else F.pad(real, (image.shape[1], 0), value=True)[:, None, None]
        length = image.shape[1] + prompt.shape[1]
        keys, values = self.graphs["encoder"]([image, prompt, _added(mask, len(prompt), length)])
        return Memory(keys, values, mask)

    def decode(self, tokens: Tensor, memory: Memory, cache: Cache | None = None) -> Tensor:
        """Scores (R, 1, V) of the token after the last of `tokens` (R, T), which are appended to the cache.

        ValueError without a cache.
        """
        if cache is None:
            raise ValueError("an exported decoder needs a cache")
        rows, count = tokens.shape
        batch, start = memory.keys.shape[1], cache.length
        cache.reserve(count)
        grid = (batch, rows // batch)
        new = torch.arange(count)
        places = (start + new).expand(rows, -1) if cache.positions is None else cache.positions[:, None]
        capacity = cache.keys.shape[3]
        past = torch.zeros(rows, capacity).masked_fill_(torch.arange(capacity) >= places[:, :1], -torch.inf)
        causal = torch.zeros(count, count).masked_fill_(new > new[:, None], -torch.inf)
        own = [layer.view(*grid, *layer.shape[1:]) for layer in (*cache.keys, *cache.values)]
        scores, keys, values = self.graphs["decoder"]([
            tokens.view(*grid, count), places.reshape(*grid, count), past.view(*grid, 1, 1, capacity), causal,
            _added(memory.mask, batch, memory.keys.shape[3]), *own, *memory.keys, *memory.values,
        ])  # fmt: skip
        for buffer, added in ((cache.keys, keys), (cache.values, values)):
            added = added.flatten(1, 2)  # (Y, R, N, T, D)
            if cache.positions is None:
                buffer[:, :, :, start : start + count] = added
            else:
                buffer[:, torch.arange(rows), :, cache.positions] = added[:, :, :, 0].transpose(0, 1)
        cache.length += count
        return scores.flatten(0, 1)[:, None]


def _added(mask: Tensor | None, batch: int, length: int) -> Tensor:
    """A mask (B, 1, 1, S), True at real tokens, as numbers that are added to attention scores."""
    added = torch.zeros(batch, 1, 1, length)
    return added if mask is None else added.masked_fill_(~mask, -torch.inf)
