"""Work on a GPU as CUDA graphs: kernels are captured once for each size, and replayed by one call.

A decode step, or an image through the vision tower, has hundreds of small kernels.  A GPU runs them faster than the
host can launch them one by one.  The first call of a size runs normally and warms up; the second is captured.
If the driver cannot capture, one warning is logged, and all work runs normally.
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
SMALL = 8  # images; a larger batch keeps the GPU busy without a graph


class Graphs:
    """Captured work, by a key of its size.  All graphs share memory, so two of them must not run at once."""

    def __init__(self) -> None:
        self.graphs: dict[Key, torch.cuda.CUDAGraph] = {}
        self._seen: set[Key] = set()
        self._memory: Any = None
        self._usable = True

    def run(self, key: Key, work: Callable[[], None]) -> bool:
        """Runs the work of this size, as a graph if it is captured; True if a graph was replayed.

        Captured work may only read and write tensors that keep their address.
        """
        if self._usable and key in self._seen and key not in self.graphs:
            self._capture(key, work)
        graph = self.graphs.get(key)
        if graph is None:
            work()
            self._seen.add(key)
            return False
        graph.replay()
        return True

    def _capture(self, key: Key, work: Callable[[], None]) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                _own_workspaces(),
                torch.cuda.stream(torch.cuda.current_stream()),  # restored also after a failed capture
                torch.cuda.graph(graph, pool=self._memory),
            ):
                work()
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            self._usable = False
            log.warning("CUDA graphs cannot be captured (%s): running without them", str(error).splitlines()[0])
            return
        self._memory = graph.pool()
        self.graphs[key] = graph


@contextmanager
def _own_workspaces() -> Iterator[None]:
    """A context in which captured work allocates cuBLAS's workspaces from its own memory.

    Otherwise cuBLAS keeps one workspace per stream, and all captures share a stream.  Graphs replayed at the same time
    would write to one workspace, and a released graph would free it for the others.
    """
    clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)
    clear()
    try:
        yield
    finally:
        clear()


class CapturedStep:
    """`Pool.take_step` as CUDA graphs, for `Pool.advance`; the reference to the pool is weak, to avoid a cycle."""

    def __init__(self, pool: Pool[Any]) -> None:
        self._pool = weakref.ref(pool)
        self.graphs = Graphs()

    def __call__(self, count: int, longest: int) -> None:
        """Runs `Pool.take_step` with these arguments; RuntimeError if the pool no longer exists."""
        pool = self._pool()
        if pool is None:
            raise RuntimeError("the pool of this step no longer exists")
        self.graphs.run((count, longest, *_buffers(pool)), lambda: pool.take_step(count, longest))


def _buffers(pool: Pool[Any]) -> Key:
    """Addresses and sizes of the buffers that a step reads and that may be reallocated."""
    memory, cache = pool.memory, pool.cache
    read = [cache.keys, cache.values]
    if memory is not None and memory.mask is not None:
        read += [memory.keys, memory.values, memory.mask]
    return tuple(number for buffer in read for number in (buffer.data_ptr(), buffer.numel()))


class CapturedMap:
    """A function of one tensor (B, ...) as CUDA graphs, for batches of at most `SMALL`."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self.graphs = Graphs()
        self._inputs: dict[Key, Tensor] = {}
        self._outputs: dict[Key, Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """The function's result for a tensor (B, ...)."""
        if len(x) > SMALL:
            return self.function(x)
        key = tuple(x.shape)
        copied = self._inputs.get(key)
        if copied is None:
            copied = self._inputs[key] = x.clone()
        else:
            copied.copy_(x)

        def work() -> None:
            self._outputs[key] = self.function(copied)

        self.graphs.run(key, work)
        return self._outputs[key].clone()  # the next replay overwrites this buffer
