"""Correctness on a GPU, for `benchmarks/gpu.py`: kernels against plain torch, tokens against a CPU and transformers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.gpu_variants import gelu_inside, interpreted, plain
from harness.florence2.config import Config, TextConfig, VisionConfig
from harness.florence2.decoding.engine import Engine, ImageInput
from harness.florence2.decoding.generate import generate
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast import fused
from harness.florence2.fast.choose import accelerated
from harness.florence2.fast.linear import Linear
from harness.florence2.fast.quantised import Float8Linear
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.speed.scenarios import Tokens, ask
from harness.speed.systems import Peer, Queries, drawn, random_model

TINY = Config(
    vision=VisionConfig(dims=(16, 32, 48, 64), depths=(1, 1, 2, 1), heads=(1, 2, 3, 4), groups=(2, 2, 3, 4), window=6),
    text=TextConfig(width=48, heads=3, encoder_layers=2, decoder_layers=2, ffn=96, positions=64, vocab=1100),
    image_size=96,
)
Compared = tuple[str, torch.Tensor, torch.Tensor]  # the name of a kernel, its result, and the expected one in float64


def kernels_are_right(device: torch.device, rehearsal: bool, vocabulary: int) -> dict[str, Any]:
    """Compares each kernel with plain torch in float64: the norm of the difference over the norm of the expected value.

    Sizes are the largest of the published networks, or small in a rehearsal.
    """
    seed = 0 if rehearsal else time.time_ns() % 2**31
    torch.manual_seed(seed)
    worst: dict[str, float] = {}
    unsupported: dict[str, str] = {}
    with interpreted(rehearsal):
        for name, result, expected in _kernels(device, rehearsal, vocabulary):
            difference = _difference(result, expected)
            worst[name] = max(worst.get(name, 0.0), difference if difference == difference else float("inf"))
        used = fused.usable(torch.empty(1, device=device))
    try:
        worst["a product of float8 bfloat16"] = _difference(*_float8_product(device))
    except (RuntimeError, ValueError) as error:  # the device has no products in float8
        unsupported["float8"] = str(error).splitlines()[0]
    # Triton's interpreter loses a carry where a number is rounded up to a power of two.
    bound = {"float32": 1e-5, "float16": 3e-3, "bfloat16": 2e-2, "float8": 0.2 if rehearsal else 2e-3}
    right = all(value < bound[name.split()[-1]] for name, value in worst.items())
    return {"correct": right, "kernels": used, "differences": worst, "seed": seed, **unsupported}


def _difference(result: torch.Tensor, expected: torch.Tensor) -> float:
    return float((result.double() - expected).norm() / expected.norm())


def _kernels(device: torch.device, rehearsal: bool, vocabulary: int) -> Iterator[Compared]:
    """Yields the result of each kernel with the expected one; the last word of the name selects the bound."""
    # Triton's interpreter multiplies bfloat16 numbers as integers.
    dtypes = (torch.float32, torch.float16) if rehearsal else (torch.float32, torch.float16, torch.bfloat16)
    for dtype in dtypes:
        for dim in (64,) if rehearsal else (128, 2048):
            yield from _layer_kernels(device, dtype, dim, side=8 if rehearsal else 48)
        yield f"attend_lineage {_name(dtype)}", *_lineage(device, dtype)
    scores = 9 * torch.randn(*((6, 4128) if rehearsal else (192, vocabulary)), device=device)
    yield "normalisers float32", fused.normalisers(scores), scores.double().logsumexp(-1)
    yield "candidates float32", fused.candidates(scores, 6)[0].topk(6).values, scores.topk(6).values.double()
    rounded, scale = fused.to_float8(scores)
    with plain():
        plain_rounded, plain_scale = fused.to_float8(scores)
    yield "to_float8 float8", rounded.double() * scale, plain_rounded.double() * plain_scale


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _layer_kernels(device: torch.device, dtype: torch.dtype, dim: int, side: int) -> Iterator[Compared]:
    """Yields the kernels of a layer with `dim` channels, over two maps of `side` x `side` tokens."""
    label = _name(dtype)
    conv, norm = torch.nn.Conv2d(dim, dim, 3, padding=1, groups=dim), torch.nn.LayerNorm(dim)
    conv, norm = conv.to(device, dtype), norm.to(device, dtype)
    x = torch.randn(2, side * side, dim, device=device, dtype=dtype)
    bias = torch.randn(dim, device=device, dtype=dtype)
    for windows in ((0, 0), (0, 4), (4, 0)):
        convolve = partial(fused.convolve_add_norm, window_in=windows[0], window_out=windows[1])
        results = convolve(x, (side, side), conv, norm, bias)
        with plain():
            expected = convolve(x.double(), (side, side), conv.double(), norm.double(), bias.double())
        conv, norm = conv.to(dtype), norm.to(dtype)
        for result, double_result in zip(results, expected, strict=True):
            yield f"convolve_add_norm {label}", result, double_result
    y = torch.randn_like(x)
    normed = F.layer_norm((x.double() + y.double()), (dim,), norm.weight.double(), norm.bias.double(), norm.eps)
    yield f"add_norm {label}", fused.add_norm(x, y, norm), normed
    qkv = torch.randn(2, side * side, 3 * dim, device=device, dtype=dtype)
    with plain():
        products = fused.channel_products(qkv.double(), dim // 32)
    yield f"channel_products {label}", fused.channel_products(qkv, dim // 32), products
    weight = torch.randn(4 * dim, dim, device=device).to(dtype)
    shift = torch.randn(4 * dim, device=device).to(dtype)
    weight *= dim**-0.5
    with gelu_inside():
        product = fused.linear_gelu(x, weight, shift)
    yield f"linear_gelu {label}", product, F.gelu(F.linear(x.double(), weight.double(), shift.double()))


def _lineage(device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the attention of beams over their lineage, by the kernel and by plain torch in float64."""
    slots, beams, heads, room, size = 5, 3, 16, 150, 64
    places = torch.randint(0, room, (slots,), device=device).repeat_interleave(beams)
    keys, values = torch.randn(2, slots * beams, heads, room, size, device=device).to(dtype)
    writers = torch.randint(0, beams, (slots, beams, room), device=device, dtype=torch.int32)
    qkv = torch.randn(slots * beams, 3 * heads * size, device=device).to(dtype)
    result = fused.attend_lineage(qkv, keys.clone(), values.clone(), writers, places)
    with plain():
        return result, fused.attend_lineage(qkv.double(), keys.double(), values.double(), writers, places)


def _float8_product(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns a linear map in float8, and in float64 the same map of the same rounded numbers."""
    like = Linear(256, 512, device=device, dtype=torch.bfloat16)
    x = torch.randn(64, 256, device=device, dtype=torch.bfloat16)
    layer = Float8Linear(like)
    rounded, by_row = fused.to_float8(x)
    expected = (rounded.double() * by_row) @ (layer.weight.double().T * layer.scale) + like.bias.double()
    return layer(x), expected


def tokens_are_right(device: torch.device, rehearsal: bool) -> dict[str, Any]:
    """Compares the tokens of an engine on the device with those of single queries on a CPU, and of transformers there.

    In float32, over a tiny network whose answers have different lengths, under both rules for the end of a beam search.
    The engine has fewer slots than queries, and receives queries at random times.
    """
    decoding = Decoding(max_new_tokens=24)
    model = _with_endings(random_model(TINY, seed=3))
    queries = drawn(24, TINY.image_size, TINY.text.vocab, seed=1, length=7)
    preprocess = Preprocess(TINY.image_size, TINY.image_size)
    rules = {"ends early": decoding, "ends late": replace(decoding, early_stopping=False)}
    expected, differ, lengths = {}, {}, {}
    for name, rule in rules.items():
        expected[name] = [_alone(model, preprocess, rule, queries, query) for query in range(len(queries))]
        lengths[name] = len({len(tokens) for tokens in expected[name]})
        peer = ask(Peer("transformers", model, preprocess, rule, queries, 1), range(len(queries)))
        differ[f"{name}, transformers"] = differing(peer, expected[name])
    moved = accelerated(model, device, torch.float32)
    for name, rule in rules.items():
        for slots in (1, 3, 8):
            answers = _at_random_times(moved, preprocess, rule, queries, slots)
            differ[f"{name}, {slots} slots"] = differing(answers, expected[name])
    most = 0 if rehearsal else 1  # a GPU sums in another order, which may tip a near tie of one answer in 24
    right = max(differ.values()) <= most and min(lengths.values()) > 3
    return {"correct": right, "answers that differ": differ, "of": len(queries), "different lengths": lengths}


def differing(answers: Sequence[Tokens], expected: Sequence[Tokens]) -> int:
    """Returns the number of answers that are not equal token for token."""
    return sum(list(tokens) != list(others) for tokens, others in zip(answers, expected, strict=True))


def _with_endings(model: Florence2) -> Florence2:
    """Spreads the scores of the vocabulary, and raises that of the end token, so that answers end by themselves."""
    torch.manual_seed(8)
    for name, weight in model.named_parameters():
        if "embedding" in name or "positions" in name:
            weight.normal_(std=0.6)
        elif weight.ndim > 1:
            weight.normal_(std=1.4 * weight[0].numel() ** -0.5)
    end = model.embedding.weight[2]
    model.decoder.layers[-1].mlp_norm.bias += 7.0 * end / end.square().sum()
    return model


def _alone(model: Florence2, preprocess: Preprocess, decoding: Decoding, queries: Queries, query: int) -> list[int]:
    """Returns the ids of one query's answer, by the plain search."""
    image = model.encode_image(preprocess.normalise(queries.pixels[query][None]))
    return generate(model, model.encode(image, torch.tensor([queries.prompts[query]])), decoding)[0].tokens


def _at_random_times(
    model: Florence2, preprocess: Preprocess, decoding: Decoding, queries: Queries, slots: int
) -> list[list[int]]:
    """Returns the ids of all answers of an engine that receives up to two queries before each step."""
    engine: Engine[int] = Engine(model, preprocess, decoding, slots=slots, static=True)
    generator = torch.Generator().manual_seed(slots)
    answers: dict[int, list[int]] = {}
    submitted = 0
    while submitted < len(queries) or engine.busy:
        for _ in range(int(torch.randint(0, 3, (), generator=generator))):
            if submitted < len(queries):
                engine.submit(submitted, ImageInput(queries.pixels[submitted]), queries.prompts[submitted])
                submitted += 1
        engine.step()
        answers |= {done.ticket: done.generated.tokens for done in engine.poll()}
    return [answers[query] for query in range(len(queries))]
