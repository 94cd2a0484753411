"""Submit, step, poll: each prompt gets the answer that it gets alone, whatever else is in the engine."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.errors import CheckpointError, ResourceError, UsageError
from harness.florence2.bart import Memory
from harness.florence2.decoding.engine import Engine, ImageInput, is_out_of_memory
from harness.florence2.decoding.generate import Generated, Pool, generate
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast.choose import accelerated
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from tests.twins import TINY, fast, twins

SIDE = 96
PREPROCESS = Preprocess(SIDE, SIDE)
PLAIN = twins(seed=1, ending=7.0).ours
MODEL = fast(PLAIN)
DECODING = Decoding(max_new_tokens=24)


def random_images(count: int) -> list[Tensor]:
    """Resized pixels of random images."""
    return list(torch.randint(0, 256, (count, SIDE, SIDE, 3), generator=torch.Generator().manual_seed(1)).byte())


def random_prompts(count: int) -> list[list[int]]:
    """Prompts of unequal lengths, as token ids."""
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, 7, (count,), generator=generator).tolist()
    return [
        [0, *torch.randint(4, TINY.text.vocab - 1, (length,), generator=generator).tolist(), 2] for length in lengths
    ]


def alone(pixels: Tensor, prompt: list[int]) -> Generated[int]:
    """The plain network's sequence for one prompt, generated alone."""
    with torch.inference_mode():
        image = PLAIN.encode_image(PREPROCESS.normalise(pixels[None], torch.float32))
        return generate(PLAIN, PLAIN.encode(image, torch.tensor([prompt])), DECODING)[0]


def drained(engine: Engine[int]) -> dict[int, list[int]]:
    """The generated tokens by ticket, once the engine is no longer busy."""
    tokens: dict[int, list[int]] = {}
    while engine.busy:
        engine.step()
        tokens |= {done.ticket: done.generated.tokens for done in engine.poll()}
    return tokens


def submitted(engine: Engine[int], pixels: Sequence[Tensor], prompts: Sequence[list[int]]) -> dict[int, list[int]]:
    """The generated tokens of prompts that are all submitted at once, each about an image of its own."""
    for number, (image, prompt) in enumerate(zip(pixels, prompts, strict=True)):
        engine.submit(number, ImageInput(image), prompt)
    return drained(engine)


@pytest.mark.parametrize(
    ("model", "static"), [(PLAIN, False), (MODEL, False), (MODEL, True)], ids=["plain", "fast", "static"]
)
@pytest.mark.parametrize("slots", [1, 3, 8])
def test_sequences_submitted_at_random_steps_equal_those_generated_alone(
    slots: int, model: Florence2, static: bool
) -> None:
    pixels, prompts = random_images(4), random_prompts(14)
    engine: Engine[int] = Engine(model, PREPROCESS, DECODING, slots=slots, static=static)
    generator = torch.Generator().manual_seed(slots)
    images = [ImageInput(image) for image in pixels]
    results: dict[int, Any] = {}
    ticket = 0
    while ticket < len(prompts) or engine.busy:
        for _ in range(int(torch.randint(0, 3, (), generator=generator))):
            if ticket < len(prompts):
                engine.submit(ticket, images[ticket % 4], prompts[ticket])
                ticket += 1
        engine.step()
        results |= {done.ticket: done for done in engine.poll()}
    assert sorted(results) == list(range(14))
    assert len({len(done.generated.tokens) for done in results.values()}) > 5
    for number, done in results.items():
        expected = alone(pixels[number % 4], prompts[number])
        assert done.generated.tokens == expected.tokens
        torch.testing.assert_close(done.generated.log_probs, expected.log_probs, rtol=1e-3, atol=1e-3)
        assert done.batch <= slots
        assert done.ended > done.begun
    assert all(image.tokens is None and not image.waiting for image in images)  # image tokens are freed


@pytest.mark.parametrize("beams", [1, 3])
def test_freed_slot_starts_new_sequence_at_position_zero(beams: int) -> None:
    """Sequences longer than the smallest capacity of the cache, then fewer sequences than slots."""
    model = fast(twins(replace(TINY, text=replace(TINY.text, positions=128)), seed=1).ours)
    decoding = Decoding(beams=beams, max_new_tokens=100, min_new_tokens=100)
    engine: Engine[int] = Engine(model, PREPROCESS, decoding, slots=4, static=True)
    [pixels], prompts = random_images(1), random_prompts(7)
    tokens: dict[int, list[int]] = {}
    for first, last in ((0, 4), (4, 7)):
        for number in range(first, last):
            engine.submit(number, ImageInput(pixels), prompts[number])
        tokens |= drained(engine)
    with torch.inference_mode():
        image = model.encode_image(PREPROCESS.normalise(pixels[None], torch.float32))
        for number, prompt in enumerate(prompts):
            assert tokens[number] == generate(model, model.encode(image, torch.tensor([prompt])), decoding)[0].tokens


def test_no_sequence_is_lost_if_memory_runs_out_twice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """First in a decode step after a sequence finished, then in a prefill."""
    pixels, prompts = random_images(3), random_prompts(9)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=6)
    for number, prompt in enumerate(prompts):
        engine.submit(number, ImageInput(pixels[number % 3]), prompt)
    decode_last, admit, failed = Pool._decode_last, Pool.admit, [False, False]

    def failing_decode(pool: Any, count: int, *arguments: Any, **options: Any) -> None:
        if count < 6 and not failed[0]:  # a slot has just been released
            failed[0] = True
            raise torch.OutOfMemoryError("CUDA out of memory")
        decode_last(pool, count, *arguments, **options)

    def failing_admit(pool: Any, *arguments: Any) -> None:
        if failed[0] and not failed[1]:
            failed[1] = True
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        admit(pool, *arguments)

    monkeypatch.setattr(Pool, "_decode_last", failing_decode)
    monkeypatch.setattr(Pool, "admit", failing_admit)
    tokens = drained(engine)
    assert failed == [True, True]
    messages = [record.getMessage().split(": ")[1] for record in caplog.records]
    assert messages == ["going on with 3", "going on with 1", "trying 2"]
    assert tokens == {number: alone(pixels[number % 3], prompt).tokens for number, prompt in enumerate(prompts)}


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(("limit", "tried"), [(11, [16, 8, 12, 8, 10]), (15, [16, 8, 12, 14]), (1, [16, 8, 4, 2, 1])])
def test_batch_that_does_not_fit_is_halved_and_then_grows_to_the_largest_that_fits(
    limit: int, tried: list[int], static: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It grows half way to the smallest batch that did not fit, as long as that is more than an eighth."""
    pixels, prompts = random_images(3), random_prompts(60)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=16, static=static)
    step = Pool.step

    def limited_step(pool: Any) -> None:
        if len(pool.keys) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(pool)

    monkeypatch.setattr(Pool, "step", limited_step)
    images = [ImageInput(image) for image in pixels]
    for number, prompt in enumerate(prompts):
        engine.submit(number, images[number % 3], prompt)
    tokens = drained(engine)
    assert tokens == {number: alone(pixels[number % 3], prompt).tokens for number, prompt in enumerate(prompts)}
    assert engine.slots == tried[-1]
    assert [record.getMessage() for record in caplog.records] == [
        f"a batch of {now} fits in the memory of cpu: trying {then}" if then > now
        else f"a batch of {now} does not fit in the memory of cpu: going on with {then}"
        for now, then in itertools.pairwise(tried)
    ]  # fmt: skip


def test_pool_that_does_not_fit_has_fewer_slots_and_no_sequence_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first pool has too many slots, and so has the pool of the next larger batch: memory has shrunk meanwhile."""
    pixels, prompts = random_images(3), random_prompts(30)
    build, step, limit = Pool.__init__, Pool.step, [5]

    def limited_build(pool: Any, model: Any, decoding: Any, slots: int, **options: Any) -> None:
        if slots > limit[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        build(pool, model, decoding, slots, **options)

    def shrinking_step(pool: Any) -> None:
        limit[0] = 4
        step(pool)

    monkeypatch.setattr(Pool, "__init__", limited_build)
    monkeypatch.setattr(Pool, "step", shrinking_step)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=16)
    for number, prompt in enumerate(prompts):
        engine.submit(number, ImageInput(pixels[number % 3]), prompt)
    tokens = drained(engine)
    assert tokens == {number: alone(pixels[number % 3], prompt).tokens for number, prompt in enumerate(prompts)}
    messages = [record.getMessage().split(": ")[1] for record in caplog.records]
    assert messages[:4] == ["going on with 8", "going on with 4", "trying 6", "going on with 3"]
    assert engine.slots <= 4


def test_pool_of_one_slot_that_does_not_fit_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Pool, "__init__", no_memory)
    with pytest.raises(ResourceError, match="one sequence does not fit in the memory of cpu"):
        Engine(MODEL, PREPROCESS, DECODING, slots=16)


@pytest.mark.parametrize("beams", [1, 3])
def test_scores_that_are_not_numbers_are_an_error_that_names_the_way_out(beams: int) -> None:
    """A map beyond 65,504, float16's largest number, is infinite, and its norm is not a number."""
    model = copy.deepcopy(PLAIN)
    model.vision.stages[3].embed.conv.weight.mul_(1e6)
    decoding = replace(DECODING, beams=beams)

    def run(network: Florence2) -> None:
        engine: Engine[int] = Engine(network, PREPROCESS, decoding, slots=1)
        engine.submit(0, ImageInput(random_images(1)[0]), random_prompts(1)[0])
        drained(engine)

    cpu = torch.device("cpu")
    with pytest.raises(UsageError, match=r"not numbers in float16, .* 65,504: try --dtype bfloat16"):
        run(accelerated(copy.deepcopy(model), cpu, torch.float16))
    run(accelerated(copy.deepcopy(model), cpu, torch.bfloat16))
    model.decoder.norm.bias[0] = torch.nan
    with pytest.raises(CheckpointError, match="not numbers in float32: the checkpoint's weights are broken"):
        run(model)


def test_gpu_settings_hold_during_a_step_and_not_after_it_even_if_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    active: list[torch.device] = []

    @contextmanager
    def watched(device: torch.device) -> Iterator[None]:
        active.append(device)
        try:
            yield
        finally:
            active.pop()

    def encode_image(pixels: Tensor) -> Tensor:
        assert active == [torch.device("cpu")]
        if len(batches) == 1:
            raise ValueError("a bug")
        batches.append(len(pixels))
        return MODEL.encode_image(pixels)

    monkeypatch.setattr("harness.florence2.decoding.engine.cuda", watched)
    batches: list[int] = []
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=1)
    monkeypatch.setattr(engine, "_encode_image", encode_image)
    for number, pixels in enumerate(random_images(2)):
        engine.submit(number, ImageInput(pixels), random_prompts(1)[0])
    while not engine.poll():
        engine.step()
        assert not active
    with pytest.raises(ValueError, match="a bug"):
        engine.step()
    assert not active


def test_idle_engine_admits_all_waiting_prompts_and_occupied_engine_waits_for_free_slots() -> None:
    [pixels], prompts = random_images(1), random_prompts(9)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=8, refill=0.5)
    for number in range(6):
        engine.submit(number, ImageInput(pixels), prompts[number])
    engine.step()
    assert len(engine.pool.keys) == 6
    engine.submit(6, ImageInput(pixels), prompts[6])
    engine.step()
    assert len(engine.waiting) == 1  # two slots are free, and a refill needs four
    while engine.waiting:
        free = engine.pool.free
        engine.step()
    assert free >= 4


def test_static_engine_encodes_the_next_images_during_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, prompts = random_images(4), random_prompts(8)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=2, refill=1.0, static=True)
    encode_image, batches = engine._encode_image, []

    def watched(x: Tensor) -> Tensor:
        batches.append((len(x), len(engine.pool.keys)))
        return encode_image(x)

    monkeypatch.setattr(engine, "_encode_image", watched)
    tokens = submitted(engine, [pixels[number % 4] for number in range(8)], prompts)
    assert tokens == {number: alone(pixels[number % 4], prompts[number]).tokens for number in range(8)}
    assert batches[0] == (2, 0)  # the pool is still empty
    assert [size for size, _ in batches] == [2, 2, 2, 2]  # each image once
    assert all(occupied for _, occupied in batches[1:])


def test_small_images_are_encoded_in_padded_groups_and_a_single_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, prompts = random_images(19), random_prompts(19)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=9)
    encode_image, sizes = engine._encode_image, []

    def watched(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return encode_image(x)

    monkeypatch.setattr(engine, "_encode_image", watched)
    tokens = submitted(engine, pixels, prompts)
    assert sizes == [8, 8, 8]  # 16 images for the first 9 sequences, then 3 images and 5 copies of the last
    assert tokens == {number: alone(pixels[number], prompts[number]).tokens for number in range(19)}
    sizes.clear()
    assert submitted(engine, pixels[:1], prompts[:1]) == {0: tokens[0]}
    assert sizes == [1]


def test_prompts_about_small_images_are_encoded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory runs out at the second batch; the sequences of the first are neither lost nor generated twice."""
    pixels, prompts = random_images(5), random_prompts(5) * 4
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=20)
    encode, sizes = MODEL.encode, []

    def failing_once(image: Tensor, *arguments: Tensor | None) -> Memory:
        sizes.append(len(image))
        if len(sizes) == 2:
            raise torch.OutOfMemoryError("out of memory")
        return encode(image, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MODEL, "encode", failing_once)
    tokens = submitted(engine, pixels * 4, prompts)
    monkeypatch.undo()
    assert sizes[:3] == [16, 4, 10]  # half the slots, from the first prompt on
    assert tokens == {number: alone(pixels[number % 5], prompts[number]).tokens for number in range(20)}


@pytest.mark.parametrize(("side", "group"), [(128, 8), (256, 4), (384, 1), (512, 1), (768, 1)])
def test_group_of_images_has_at_most_the_pixels_of_a_large_image(side: int, group: int) -> None:
    # 512 * 512 / (side * side) images, but from 1 to 8, and no more than slots.
    assert Engine(MODEL, Preprocess(side, side), DECODING, slots=9).group == group
    assert Engine(MODEL, Preprocess(side, side), DECODING, slots=2).group == min(group, 2)


def test_group_of_images_that_does_not_fit_in_memory_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, prompts = random_images(9), random_prompts(9)
    engine: Engine[int] = Engine(MODEL, PREPROCESS, DECODING, slots=8)
    encode_image, sizes = engine._encode_image, []

    def limited(x: Tensor) -> Tensor:
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return encode_image(x)

    monkeypatch.setattr(engine, "_encode_image", limited)
    tokens = submitted(engine, pixels, prompts)
    assert sizes == [8, 4, 2, 2, 2, 2, 1]
    assert tokens == {number: alone(pixels[number], prompts[number]).tokens for number in range(9)}


@pytest.mark.parametrize(("error", "expected"), [
    (torch.OutOfMemoryError("CUDA out of memory"), True),
    (MemoryError(), True),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
    (RuntimeError("Triton Error [CUDA]: out of memory"), True),
    (RuntimeError("shape mismatch"), False),
    (ValueError("65 tokens"), False),
])  # fmt: skip
def test_out_of_memory_errors_of_every_library_are_recognised(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
