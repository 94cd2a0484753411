"""A pool's step as CUDA graphs: its kernels are recorded once for each size and then started by one call.

A decoding step is some hundreds of small kernels, which a GPU does faster than a host can ask for them; replayed, the
host asks once.  The first step of a size runs as it is, which also warms it up; the second is recorded.  Where the
driver cannot record, that is said once and steps go on as they are.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from harness.florence2.generate import Pool

log = logging.getLogger(__name__)
Key = tuple[int, ...]


class Captured:
    """What takes the place of `Pool.advance`."""

    def __init__(self, pool: Pool[Any]) -> None:
        self.pool = pool
        self.graphs: dict[Key, torch.cuda.CUDAGraph] = {}
        self._met: set[Key] = set()
        self._memory: Any = None  # shared by all graphs, which never run at once
        self._usable = True

    def __call__(self, count: int, longest: int) -> None:
        """A step of the first `count` slots; see `Pool._advance`."""
        key = (count, longest, *self._places())
        if self._usable and key in self._met and key not in self.graphs:
            self._record(key, count, longest)
        graph = self.graphs.get(key)
        if graph is None:
            self._met.add(key)
            self.pool.take_step(count, longest)
        else:
            graph.replay()

    def _places(self) -> tuple[int, ...]:
        """Where the buffers lie that a step reads and that may be made anew, larger."""
        memory, cache = self.pool.memory, self.pool.cache
        own = (cache.keys.data_ptr(), cache.values.data_ptr())
        if memory is None or memory.mask is None:
            return own
        return (*own, memory.keys.data_ptr(), memory.values.data_ptr(), memory.mask.data_ptr())

    def _record(self, key: Key, count: int, longest: int) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._memory):
                self.pool.take_step(count, longest)
        except RuntimeError as error:
            self._usable = False
            log.warning("CUDA graphs cannot be recorded here (%s): going on without", str(error).splitlines()[0])
            return
        self._memory = graph.pool()
        self.graphs[key] = graph
