"""Work on a GPU as CUDA graphs: its kernels are recorded once for each size and then started by one call.

A decoding step, or one picture through the tower, is some hundreds of small kernels, which a GPU does faster than a
host can ask for them; replayed, the host asks once.  The first time a size is met it runs as it is, which also warms it
up; the second time it is recorded.  Where the driver cannot record, that is said once and work goes on as it is.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from harness.florence2.decoding.generate import Pool

log = logging.getLogger(__name__)
Key = tuple[int, ...]
SMALL = 8  # pictures; where more come at once the device is the slower of the two anyway


class Graphs:
    """Recorded work, by size.  All of it shares memory, so no two of them may run at once."""

    def __init__(self) -> None:
        self.graphs: dict[Key, torch.cuda.CUDAGraph] = {}
        self._met: set[Key] = set()
        self._memory: Any = None
        self._usable = True

    def run(self, key: Key, work: Callable[[], None]) -> bool:
        """The work of this size: replayed where it is recorded, else as it is.  Whether it was replayed.

        Work that is recorded reads and writes only tensors that stay where they are.
        """
        if self._usable and key in self._met and key not in self.graphs:
            self._record(key, work)
        graph = self.graphs.get(key)
        if graph is None:
            work()
            self._met.add(key)
            return False
        graph.replay()
        return True

    def _record(self, key: Key, work: Callable[[], None]) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                _own_workspaces(),
                torch.cuda.stream(torch.cuda.current_stream()),  # which a recording that fails may not give back
                torch.cuda.graph(graph, pool=self._memory),
            ):
                work()
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            self._usable = False
            log.warning("CUDA graphs cannot be recorded here (%s): going on without", str(error).splitlines()[0])
            return
        self._memory = graph.pool()
        self.graphs[key] = graph


@contextmanager
def _own_workspaces() -> Iterator[None]:
    """What is recorded takes cuBLAS's workspaces from its own memory.

    They are else kept for each stream, and all recording is done on one: graphs replayed at once would write to the
    same, and one that is let go would take it from the others.
    """
    clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)
    clear()
    try:
        yield
    finally:
        clear()


class CapturedStep:
    """What takes the place of `Pool.take_step`.  The pool is held weakly: it holds this."""

    def __init__(self, pool: Pool[Any]) -> None:
        self._pool = weakref.ref(pool)
        self.recorded = Graphs()

    def __call__(self, count: int, longest: int) -> None:
        """A step of the first `count` slots; see `Pool.take_step`."""
        pool = self._pool()
        if pool is None:
            raise RuntimeError("the pool of this step is gone")
        self.recorded.run((count, longest, *_buffers(pool)), lambda: pool.take_step(count, longest))


def _buffers(pool: Pool[Any]) -> Key:
    """Where the buffers lie that a step reads and that may be made anew, larger; and how large they are."""
    memory, cache = pool.memory, pool.cache
    read = [cache.keys, cache.values]
    if memory is not None and memory.mask is not None:
        read += [memory.keys, memory.values, memory.mask]
    return tuple(number for buffer in read for number in (buffer.data_ptr(), buffer.numel()))


class CapturedMap:
    """A function of one tensor, replayed where that holds at most `SMALL` pictures."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self.recorded = Graphs()
        self._given: dict[Key, Tensor] = {}
        self._made: dict[Key, Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """(B, ...) to what the function makes of it."""
        if len(x) > SMALL:
            return self.function(x)
        key = tuple(x.shape)
        given = self._given.get(key)
        if given is None:
            given = self._given[key] = x.clone()
        else:
            given.copy_(x)

        def work() -> None:
            self._made[key] = self.function(given)

        self.recorded.run(key, work)
        return self._made[key].clone()  # the next replay writes where this lies
