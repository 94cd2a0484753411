"""A pool of sequences in slots: admitted with a prefill, decoded a token at a time, released when finished.

Shapes are those of `bart` and `search`.  A slot has K rows, one per beam.  Occupied slots are the first n: when a slot
is released, the last occupied slot moves into it, so no row is computed in vain.

If all slots have the same length (a plain batch), the cache needs no mask.  Otherwise each row has its own position in
the cache, and later positions are masked.

With `static`, for devices that run ahead of the host:
    shapes come from a few sizes, and a step is a fixed sequence of kernels, which `graphs` can capture
    the host never waits for the device: it learns a few steps later which sequences are finished, and polls results
    once they are copied
    beams copy no cache when they diverge: the cache records which beam wrote each position (`LineageCache`)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.florence2.bart import Cache, Memory
from harness.florence2.decoding.search import Beams, Decoding, Greedy, Search
from harness.florence2.fast.lanes import HostCopies, to_device
from harness.florence2.fast.text import LineageCache, reads_lineage
from harness.florence2.model import Florence2

LAG = 2  # steps between the end of a sequence and its detection, with `static`
MEMORY_STEP = 16  # tokens; encoder memory grows by a multiple of it
CAPACITIES = (64, 128, 256, 512, 1024, 2048, 4096)  # tokens of a cache, with `static`; otherwise multiples of the first
K = TypeVar("K")
Step = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Generated(Generic[K]):
    """A finished sequence: its key, the generated token ids without the start token, and their log-probabilities.

    `truncated` is True if it has `max_new_tokens` tokens.
    """

    key: K
    tokens: list[int]
    log_probs: list[float]
    truncated: bool


class Pool(Generic[K]):
    """At most `slots` sequences at once, on the model's device; keys identify them.

    ValueError for more new tokens than positions, for no slot, and for `static` with a plain model.
    """

    def __init__(self, model: Florence2, decoding: Decoding, slots: int, *, static: bool = False) -> None:
        positions = model.config.text.positions
        if decoding.max_new_tokens > positions:
            raise ValueError(f"{decoding.max_new_tokens} new tokens; this checkpoint has positions for {positions}")
        if slots < 1:
            raise ValueError(f"{slots} slots: a pool needs at least one")
        if static and not reads_lineage(model.decoder):
            raise ValueError("static shapes need a model in its fast forms: `fast.choose.accelerated`")
        self.model = model
        self.decoding = decoding
        self.slots = slots
        self.static = static
        self.keys: list[K] = []  # of the occupied slots
        self.lengths: list[int] = []  # tokens of each occupied slot, with the prefix; never less than on the device
        device = model.embedding.weight.device
        kind = Greedy if decoding.beams == 1 else Beams
        self.search: Search = kind(decoding, slots, device)
        like = model.embedding.weight
        self.cache = Cache.empty(model.config.text, slots * decoding.beams, like, self._capacity(len(decoding.prefix)))
        self.hidden = like.new_zeros(slots * decoding.beams, model.hidden_width)
        self.memory: Memory | None = None
        self.advance: Step | None = None  # replaces `take_step`; see `graphs.CapturedStep`
        capacity = self._capacity(self.search.limit + 1) if static else 0
        self.lineage = torch.zeros((slots, decoding.beams, capacity), dtype=torch.int32, device=device)
        self._beam = torch.arange(decoding.beams, dtype=torch.int32, device=device)
        self._finished: deque[HostCopies] = deque()  # the slots' flags after each of the last steps
        self._released: deque[tuple[list[K], HostCopies]] = deque()  # until they are polled

    @property
    def free(self) -> int:
        """The number of free slots."""
        return self.slots - len(self.keys)

    @property
    def busy(self) -> bool:
        """Whether any slot is occupied, or any finished sequence was not polled."""
        return bool(self.keys or self._released)

    @torch.inference_mode()
    def admit(self, keys: Sequence[K], memory: Memory) -> None:
        """Prefills a free slot for each sequence of the memory; ValueError if there are too few free slots."""
        count, first = len(keys), len(self.keys)
        if count > self.free:
            raise ValueError(f"{count} sequences for {self.free} free slots")
        slots = slice(first, first + count)
        self._store_memory(memory, slots)
        self.search.begin(slots)
        # All beams of a slot have the same prefix, so it is decoded once.
        prefix = to_device([self.decoding.prefix] * count, self.hidden.device)
        prefilled = Cache.empty(self.model.config.text, count, self.hidden, prefix.shape[1])
        hidden = self.model.decode(prefix, memory, prefilled)[:, -1]
        beams = self.decoding.beams
        rows = slice(first * beams, (first + count) * beams)
        self.hidden[rows] = hidden.repeat_interleave(beams, 0)
        self.cache.keys[:, rows, :, : prefilled.length] = prefilled.keys.repeat_interleave(beams, 1)
        self.cache.values[:, rows, :, : prefilled.length] = prefilled.values.repeat_interleave(beams, 1)
        self.lineage[slots] = self._beam[:, None]
        self._finished.clear()
        self.keys += keys
        self.lengths += [prefix.shape[1]] * count
        self.cache.length = max(self.cache.length, prefilled.length)

    @torch.inference_mode()
    def step(self) -> None:
        """A decode step: one token for every occupied slot; finished sequences are released."""
        if self.keys and self.static:
            self._step_static()
        elif self.keys:
            self._step_exact()

    def poll(self, *, wait: bool = False) -> list[Generated[K]]:
        """The sequences released since the last poll, as far as their copies are on the host.

        With `wait`, or if no slot is occupied: all of them.
        """
        generated: list[Generated[K]] = []
        while self._released and (wait or not self.keys or self._released[0][1].ready):
            keys, copies = self._released.popleft()
            generated += self._generated(keys, *copies.wait())
        return generated

    def _step_exact(self) -> None:
        """A decode step that waits for the device: finished sequences are released before the next token is decoded."""
        count, beams = len(self.keys), self.decoding.beams
        longest = max(self.lengths)
        origin = self.search.step(count, self.model.lm_head(self.hidden[: count * beams]), longest)
        self.lengths = [length + 1 for length in self.lengths]
        sources = self._release(self.search.finished[:count].tolist())
        if not sources:
            return
        if origin is not None or sources != list(range(count)):
            rows = torch.arange(count * beams, device=self.hidden.device) if origin is None else origin
            self._reorder(rows.view(count, beams)[sources].flatten(), longest)
        self._decode_last(len(sources), max(self.lengths) - 1)

    def _step_static(self) -> None:
        """A decode step of fixed kernels on shapes of a few sizes, which does not wait for the device."""
        count = min(self.slots, 1 << (len(self.keys) - 1).bit_length())
        longest = self._capacity(max(self.lengths) + 1)
        self._reserve(longest)
        (self.advance or self.take_step)(count, longest - 1)
        self.lengths = [min(length + 1, self.search.limit) for length in self.lengths]
        before = len(self.keys)
        self._finished.append(HostCopies(self.search.finished[:before]))
        if len(self._finished) <= LAG and min(self.lengths) < self.search.limit:
            return
        flags = self._finished.pop() if min(self.lengths) == self.search.limit else self._finished.popleft()
        finished: list[bool] = flags.wait()[0].tolist()
        if not any(finished):
            return
        self._finished.clear()  # the flags of slots that move now
        sources = self._release(finished)
        beams, moved = self.decoding.beams, [slot for slot, source in enumerate(sources) if slot != source]
        if moved:
            target = to_device(moved, self.hidden.device)
            source = to_device([sources[slot] for slot in moved], self.hidden.device)
            self.lineage[target] = self.lineage[source]
            target, source = (beams * slots[:, None] + self._beam for slots in (target, source))
            for buffer in (self.cache.keys, self.cache.values):
                buffer[:, target.flatten()] = buffer[:, source.flatten()]
            self.hidden[target.flatten()] = self.hidden[source.flatten()]
        self.search.finished[len(sources) : before] = True
        self.search.lengths[len(sources) : before] = 1  # a step computes free slots too; length 1 fits every capacity

    def take_step(self, count: int, longest: int) -> None:
        """Chooses a token for every row of the first `count` slots, and decodes it.

        `longest` is an upper bound of their lengths.  The kernels depend only on the two arguments.
        """
        rows = count * self.decoding.beams
        origin = self.search.step(count, self.model.lm_head(self.hidden[:rows]), longest)
        place = (self.search.lengths[:count] - 1)[:, None, None].expand(-1, self.decoding.beams, 1)
        lineage = self.lineage[:count]
        if origin is not None:
            parent = (origin % self.decoding.beams).view(count, -1, 1)
            lineage.copy_(lineage.gather(1, parent.expand(lineage.shape)))
        lineage.scatter_(2, place, self._beam[:, None].expand(place.shape))
        self._decode_last(count, longest, lineage)

    def _release(self, finished: Sequence[bool]) -> list[int]:
        """Releases finished slots, and moves the last occupied slots into them; the former slot of each slot now."""
        released = [slot for slot, flag in enumerate(finished) if flag]
        if not released:
            return list(range(len(finished)))
        answers = self.search.answers(to_device(released, self.hidden.device))
        self._released.append(([self.keys[slot] for slot in released], HostCopies(*answers)))
        stay = len(finished) - len(released)
        sources = list(range(stay))
        movable = [slot for slot in range(stay, len(finished)) if not finished[slot]]
        for target in released:
            if target < stay:
                sources[target] = movable.pop()
        for target, source in enumerate(sources):
            if target != source:
                self.search.move(source, target)
                self._move_memory(source, target)
                self.keys[target], self.lengths[target] = self.keys[source], self.lengths[source]
        del self.keys[stay:], self.lengths[stay:]
        return sources

    def _generated(self, keys: Sequence[K], ids: Tensor, log_probs: Tensor) -> list[Generated[K]]:
        """Sequences of a search's rows (n, M)."""
        limit = self.decoding.max_new_tokens
        generated = []
        for key, row, probabilities in zip(keys, ids.tolist(), log_probs.tolist(), strict=True):
            tokens = row[1:]
            length = tokens.index(self.decoding.end) + 1 if self.decoding.end in tokens else limit
            generated.append(Generated(key, tokens[:length], probabilities[1 : length + 1], length >= limit))
        return generated

    def _decode_last(self, count: int, longest: int, lineage: Tensor | None = None) -> None:
        """Decodes the last token of each row of the first `count` slots into `hidden`."""
        rows = count * self.decoding.beams
        self._reserve(longest + 1)
        buffers = self.cache.keys[:, :rows], self.cache.values[:, :rows]
        cache = Cache(*buffers, longest) if lineage is None else LineageCache(*buffers, longest, lineage=lineage)
        if lineage is not None or len(set(self.lengths)) > 1:
            cache.positions = (self.search.lengths[:count] - 1).repeat_interleave(self.decoding.beams)
        if lineage is None and cache.positions is not None:
            columns = torch.arange(longest + 1, device=cache.positions.device)
            cache.mask = columns <= cache.positions[:, None, None, None]
        self.hidden[:rows] = self.model.decode(self.search.last(count), self._memory(count), cache)[:, -1]

    def _reorder(self, sources: Tensor, longest: int) -> None:
        """Copies row `sources[r]` of the cache to row r, for each r; rows that keep their place are not copied."""
        rows = len(sources)
        moved = (sources != torch.arange(rows, device=sources.device)).nonzero()[:, 0]
        for layer in (*self.cache.keys, *self.cache.values):  # a layer at a time, to bound the memory of the copy
            filled = layer[:, :, :longest]
            if 3 * len(moved) > 2 * rows:
                filled[:rows].copy_(filled.index_select(0, sources))
            elif len(moved):
                filled.index_copy_(0, moved, filled.index_select(0, sources[moved]))

    def _capacity(self, tokens: int) -> int:
        """The capacity of a cache for this number of tokens; with `static`, one of a few, to record few graphs."""
        if not self.static:
            return -(-tokens // CAPACITIES[0]) * CAPACITIES[0]
        return next((capacity for capacity in CAPACITIES if capacity >= tokens), tokens)

    def _reserve(self, tokens: int) -> None:
        if tokens > self.cache.keys.shape[3]:
            self.cache.length = self.cache.keys.shape[3]
            self.cache.reserve(self._capacity(tokens) - self.cache.length)

    def _memory(self, count: int) -> Memory:
        if self.memory is None:
            raise RuntimeError("no sequence was admitted")
        mask = self.memory.mask
        return Memory(
            self.memory.keys[:, :count], self.memory.values[:, :count], None if mask is None else mask[:count]
        )

    def _store_memory(self, memory: Memory, slots: slice) -> None:
        """Copies encoder memory to these slots; the buffers grow if it is longer than they are."""
        length = memory.keys.shape[3]
        stored = self.memory
        if stored is None or (not self.keys and not self.static):  # new buffers, no longer than this memory
            shape = (memory.keys.shape[0], self.slots, *memory.keys.shape[2:])
            stored = Memory(memory.keys.new_zeros(shape), memory.keys.new_zeros(shape), None)
        more = length - stored.keys.shape[3]
        if stored.mask is None and (memory.mask is not None or more or self.static):
            stored.mask = torch.ones(
                (self.slots, 1, 1, stored.keys.shape[3]), dtype=torch.bool, device=memory.keys.device
            )
        if more > 0:
            more = -(-more // MEMORY_STEP) * MEMORY_STEP
            stored.keys = F.pad(
                stored.keys, (0, 0, 0, more)
            )  # first the keys: their old buffer is freed before the values are copied
            stored.values = F.pad(stored.values, (0, 0, 0, more))
            stored.mask = None if stored.mask is None else F.pad(stored.mask, (0, more))
        stored.keys[:, slots, :, :length] = memory.keys
        stored.values[:, slots, :, :length] = memory.values
        if stored.mask is not None:
            stored.mask[slots] = False
            stored.mask[slots, ..., :length] = True if memory.mask is None else memory.mask
        self.memory = stored

    def _move_memory(self, source: int, target: int) -> None:
        if self.memory is None:
            return
        for buffer in (self.memory.keys, self.memory.values):
            buffer[:, target] = buffer[:, source]
        if self.memory.mask is not None:
            self.memory.mask[target] = self.memory.mask[source]


@torch.inference_mode()
def generate(model: Florence2, memory: Memory, decoding: Decoding, *, static: bool = False) -> list[Generated[int]]:
    """The generated sequence of each sequence of the encoder memory, in its order."""
    batch = memory.keys.shape[1]
    pool: Pool[int] = Pool(model, decoding, batch, static=static)
    pool.admit(range(batch), memory)
    while pool.keys:
        pool.step()
    return sorted(pool.poll(), key=lambda sequence: sequence.key)


def padded(generated: Sequence[Generated[K]], decoding: Decoding) -> Tensor:
    """Token ids (B, L) in the form of transformers' `generate`: with the start token, padded to the longest."""
    longest = max(len(sequence.tokens) for sequence in generated)
    rows = [
        [decoding.start, *sequence.tokens, *[decoding.pad] * (longest - len(sequence.tokens))] for sequence in generated
    ]
    return torch.tensor(rows)
