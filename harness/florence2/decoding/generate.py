"""A pool of answers under way, each in a slot of its own: admitted, written a token at a time, let go when settled.

Shapes are those of `bart` and `search`; a slot has K rows, one a beam, and slots at work are the first n.  One that is
let go gives its place to the last, so that the rows at work lie together and none is computed for nothing.

Where every slot is as far as the others (a plain batch), rows are fed as such; where they are not, each has its own
place in the cache, and what it must not see is masked.  With `static`, which is for devices that run ahead of the host,
shapes come from a few sizes, a step is a fixed sequence of kernels that `graphs` may capture, and nothing waits for the
device: what is settled is known a few steps later, and answers come when they have been copied.  Nor is the cache
copied where beams part or die: which beam wrote what is kept beside it, and read by the attention.
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
from harness.florence2.fast.lanes import OnTheWay, sent
from harness.florence2.fast.text import LineageCache, reads_lineage
from harness.florence2.model import Florence2

LAG = 2  # steps after which it is asked what was settled, where the device runs ahead
LONGER = 16  # memory grows by a multiple of so many tokens
ROOMS = (64, 128, 256, 512, 1024, 2048, 4096)
K = TypeVar("K")
Step = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Written(Generic[K]):
    """An answer: its key, the ids that were generated (without the start token), the log-probability of each, and
    whether it used all that it was allowed."""

    key: K
    tokens: list[int]
    log_probs: list[float]
    truncated: bool


class Pool(Generic[K]):
    """At most `slots` answers at once.  Everything runs where the memory is that is admitted."""

    def __init__(self, model: Florence2, decoding: Decoding, slots: int, *, static: bool = False) -> None:
        room = model.config.text.positions
        if decoding.max_new_tokens > room:
            raise ValueError(f"{decoding.max_new_tokens} new tokens; this checkpoint has positions for {room}")
        if slots < 1:
            raise ValueError(f"{slots} slots: at least one")
        if static and not reads_lineage(model.decoder):
            raise ValueError("fixed shapes need a model in its fast forms: `fast.choose.accelerated`")
        self.model = model
        self.decoding = decoding
        self.slots = slots
        self.static = static
        self.keys: list[K] = []  # of the slots at work
        self.current: list[int] = []  # how many tokens of each are known
        device = model.embedding.weight.device
        kind = Greedy if decoding.beams == 1 else Beams
        self.search: Search = kind(decoding, slots, device)
        like = model.embedding.weight
        self.cache = Cache.empty(model.config.text, slots * decoding.beams, like, self._room(len(decoding.first)))
        self.hidden = like.new_zeros(slots * decoding.beams, model.config.text.width)
        self.memory: Memory | None = None
        self.advance: Step | None = None  # in place of `take_step`: what `graphs` gives
        room = self._room(self.search.limit + 1) if static else 0
        self.lineage = torch.zeros((slots, decoding.beams, room), dtype=torch.int32, device=device)
        self._beam = torch.arange(decoding.beams, dtype=torch.int32, device=device)
        self._settled: deque[OnTheWay] = deque()  # after each of the last steps
        self._leaving: deque[tuple[list[K], OnTheWay]] = deque()

    @property
    def free(self) -> int:
        """How many more answers may be admitted."""
        return self.slots - len(self.keys)

    @property
    def busy(self) -> bool:
        """Whether any answer is under way or was not yet polled."""
        return bool(self.keys or self._leaving)

    @torch.inference_mode()
    def admit(self, keys: Sequence[K], memory: Memory) -> None:
        """An answer for each sequence of the memory; ValueError where there are not so many slots."""
        count, first = len(keys), len(self.keys)
        if count > self.free:
            raise ValueError(f"{count} answers for {self.free} free slots")
        slots = slice(first, first + count)
        self._remember(memory, slots)
        self.search.begin(slots)
        # Until they differ, the beams of a slot are one row.
        given = sent([self.decoding.first] * count, self.hidden.device)
        begun = Cache.empty(self.model.config.text, count, self.hidden, given.shape[1])
        hidden = self.model.write(given, memory, begun)[:, -1]
        beams = self.decoding.beams
        rows = slice(first * beams, (first + count) * beams)
        self.hidden[rows] = hidden.repeat_interleave(beams, 0)
        self.cache.keys[:, rows, :, : begun.length] = begun.keys.repeat_interleave(beams, 1)
        self.cache.values[:, rows, :, : begun.length] = begun.values.repeat_interleave(beams, 1)
        self.lineage[slots] = self._beam[:, None]
        self._settled.clear()
        self.keys += keys
        self.current += [given.shape[1]] * count
        self.cache.length = max(self.cache.length, begun.length)

    @torch.inference_mode()
    def step(self) -> None:
        """One more token for every answer; those that are settled leave."""
        if self.keys and self.static:
            self._step_static()
        elif self.keys:
            self._step_exact()

    def poll(self, *, wait: bool = False) -> list[Written[K]]:
        """The answers that have left since the last time and are on the host; with `wait`, or where none is under way,
        all that have left."""
        found: list[Written[K]] = []
        while self._leaving and (wait or not self.keys or self._leaving[0][1].arrived):
            keys, answers = self._leaving.popleft()
            found += self._read(keys, *answers.wait())
        return found

    def _step_exact(self) -> None:
        """What is settled leaves before the next token is fed."""
        count, beams = len(self.keys), self.decoding.beams
        longest = max(self.current)
        origin = self.search.step(count, self.model.lm_head(self.hidden[: count * beams]), longest)
        self.current = [known + 1 for known in self.current]
        sources = self._let_go(self.search.settled[:count].tolist())
        if not sources:
            return
        if origin is not None or sources != list(range(count)):
            rows = torch.arange(count * beams, device=self.hidden.device) if origin is None else origin
            self._reorder(rows.view(count, beams)[sources].flatten(), longest)
        self._feed(len(sources), max(self.current) - 1)

    def _step_static(self) -> None:
        """A fixed sequence of kernels, on shapes of a few sizes."""
        count = min(self.slots, 1 << (len(self.keys) - 1).bit_length())
        longest = self._room(max(self.current) + 1)
        self._make_room(longest)
        (self.advance or self.take_step)(count, longest - 1)
        self.current = [min(known + 1, self.search.limit) for known in self.current]
        before = len(self.keys)
        self._settled.append(OnTheWay(self.search.settled[:before]))
        if len(self._settled) <= LAG and min(self.current) < self.search.limit:
            return
        flags = self._settled.pop() if min(self.current) == self.search.limit else self._settled.popleft()
        settled: list[bool] = flags.wait()[0].tolist()
        if not any(settled):
            return
        self._settled.clear()  # of slots that are about to move
        sources = self._let_go(settled)
        beams, moved = self.decoding.beams, [slot for slot, source in enumerate(sources) if slot != source]
        if moved:
            to = sent(moved, self.hidden.device)
            of = sent([sources[slot] for slot in moved], self.hidden.device)
            self.lineage[to] = self.lineage[of]
            to, of = (beams * slots[:, None] + self._beam for slots in (to, of))
            for buffer in (self.cache.keys, self.cache.values):
                buffer[:, to.flatten()] = buffer[:, of.flatten()]
            self.hidden[to.flatten()] = self.hidden[of.flatten()]
        self.search.settled[len(sources) : before] = True
        self.search.current[len(sources) : before] = 1  # free slots are stepped as well, at whatever width there is

    def take_step(self, count: int, longest: int) -> None:
        """Choose a token for every row of the first `count` slots, and feed it; `longest` bounds what they know."""
        rows = count * self.decoding.beams
        origin = self.search.step(count, self.model.lm_head(self.hidden[:rows]), longest)
        place = (self.search.current[:count] - 1)[:, None, None].expand(-1, self.decoding.beams, 1)
        lineage = self.lineage[:count]
        if origin is not None:
            parent = (origin % self.decoding.beams).view(count, -1, 1)
            lineage.copy_(lineage.gather(1, parent.expand(lineage.shape)))
        lineage.scatter_(2, place, self._beam[:, None].expand(place.shape))
        self._feed(count, longest, lineage)

    def _let_go(self, settled: Sequence[bool]) -> list[int]:
        """What is settled leaves; gives, for the slots at work now, which slot each was."""
        gone = [slot for slot, over in enumerate(settled) if over]
        if not gone:
            return list(range(len(settled)))
        self._leaving.append(
            ([self.keys[slot] for slot in gone], OnTheWay(*self.search.answers(sent(gone, self.hidden.device))))
        )
        stay = len(settled) - len(gone)
        sources = list(range(stay))
        movable = [slot for slot in range(stay, len(settled)) if not settled[slot]]
        for target in gone:
            if target < stay:
                sources[target] = movable.pop()
        for target, source in enumerate(sources):
            if target != source:
                self.search.move(source, target)
                self._move_memory(source, target)
                self.keys[target], self.current[target] = self.keys[source], self.current[source]
        del self.keys[stay:], self.current[stay:]
        return sources

    def _read(self, keys: Sequence[K], ids: Tensor, log_probs: Tensor) -> list[Written[K]]:
        """Rows (n, M) of a search as answers."""
        most = self.decoding.max_new_tokens
        found = []
        for key, row, probabilities in zip(keys, ids.tolist(), log_probs.tolist(), strict=True):
            known = row[1:]
            length = known.index(self.decoding.end) + 1 if self.decoding.end in known else most
            found.append(Written(key, known[:length], probabilities[1 : length + 1], length >= most))
        return found

    def _feed(self, count: int, longest: int, lineage: Tensor | None = None) -> None:
        """The tokens that the first `count` slots wrote last, through the decoder, to what it makes of them."""
        rows = count * self.decoding.beams
        self._make_room(longest + 1)
        buffers = self.cache.keys[:, :rows], self.cache.values[:, :rows]
        cache = Cache(*buffers, longest) if lineage is None else LineageCache(*buffers, longest, lineage=lineage)
        if lineage is not None or len(set(self.current)) > 1:
            cache.places = (self.search.current[:count] - 1).repeat_interleave(self.decoding.beams)
        if lineage is None and cache.places is not None:
            cache.mask = torch.arange(longest + 1, device=cache.places.device) <= cache.places[:, None, None, None]
        self.hidden[:rows] = self.model.write(self.search.last(count), self._memory(count), cache)[:, -1]

    def _reorder(self, sources: Tensor, longest: int) -> None:
        """Row r of the cache becomes what row `sources[r]` was; what stays where it is is not touched."""
        rows = len(sources)
        moved = (sources != torch.arange(rows, device=sources.device)).nonzero()[:, 0]
        for layer in (*self.cache.keys, *self.cache.values):  # one after another: what is copied is memory as well
            filled = layer[:, :, :longest]
            if 3 * len(moved) > 2 * rows:
                filled[:rows].copy_(filled.index_select(0, sources))
            elif len(moved):
                filled.index_copy_(0, moved, filled.index_select(0, sources[moved]))

    def _room(self, tokens: int) -> int:
        """The size of cache in which so many tokens fit: of a few that graphs are recorded for, or the next of many."""
        if not self.static:
            return -(-tokens // ROOMS[0]) * ROOMS[0]
        return next((room for room in ROOMS if room >= tokens), tokens)

    def _make_room(self, tokens: int) -> None:
        if tokens > self.cache.keys.shape[3]:
            self.cache.length = self.cache.keys.shape[3]
            self.cache.make_room(self._room(tokens) - self.cache.length)

    def _memory(self, count: int) -> Memory:
        if self.memory is None:
            raise RuntimeError("nothing was admitted")
        mask = self.memory.mask
        return Memory(
            self.memory.keys[:, :count], self.memory.values[:, :count], None if mask is None else mask[:count]
        )

    def _remember(self, memory: Memory, slots: slice) -> None:
        """The memory in these slots; the buffers are made for the first, and grow where a later one is longer."""
        length = memory.keys.shape[3]
        mine = self.memory
        if mine is None or (not self.keys and not self.static):  # as large as is needed now
            shape = (memory.keys.shape[0], self.slots, *memory.keys.shape[2:])
            mine = Memory(memory.keys.new_zeros(shape), memory.keys.new_zeros(shape), None)
        more = length - mine.keys.shape[3]
        if mine.mask is None and (memory.mask is not None or more or self.static):
            mine.mask = torch.ones((self.slots, 1, 1, mine.keys.shape[3]), dtype=torch.bool, device=memory.keys.device)
        if more > 0:
            more = -(-more // LONGER) * LONGER
            mine.keys = F.pad(mine.keys, (0, 0, 0, more))  # the old ones go before there are two of the others
            mine.values = F.pad(mine.values, (0, 0, 0, more))
            mine.mask = None if mine.mask is None else F.pad(mine.mask, (0, more))
        mine.keys[:, slots, :, :length] = memory.keys
        mine.values[:, slots, :, :length] = memory.values
        if mine.mask is not None:
            mine.mask[slots] = False
            mine.mask[slots, ..., :length] = True if memory.mask is None else memory.mask
        self.memory = mine

    def _move_memory(self, source: int, target: int) -> None:
        if self.memory is None:
            return
        for buffer in (self.memory.keys, self.memory.values):
            buffer[:, target] = buffer[:, source]
        if self.memory.mask is not None:
            self.memory.mask[target] = self.memory.mask[source]


@torch.inference_mode()
def generate(model: Florence2, memory: Memory, decoding: Decoding, *, static: bool = False) -> list[Written[int]]:
    """One answer for each sequence of the memory, in their order."""
    batch = memory.keys.shape[1]
    pool: Pool[int] = Pool(model, decoding, batch, static=static)
    pool.admit(range(batch), memory)
    while pool.keys:
        pool.step()
    return sorted(pool.poll(), key=lambda one: one.key)


def padded(written: Sequence[Written[K]], decoding: Decoding) -> Tensor:
    """(B, L) ids as transformers' `generate` gives them: from the start token on, padded to the longest."""
    longest = max(len(one.tokens) for one in written)
    rows = [[decoding.start, *one.tokens, *[decoding.pad] * (longest - len(one.tokens))] for one in written]
    return torch.tensor(rows)
