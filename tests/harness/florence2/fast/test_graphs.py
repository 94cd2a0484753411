"""CUDA graphs without a GPU: what is captured and replayed when, by a stand-in for torch's graphs."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.florence2.bart import Memory
from harness.florence2.decoding.generate import Pool, generate
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast.graphs import SMALL, CapturedMap, CapturedStep
from tests.twins import TINY, fast, twins

DECODING = Decoding(max_new_tokens=24)


def test_pool_with_captured_steps_is_freed_without_the_garbage_collector() -> None:
    """Its buffers are the largest of an engine; after running out of memory they must be freed at once."""
    pool: Pool[int] = Pool(fast(twins().ours), DECODING, 2, static=True)
    pool.advance = step = CapturedStep(pool)
    keys = weakref.ref(pool.cache.keys)
    del pool
    assert keys() is None
    with pytest.raises(RuntimeError, match="the pool of this step no longer exists"):
        step(1, 1)


class Recorder:
    """A stand-in for torch's CUDA graphs.

    `captured` lists the graphs.  `Graph.work` is the captured work, which a test sets, and a replay calls.
    """

    def __init__(self, broken: bool) -> None:
        self.broken = broken
        self.captured: list[Any] = []
        self.replays = 0

    def replacements(self) -> dict[str, Any]:
        """The replaced attributes of torch.cuda."""
        outer = self

        class Graph:
            def pool(self) -> int:
                return 0

            def replay(self) -> None:
                outer.replays += 1
                self.work()

        class capturing:
            def __init__(self, graph: Any, pool: Any) -> None:
                self.graph = graph

            def __enter__(self) -> None:
                if outer.broken:
                    raise RuntimeError("operation not supported\nby this driver")
                outer.captured.append(self.graph)

            def __exit__(self, *_: object) -> None:
                pass

        return {"CUDAGraph": Graph, "graph": capturing, "current_stream": lambda: None, "stream": nullcontext}


@pytest.mark.parametrize("broken", [False, True])
def test_step_is_captured_at_its_second_call_of_a_size_or_runs_without_graphs(
    broken: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`broken` is a driver that cannot capture.  A replay calls the captured step."""
    recorder = Recorder(broken)
    for name, value in recorder.replacements().items():
        monkeypatch.setattr(torch.cuda, name, value)
    plain = twins(seed=1, ending=7.0).ours
    generator = torch.Generator().manual_seed(2)
    with torch.inference_mode():
        image = plain.encode_image(torch.randn(8, 3, 96, 96, generator=generator))
        memory = plain.encode(image, torch.randint(4, TINY.text.vocab - 1, (8, 4), generator=generator))
    few = Memory(memory.keys[:, :3].contiguous(), memory.values[:, :3].contiguous(), None)
    expected = [sequence.tokens for batch in (memory, few) for sequence in generate(plain, batch, DECODING)]
    pool: Pool[int] = Pool(fast(plain), DECODING, 8, static=True)
    take_step, sizes = pool.take_step, []

    def step(count: int, longest: int) -> None:
        if recorder.captured and not hasattr(recorder.captured[-1], "work"):  # a capture, which does not run
            recorder.captured[-1].work = lambda: take_step(count, longest)
            sizes.append((count, longest))
        else:
            take_step(count, longest)

    monkeypatch.setattr(pool, "take_step", step)
    pool.advance = CapturedStep(pool)
    tokens: list[list[int]] = []
    for batch, count in ((memory, 8), (few, 3)):
        pool.admit(range(count), batch)
        while pool.keys:
            pool.step()
        tokens += [sequence.tokens for sequence in sorted(pool.poll(), key=lambda sequence: sequence.key)]
    assert tokens == expected
    messages = [record.getMessage() for record in caplog.records]
    if broken:
        assert messages == ["CUDA graphs cannot be captured (operation not supported): running without them"]
        assert recorder.replays == 0
    else:
        assert not messages
        assert len(sizes) == len(set(sizes)) >= 2  # one capture of each size
        assert recorder.replays > len(sizes)


def test_map_is_captured_for_small_batches_and_a_replay_keeps_former_results(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(broken=False)
    for name, value in recorder.replacements().items():
        monkeypatch.setattr(torch.cuda, name, value)
    calls: list[int] = []

    def double(x: Tensor) -> Tensor:
        calls.append(len(x))
        return 2 * x

    captured = CapturedMap(double)
    first = captured(torch.ones(2, 3))
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: replay())
    replays: list[int] = []

    def replay() -> None:
        replays.append(1)
        captured._outputs[2, 3].copy_(2 * captured._inputs[2, 3])

    second = captured(torch.full((2, 3), 5.0))
    third = captured(torch.full((2, 3), 7.0))
    assert calls == [2, 2]  # the warm-up, and the capture
    assert len(replays) == 2
    for result, value in ((first, 2.0), (second, 10.0), (third, 14.0)):
        assert torch.equal(result, torch.full((2, 3), value))
    for _ in range(3):
        captured(torch.ones(SMALL + 1, 3))
    assert calls == [2, 2, *[SMALL + 1] * 3]
