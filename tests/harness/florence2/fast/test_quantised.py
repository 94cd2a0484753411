"""Eight-bit linear maps against the same arithmetic in whole numbers, what surrounds them, and half precision."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

import baselines
import tasks
from baselines.florence2 import load_parts
from benchmarks import agreement
from harness import runner
from harness.errors import ResourceError
from harness.evaluation.plan import load
from harness.florence2.davit import ChannelAttention
from harness.florence2.fast import quantised
from harness.florence2.fast.linear import Head, Linear
from harness.florence2.fast.quantised import FLOAT8, Float8Linear, HalfLinear, Int8Linear, in_precision
from tasks.miniature import ensure
from tests.twins import TINY, twins

FBGEMM = "fbgemm" in torch.backends.quantized.supported_engines


@pytest.fixture(params=[63, None], ids=["seven bits", "as this CPU can"])
def most(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    if request.param is not None:
        monkeypatch.setattr(quantised, "largest_weight", lambda: request.param)
    return quantised.largest_weight()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
def test_it_is_the_product_of_rounded_factors(bias: bool, gelu: bool, most: int) -> None:
    torch.manual_seed(0)
    like, x = Linear(40, 24, bias=bias), torch.randn(2, 5, 40) * torch.logspace(-3, 3, 5)[:, None]
    with torch.no_grad():
        found = Int8Linear(like)(x, gelu=gelu)
        # Whole numbers: weights by the largest of their output, inputs from the least to the largest of their row.
        by_output = like.weight.abs().amax(1) / most
        weight = (like.weight / by_output[:, None]).round().double() * by_output.double()[:, None]
        least, largest = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
        by_row = (largest - least) / 255
        expected = (((x - least) / by_row).round().double() * by_row + least) @ weight.T
        if bias:
            expected = expected + like.bias
        expected = F.gelu(expected) if gelu else expected
        torch.testing.assert_close(found.double(), expected, rtol=2e-3, atol=1e-4)  # a tie may round either way
        exact = like(x, gelu=gelu)
    assert (found - exact).norm() / exact.norm() < 0.02 * 127 / most
    assert not torch.equal(found, exact)


@pytest.mark.skipif(not FBGEMM, reason="this torch has no FBGEMM")
@pytest.mark.parametrize("gelu", [True, False])
def test_what_writes_is_the_product_of_weights_in_half_precision(gelu: bool) -> None:
    torch.manual_seed(0)
    like, x = Linear(40, 24), torch.randn(2, 5, 40) * torch.logspace(-3, 3, 5)[:, None]
    with torch.no_grad():
        found = HalfLinear(like)(x, gelu=gelu)
        expected = F.linear(x.double(), like.weight.half().double(), like.bias.double())
    torch.testing.assert_close(found.double(), F.gelu(expected) if gelu else expected, rtol=1e-4, atol=1e-5)


def test_what_else_is_in_the_batch_changes_nothing() -> None:
    torch.manual_seed(1)
    like = Linear(32, 16)
    mapped = Int8Linear(like)
    x = torch.randn(6, 32)
    x[3] = 2.5
    with torch.inference_mode():
        together = mapped(x * torch.tensor([1.0, 50, 0, 1, 1e4, 1])[:, None])
        torch.testing.assert_close(mapped(x[:1]), together[:1], rtol=0, atol=0)
        torch.testing.assert_close(together[2], like.bias, rtol=0, atol=0)  # a row of zeros
        # A row of one value is that value times the sums of the rounded weights.
        torch.testing.assert_close(together[3], 2.5 * mapped.sums + like.bias)


def test_the_largest_products_are_summed_whole(most: int) -> None:
    like = Linear(64, 8, bias=False)
    with torch.no_grad():
        like.weight.fill_(1.0)
        x = torch.ones(3, 64)
        x[:, -1] = 0.0  # so that a one is 255
        found = Int8Linear(like)(x)
    torch.testing.assert_close(found, torch.full((3, 8), 63.0))  # in sixteen bits: about half of it


@pytest.mark.parametrize("fbgemm", [True, False])
def test_every_linear_map_of_a_model_outside_channel_attention(fbgemm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fbgemm:
        monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["onednn"])
    elif not FBGEMM:
        pytest.skip("this torch has no FBGEMM")
    model = twins().ours
    exact = copy.deepcopy(model)
    in_precision(model, torch.device("cpu"), torch.int8)
    left = [name for name, module in model.named_modules() if isinstance(module, Linear)]
    channels = [name for name, module in model.named_modules() if isinstance(module, ChannelAttention)]
    assert left == [f"{name}.{part}" for name in channels for part in ("qkv", "proj")]
    writing = HalfLinear if fbgemm else Int8Linear
    assert isinstance(model.lm_head, writing)
    assert isinstance(model.decoder.layers[0].mlp.up, writing)
    assert isinstance(model.decoder.memory, Int8Linear)
    torch.manual_seed(2)
    given = torch.randn(2, 3, 96, 96), torch.randint(4, 90, (2, 5)), None, torch.randint(4, 90, (2, 6))
    with torch.inference_mode():
        one, other = model(*given), exact(*given)
    assert (one - other).norm() / other.norm() < 0.15  # random weights at full spread, two layers each


def test_a_torch_without_the_kernel_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "onednn", object())
    with pytest.raises(ResourceError, match="--dtype float32"):
        in_precision(twins().ours, torch.device("cpu"), torch.int8)


@pytest.mark.parametrize("bias", [True, False])
def test_float8_is_the_product_of_rounded_factors(bias: bool) -> None:
    torch.manual_seed(4)
    like = Linear(48, 32, bias=bias).bfloat16()
    x = (torch.randn(2, 5, 48) * torch.logspace(-3, 3, 5)[:, None]).bfloat16()
    with torch.inference_mode():
        found = Float8Linear(like)(x)
        # e4m3: the largest of an output or of a row becomes 448; a significand has three bits behind its first.
        weight, rows = like.weight.double(), x.double()
        by_output, by_row = weight.abs().amax(1) / 448, rows.abs().amax(-1, keepdim=True) / 448
        expected = (three_bits(rows / by_row) @ three_bits(weight / by_output[:, None]).T) * by_row * by_output
        if like.bias is not None:
            expected = expected + like.bias.double()
        exact = like(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=0.02, atol=0.01 * expected.abs().max().item() / 1000)
    assert (found - exact).norm() / exact.norm() < 0.05


def three_bits(x: torch.Tensor) -> torch.Tensor:
    """Rounded to a multiple of an eighth of the power of two below it, or of 2 ** -9 where it is small."""
    step = 2.0 ** (x.abs().clamp_min(2.0**-6).log2().floor() - 3)
    return (x / step).round() * step


def test_float8_leaves_the_vocabulary_and_odd_sizes_and_runs_as_a_whole() -> None:
    model = twins().ours
    exact = copy.deepcopy(model)
    in_precision(model, torch.device("cpu"), FLOAT8)
    left = [module for module in model.modules() if isinstance(module, Linear)]
    assert model.lm_head in left
    assert any(isinstance(module, Float8Linear) for module in model.modules())
    torch.manual_seed(2)
    pixels, rest = torch.randn(2, 3, 96, 96), (torch.randint(4, 90, (2, 5)), None, torch.randint(4, 90, (2, 6)))
    with torch.inference_mode():
        one, other = model(pixels.bfloat16(), *rest), exact(pixels, *rest)
    assert (one - other).norm() / other.norm() < 0.3


def test_bfloat16_is_the_towers_and_texts_are_in_more() -> None:
    model = in_precision(twins().ours, torch.device("cpu"), torch.bfloat16)
    parts = dict(model.named_children())
    found = {name: {weight.dtype for weight in part.parameters()} for name, part in parts.items()}
    assert found.pop("vision") == found.pop("fusion") == {torch.bfloat16}
    if FBGEMM:
        assert isinstance(model.lm_head, HalfLinear) and not found.pop("lm_head")
    assert all(kinds == {torch.float32} for kinds in found.values()) and len(found) == 4 - FBGEMM


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_agrees_on_the_embedded_benchmarks_tasks(dtype: torch.dtype) -> None:
    """Of the likeliest next tokens, both given float32's answers to questions of seven tasks, 99 in 100 are alike."""
    folder, root = baselines.find("florence2-nano-ft").checkpoint(None), ensure()
    exact, less = load_parts(folder), load_parts(folder)
    in_precision(less.model, torch.device("cpu"), dtype)
    with torch.inference_mode():
        batches = []
        for name in agreement.TASKS:
            [task] = tasks.select(name)
            batches.append(agreement.asked(exact, runner.choose(load(task, root, task.splits[0]), 20, 0)[:20], root))
        expected = [agreement.likeliest(exact, batch, torch.float32) for batch in batches]
        found = agreement.compared(less, batches, expected)
    assert found["places"] > 2000 and found["all"] >= 99 and found["words"] >= 99.5


@pytest.mark.slow
def test_scores_in_half_precision_are_within_the_interval_of_float32s(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    """Headlines of captions, boxes, outlines and answers about twenty images of the embedded benchmark."""
    run = ("run", "--task", "coco_caption,refcoco,refcoco_res,vqav2", "--limit", "20", "--no-meteor", "--json")
    headlines = {}
    for dtype in ("float32", "bfloat16", "float16"):
        status, out, _ = call(*run, "--model", "florence2-nano-ft", "--dtype", dtype)
        assert status == 0
        headlines[dtype] = {one["spec"]["task"]: one["metrics"][one["headline"]] for one in json.loads(out)}
    for task, exact in headlines["float32"].items():
        for dtype in ("bfloat16", "float16"):
            assert exact["low"] <= headlines[dtype][task]["value"] <= exact["high"]


def test_a_device_without_float8_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("torch._scaled_mm is only supported on devices with compute capability >= 8.9\nmore")

    monkeypatch.setattr(torch, "_scaled_mm", refuse)
    with pytest.raises(ResourceError, match=r"cpu does not multiply float8 \(.* >= 8.9\); try --dtype bfloat16"):
        in_precision(twins().ours, torch.device("cpu"), FLOAT8)


@pytest.mark.parametrize("gelu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_bfloat16_products_on_a_cpu_are_sums_of_more(gelu: bool, bias: bool) -> None:
    """Rounded once, at the end: half a unit in the last of eight bits, whatever kernel there is."""
    torch.manual_seed(5)
    layer, x = Linear(96, 40, bias=bias).bfloat16(), torch.randn(2, 7, 96).bfloat16()
    with torch.inference_mode():
        found = layer(x, gelu=gelu)
        expected = F.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
        expected = F.gelu(expected) if gelu else expected
    assert found.dtype == torch.bfloat16 and found.shape == (2, 7, 40)
    torch.testing.assert_close(found.double(), expected, rtol=2.0**-7 if gelu else 2.0**-8, atol=4e-3 if gelu else 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scores_are_float32_products_of_half_precision_weights(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    head = Head(TINY.text.width, 50).to(dtype)
    x = torch.randn(3, 2, TINY.text.width).to(dtype)
    with torch.inference_mode():
        found = head(x)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), x.double() @ head.weight.double().T, rtol=1e-5, atol=1e-5)
        head.weight.data = head.weight.data * 2  # another weight is not answered from the last one's copy
        torch.testing.assert_close(head(x), 2 * found)


def test_scores_of_weights_that_were_halved_in_inference_mode() -> None:
    with torch.inference_mode():
        head = Head(32, 50).to(torch.bfloat16)
        x = torch.randn(2, 32).bfloat16()
        torch.testing.assert_close(head(x).double(), x.double() @ head.weight.double().T, rtol=1e-5, atol=1e-5)
