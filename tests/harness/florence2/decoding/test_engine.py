"""Submit, step, poll: whatever comes when, each gets the answer it would have had alone."""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.errors import CheckpointError, ResourceError, UsageError
from harness.florence2.bart import Memory
from harness.florence2.decoding.engine import Engine, Picture
from harness.florence2.decoding.generate import Pool, Written, generate
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast.choose import accelerated
from harness.florence2.fast.graphs import SMALL, CapturedMap, CapturedStep
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from tests.twins import TINY, fast, twins

SIDE = 96
PREPROCESS = Preprocess(SIDE, SIDE)
PLAIN = twins(seed=1, ending=7.0).ours
MODEL = fast(PLAIN)
DECODING = Decoding(max_new_tokens=24)


def pictures(count: int) -> list[Tensor]:
    return list(torch.randint(0, 256, (count, SIDE, SIDE, 3), generator=torch.Generator().manual_seed(1)).byte())


def prompts(count: int) -> list[list[int]]:
    draw = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, 7, (count,), generator=draw).tolist()
    return [[0, *torch.randint(4, TINY.text.vocab - 1, (length,), generator=draw).tolist(), 2] for length in lengths]


def alone(pixels: Tensor, prompt: list[int]) -> Written[int]:
    """The plain network's answer to one prompt."""
    with torch.inference_mode():
        image = PLAIN.look(PREPROCESS.normalise(pixels[None], torch.float32))
        return generate(PLAIN, PLAIN.read(image, torch.tensor([prompt])), DECODING)[0]


def all_at_once(engine: Engine[int], pixels: Sequence[Tensor], asked: Sequence[list[int]]) -> dict[int, list[int]]:
    """Every prompt about a picture of its own, and the tokens of each answer."""
    for number, (one, prompt) in enumerate(zip(pixels, asked, strict=True)):
        engine.submit(number, Picture(one), prompt)
    found: dict[int, list[int]] = {}
    while engine.busy:
        engine.step()
        found |= {done.ticket: done.written.tokens for done in engine.poll()}
    return found


@pytest.mark.parametrize(
    ("model", "static"), [(PLAIN, False), (MODEL, False), (MODEL, True)], ids=["plain", "fast", "static"]
)
@pytest.mark.parametrize("slots", [1, 3, 8])
def test_whenever_they_come_answers_are_those_given_alone(slots: int, model: Florence2, static: bool) -> None:
    pixels, asked = pictures(4), prompts(14)
    engine: Engine[int] = Engine(model, PREPROCESS, DECODING, slots=slots, static=static)
    draw = torch.Generator().manual_seed(slots)
    shown = [Picture(one) for one in pixels]
    found: dict[int, Any] = {}
    ticket = 0
    while ticket < len(asked) or engine.busy:
        for _ in range(int(torch.randint(0, 3, (), generator=draw))):
            if ticket < len(asked):
                engine.submit(ticket, shown[ticket % 4], asked[ticket])
                ticket += 1
        engine.step()
        found |= {done.ticket: done for done in engine.poll()}
    assert sorted(found) == list(range(14))
    assert len({len(done.written.tokens) for done in found.values()}) > 5
    for number, done in found.items():
        expected = alone(pixels[number % 4], asked[number])
        assert done.written.tokens == expected.tokens
        torch.testing.assert_close(done.written.log_probs, expected.log_probs, rtol=1e-3, atol=1e-3)
        assert done.batch <= slots
        assert done.ended > done.begun
    assert all(picture.tokens is None and not picture.waiting for picture in shown)  # none is kept for nothing


@pytest.mark.parametrize("beams", [1, 3])
def test_a_slot_that_was_far_is_free_for_one_that_begins(beams: int) -> None:
    """Answers longer than the smallest width of the cache, then fewer than there are slots."""
    model = fast(twins(replace(TINY, text=replace(TINY.text, positions=128)), seed=1).ours)
    decoding = Decoding(beams=beams, max_new_tokens=100, min_new_tokens=100)
    engine: Engine[int] = Engine(model, PREPROCESS, decoding, slots=4, static=True)
    pixels, asked = pictures(1)[0], prompts(7)
    found: dict[int, list[int]] = {}
    for first, last in ((0, 4), (4, 7)):
        for number in range(first, last):
            engine.submit(number, Picture(pixels), asked[number])
        while engine.busy:
            engine.step()
            found |= {done.ticket: done.written.tokens for done in engine.poll()}
    with torch.inference_mode():
        image = model.look(PREPROCESS.normalise(pixels[None], torch.float32))
        for number, prompt in enumerate(asked):
            assert found[number] == generate(model, model.read(image, torch.tensor([prompt])), decoding)[0].tokens


def test_a_pool_that_is_let_go_is_gone() -> None:
    """Its buffers are the most of what an engine holds, and memory that has ended cannot wait for the collector."""
    pool: Pool[int] = Pool(MODEL, DECODING, 2, static=True)
    pool.advance = CapturedStep(pool)
    gone = weakref.ref(pool.cache.keys)
    del pool
    assert gone() is None


def test_nothing_is_lost_where_memory_ends_in_the_middle(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends twice: after an answer was settled, and while new ones are taken in."""
    pixels, asked = pictures(3), prompts(9)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=6)
    for number, prompt in enumerate(asked):
        engine.submit(number, Picture(pixels[number % 3]), prompt)
    feed, admit, ended = Pool._feed, Pool.admit, [False, False]

    def failing_feed(pool: Any, count: int, *given: Any, **more: Any) -> None:
        if count < 6 and not ended[0]:  # something has just been let go
            ended[0] = True
            raise torch.OutOfMemoryError("CUDA out of memory")
        feed(pool, count, *given, **more)

    def failing_admit(pool: Any, *given: Any) -> None:
        if ended[0] and not ended[1]:
            ended[1] = True
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        admit(pool, *given)

    monkeypatch.setattr(Pool, "_feed", failing_feed)
    monkeypatch.setattr(Pool, "admit", failing_admit)
    found = {}
    while engine.busy:
        engine.step()
        found |= {done.ticket: done.written.tokens for done in engine.poll()}
    assert ended == [True, True]
    said = [record.getMessage().split(": ")[1] for record in caplog.records]
    assert said == ["going on with 3", "going on with 1", "trying 2"]
    assert found == {number: alone(pixels[number % 3], prompt).tokens for number, prompt in enumerate(asked)}


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(("room", "tried"), [(11, [16, 8, 12, 8, 10]), (15, [16, 8, 12, 14]), (1, [16, 8, 4, 2, 1])])
def test_the_most_that_fit_are_looked_for(
    room: int, tried: list[int], static: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Halved until they fit, then half way to what does not, as long as that is an eighth more."""
    pixels, asked = pictures(3), prompts(60)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=16, static=static)
    step = Pool.step

    def cramped(pool: Any) -> None:  # all are under way by then
        if len(pool.keys) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(pool)

    monkeypatch.setattr(Pool, "step", cramped)
    found, shown = {}, [Picture(one) for one in pixels]
    for number, prompt in enumerate(asked):
        engine.submit(number, shown[number % 3], prompt)
    while engine.busy:
        engine.step()
        found |= {done.ticket: done.written.tokens for done in engine.poll()}
    assert found == {number: alone(pixels[number % 3], prompt).tokens for number, prompt in enumerate(asked)}
    assert engine.slots == tried[-1]
    assert [record.getMessage() for record in caplog.records] == [
        f"{now} answers at once fit in the memory of cpu: trying {then}" if then > now
        else f"a batch of {now} does not fit in the memory of cpu: going on with {then}"
        for now, then in itertools.pairwise(tried)
    ]  # fmt: skip


def test_buffers_that_do_not_fit_are_made_smaller_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They do not fit at the beginning, nor when more are tried; steps of more than five do not fit either."""
    pixels, asked = pictures(3), prompts(30)
    fresh, step, room = Pool.__init__, Pool.step, [5]

    def cramped_pool(pool: Any, model: Any, decoding: Any, slots: int, **more: Any) -> None:
        if slots > room[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        fresh(pool, model, decoding, slots, **more)

    def cramped(pool: Any) -> None:
        room[0] = 4  # what there is at the beginning is less later on
        step(pool)

    monkeypatch.setattr(Pool, "__init__", cramped_pool)
    monkeypatch.setattr(Pool, "step", cramped)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=16)
    for number, prompt in enumerate(asked):
        engine.submit(number, Picture(pixels[number % 3]), prompt)
    found = {}
    while engine.busy:
        engine.step()
        found |= {done.ticket: done.written.tokens for done in engine.poll()}
    assert found == {number: alone(pixels[number % 3], prompt).tokens for number, prompt in enumerate(asked)}
    said = [record.getMessage().split(": ")[1] for record in caplog.records]
    assert said[:4] == ["going on with 8", "going on with 4", "trying 6", "going on with 3"]
    assert engine.slots <= 4


def test_buffers_of_one_answer_that_do_not_fit_are_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Pool, "__init__", none)
    with pytest.raises(ResourceError, match="one answer does not fit in the memory of cpu"):
        Engine(MODEL, PREPROCESS, DECODING, slots=16)


@pytest.mark.parametrize("beams", [1, 3])
def test_scores_that_are_not_numbers_are_no_answer(beams: int) -> None:
    """65,504 is float16's largest: a map of the tower that is past it is infinite, and its norm is not a number."""
    model = copy.deepcopy(PLAIN)
    model.vision.stages[3].embed.conv.weight.mul_(1e6)
    decoding = replace(DECODING, beams=beams)

    def ask(network: Florence2) -> None:
        engine: Engine[int] = Engine(network, PREPROCESS, decoding, slots=1)
        engine.submit(0, Picture(pictures(1)[0]), prompts(1)[0])
        while engine.busy:
            engine.step()
            engine.poll()

    cpu = torch.device("cpu")
    with pytest.raises(UsageError, match=r"not numbers in float16, .* past 65,504: try --dtype bfloat16"):
        ask(accelerated(copy.deepcopy(model), cpu, torch.float16))
    ask(accelerated(copy.deepcopy(model), cpu, torch.bfloat16))
    model.decoder.norm.bias[0] = torch.nan
    with pytest.raises(CheckpointError, match="not numbers in float32: the checkpoint's weights are broken"):
        ask(model)


def test_gpu_settings_hold_during_a_step_and_not_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither between steps, where others use the process, nor after one that failed."""
    held: list[torch.device] = []

    @contextmanager
    def watched(device: torch.device) -> Iterator[None]:
        held.append(device)
        try:
            yield
        finally:
            held.pop()

    def look(pixels: Tensor) -> Tensor:
        assert held == [torch.device("cpu")]
        if len(seen) == 1:
            raise ValueError("a bug")
        seen.append(len(pixels))
        return MODEL.look(pixels)

    monkeypatch.setattr("harness.florence2.decoding.engine.cuda", watched)
    seen: list[int] = []
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=1)
    monkeypatch.setattr(engine, "_encode", look)
    for number, pixels in enumerate(pictures(2)):
        engine.submit(number, Picture(pixels), prompts(1)[0])
    while not engine.poll():
        engine.step()
        assert not held
    with pytest.raises(ValueError, match="a bug"):
        engine.step()
    assert not held


def test_waiting_prompts_are_taken_in_together_but_an_idle_engine_takes_what_there_is() -> None:
    [pixels], asked = pictures(1), prompts(9)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=8, refill=0.5)
    for number in range(6):
        engine.submit(number, Picture(pixels), asked[number])
    engine.step()
    assert len(engine.pool.keys) == 6  # idle: at once
    engine.submit(6, Picture(pixels), asked[6])
    engine.step()
    assert len(engine.waiting) == 1  # two places are free, and four are waited for
    while engine.waiting:
        before = engine.pool.free
        engine.step()
    assert before >= 4


class Recording:
    """A stand-in for a CUDA graph where there is no GPU: what is recorded is what is called again."""

    def __init__(self, broken: bool) -> None:
        self.broken = broken
        self.recorded: list[Any] = []
        self.replays = 0

    def graphs(self) -> dict[str, Any]:
        """What of torch.cuda is replaced."""
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
                outer.recorded.append(self.graph)

            def __exit__(self, *_: object) -> None:
                pass

        return {"CUDAGraph": Graph, "graph": capturing, "current_stream": lambda: None, "stream": nullcontext}


@pytest.mark.parametrize("broken", [False, True])
def test_a_step_is_recorded_at_its_second_meeting_or_goes_on_as_it_is(
    broken: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a GPU: the bookkeeping alone, with a graph that calls the step it stands for."""
    recording = Recording(broken)
    for name, value in recording.graphs().items():
        monkeypatch.setattr(torch.cuda, name, value)
    pixels, asked = pictures(1)[0], prompts(5)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=4, static=True)
    pool = engine.pool
    take_step, recorded = pool.take_step, []

    def step(count: int, longest: int) -> None:
        if recording.recorded and not hasattr(recording.recorded[-1], "work"):  # recorded, and not run
            recording.recorded[-1].work = lambda: take_step(count, longest)
            recorded.append((count, longest))
        else:
            take_step(count, longest)

    monkeypatch.setattr(pool, "take_step", step)
    pool.advance = CapturedStep(pool)
    for number, prompt in enumerate(asked):
        engine.submit(number, Picture(pixels), prompt)
    found = {}
    while engine.busy:
        engine.step()
        found |= {done.ticket: done.written.tokens for done in engine.poll()}
    assert found == {number: alone(pixels, prompt).tokens for number, prompt in enumerate(asked)}
    messages = [record.getMessage() for record in caplog.records]
    if broken:
        assert messages == ["CUDA graphs cannot be recorded here (operation not supported): going on without"]
        assert recording.replays == 0
    else:
        assert not messages
        assert len(recorded) == len(set(recorded)) >= 2  # a size each
        assert recording.replays > len(recorded)


def test_a_map_is_recorded_for_each_size_and_a_replay_spoils_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording(broken=False)
    for name, value in recording.graphs().items():
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
        captured._made[2, 3].copy_(2 * captured._given[2, 3])

    second = captured(torch.full((2, 3), 5.0))
    third = captured(torch.full((2, 3), 7.0))
    assert calls == [2, 2]  # as it is, and to be recorded
    assert len(replays) == 2
    for result, value in ((first, 2.0), (second, 10.0), (third, 14.0)):
        assert torch.equal(result, torch.full((2, 3), value))
    for _ in range(3):
        captured(torch.ones(SMALL + 1, 3))
    assert calls == [2, 2, *[SMALL + 1] * 3]


def test_the_next_pictures_are_encoded_while_answers_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, asked = pictures(4), prompts(8)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=2, refill=1.0, static=True)
    look, seen = engine._encode, []

    def watched(x: Tensor) -> Tensor:
        seen.append((len(x), len(engine.pool.keys)))
        return look(x)

    monkeypatch.setattr(engine, "_encode", watched)
    found = all_at_once(engine, [pixels[number % 4] for number in range(8)], asked)
    assert found == {number: alone(pixels[number % 4], asked[number]).tokens for number in range(8)}
    assert seen[0] == (2, 0)  # nothing is under way yet
    assert [size for size, _ in seen] == [2, 2, 2, 2]  # each once
    assert all(under_way for _, under_way in seen[1:])


def test_small_pictures_are_encoded_in_whole_groups_as_long_as_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, asked = pictures(19), prompts(19)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=9)
    look, seen = engine._encode, []

    def watched(x: Tensor) -> Tensor:
        seen.append(len(x))
        return look(x)

    monkeypatch.setattr(engine, "_encode", watched)
    found = all_at_once(engine, pixels, asked)
    assert seen == [8, 8, 8]  # for the first nine answers sixteen, then what is left, one of it six times
    assert found == {number: alone(pixels[number], asked[number]).tokens for number in range(19)}
    seen.clear()
    assert all_at_once(engine, pixels[:1], asked[:1]) == {0: found[0]}
    assert seen == [1]  # which nobody waits with


def test_prompts_of_small_pictures_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no memory for some of them, those that were read before are neither lost nor asked twice."""
    pixels, asked = pictures(5), prompts(5) * 4
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=20)
    read, seen = MODEL.read, []

    def short_of_memory(image: Tensor, *prompt: Tensor | None) -> Memory:
        seen.append(len(image))
        if len(seen) == 2:
            raise torch.OutOfMemoryError("out of memory")
        return read(image, *prompt)  # type: ignore[arg-type]

    monkeypatch.setattr(MODEL, "read", short_of_memory)
    found = all_at_once(engine, pixels * 4, asked)
    monkeypatch.undo()
    assert seen[:3] == [16, 4, 10]  # half as many at once, from the first on
    assert found == {number: alone(pixels[number % 5], asked[number]).tokens for number in range(20)}


@pytest.mark.parametrize(("side", "group"), [(128, 8), (256, 4), (384, 1), (512, 1), (768, 1)])
def test_large_pictures_wait_for_no_group(side: int, group: int) -> None:
    # As many as have the pixels of one of 512 x 512, and at most eight, or as many as there are slots.
    assert Engine(MODEL, Preprocess(side, side), DECODING, slots=9).group == group
    assert Engine(MODEL, Preprocess(side, side), DECODING, slots=2).group == min(group, 2)


def test_fewer_pictures_at_a_time_where_a_group_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, asked = pictures(9), prompts(9)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=8)
    look, seen = engine._encode, []

    def short_of_memory(x: Tensor) -> Tensor:
        seen.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return look(x)

    monkeypatch.setattr(engine, "_encode", short_of_memory)
    found = all_at_once(engine, pixels, asked)
    assert seen == [8, 4, 2, 2, 2, 2, 1]
    assert found == {number: alone(pixels[number], asked[number]).tokens for number in range(9)}
