"""Linear maps of every library versus float64, the choice of library, and padded row counts."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.florence2.fast import linear as module
from harness.florence2.fast.linear import HEAVY, LARGE, LIGHT, SMALL, TINY, linear, pad_rows, padded_count
from tests.rounding import assert_within, gelu_bound, product_bound

needs_onednn = pytest.mark.skipif(
    not module._has_onednn(torch.float32), reason="this torch has no linear map by oneDNN"
)


def test_padded_counts_are_few_and_at_most_a_quarter_or_a_sixteenth_larger() -> None:
    """A quarter for a small product, and a sixteenth for a larger one; a large product has its own count."""
    heavy = LIGHT
    small = range(1, SMALL // heavy)
    assert all(count <= padded_count(count, heavy) < 1.25 * count for count in small)
    # 8 counts up to 8, then 4 in each doubling: 8 * 2 ** 6 is 512.
    assert len({padded_count(count, heavy) for count in small}) == 8 + 4 * 6
    assert [padded_count(count, heavy) for count in (8, 9, 10, 11, 17, 33, 96, 97)] == [8, 10, 10, 12, 20, 40, 96, 112]
    more = range(SMALL // heavy, LARGE // heavy)
    assert all(count <= padded_count(count, heavy) < 1.0625 * count for count in more)
    assert (
        len({padded_count(count, heavy) for count in more}) == 1 + 16 * 3
    )  # 512, then 16 counts in each of 3 doublings
    assert padded_count(LARGE // heavy + 1, heavy) == LARGE // heavy + 1
    # With few weights: multiples of 32, and 2 counts in each doubling.
    light = [padded_count(count, LIGHT - 1) for count in range(1, 1025)]
    assert sorted(set(light)) == [32, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
    assert all(count <= padded < max(1.5 * count, count + 32) for count, padded in enumerate(light, 1))
    assert (
        padded_count(2 * SMALL // (LIGHT // 2) + 1, LIGHT // 2) == 2048 + 128
    )  # no small product any more: a sixteenth
    # The rows of a map, even with few weights: 13, 11, 12 and 10 rows of 192 tokens.
    assert [padded_count(count, 1024) for count in (2496, 2112, 2304, 1920)] == [2560, 2176, 2304, 2048]


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("by_mkl", [False, True])
@pytest.mark.parametrize("tiny", [0, TINY])
def test_linear_map_by_any_library_is_within_rounding_of_float64(
    tiny: int, by_mkl: bool, bias: bool, gelu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of many shapes, also transposed ones, whose rows are not contiguous."""
    monkeypatch.setattr(module, "mkl_is_quick", lambda: by_mkl)
    monkeypatch.setattr(module, "TINY", tiny)
    monkeypatch.setattr(module, "has_avx512", lambda: True)  # otherwise MKL multiplies all maps with so few weights
    generator = torch.Generator().manual_seed(0)
    weight, shift = torch.randn(24, 16, generator=generator), torch.randn(24, generator=generator) if bias else None
    for shape in ((1, 16), (3, 3, 16), (11, 16), (5, 13, 16), (300, 16), (0, 16)):
        x = torch.randn(shape, generator=generator)
        with torch.inference_mode():
            mapped = linear(x, weight, shift, gelu=gelu)
            transposed = linear(x.transpose(0, -2), weight, shift, gelu=gelu)
        exact = x.double() @ weight.double().T + (shift.double() if shift is not None else 0)
        bound = product_bound(x, weight, shift)
        if gelu:
            bound = 1.13 * bound + gelu_bound(exact)  # the largest slope of GELU is 1.13
            exact = F.gelu(exact)
        assert_within(mapped, exact, bound)
        assert_within(transposed, exact.transpose(0, -2), bound.transpose(0, -2))


def test_choice_of_library_follows_the_rules_of_each_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_has_onednn", lambda dtype: True)
    monkeypatch.setattr(module, "has_avx512", lambda: True)
    few, many = torch.ones(255, 4), torch.ones(16, 16, 4)
    monkeypatch.setattr(module, "mkl_is_quick", lambda: True)
    # An Intel CPU with AVX-512: oneDNN for many rows with a GELU, for few rows with heavy weights, and in bfloat16.
    chosen = [module._by_onednn(x, LIGHT, gelu) for x in (few, many) for gelu in (False, True)]
    assert chosen == [False, False, False, True]
    assert [module._by_onednn(few[:rows], HEAVY, False) for rows in (0, 1, 3, 4, 255)] == 3 * [False] + 2 * [True]
    assert not module._by_onednn(few[:4], HEAVY - 1, True)
    assert not module._by_onednn(many, HEAVY, False)
    assert module._by_onednn(few.bfloat16(), LIGHT, False)
    # Another CPU with AVX-512: oneDNN for all these.
    monkeypatch.setattr(module, "mkl_is_quick", lambda: False)
    assert module._by_onednn(few, LIGHT, False)
    assert module._by_onednn(many, LIGHT, False)
    # Another CPU without AVX-512: oneDNN for few rows with many weights, and in bfloat16.
    monkeypatch.setattr(module, "has_avx512", lambda: False)
    sizes = [(few, LIGHT), (few, LIGHT - 1), (many, LIGHT), (many, LIGHT - 1)]
    assert [module._by_onednn(*size, gelu) for size in sizes for gelu in (False, True)] == [True, True] + 6 * [False]
    assert module._by_onednn(many.bfloat16(), LIGHT, True)
    # An Intel CPU without AVX-512: MKL for all.
    monkeypatch.setattr(module, "mkl_is_quick", lambda: True)
    assert not module._by_onednn(few, HEAVY, True)
    assert not any(module._by_onednn(*size, gelu) for size in sizes for gelu in (False, True))


def test_tiny_product_is_mkls_unless_it_has_many_weights_or_another_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_has_onednn", lambda dtype: True)
    monkeypatch.setattr(module, "mkl_is_quick", lambda: False)
    monkeypatch.setattr(module, "has_avx512", lambda: True)
    weight = LIGHT // 2
    rows = torch.ones(TINY // weight, 4)
    assert not module._by_onednn(rows[1:], weight, gelu=True)
    assert module._by_onednn(rows, weight, gelu=True)
    assert module._by_onednn(rows[:1], LIGHT, gelu=False)
    assert module._by_onednn(rows[1:].bfloat16(), weight, gelu=False)


def test_rows_of_a_large_product_are_not_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.ones(9, 4)
    assert pad_rows(rows, 100).tolist() == [[1.0] * 4] * 9 + [[0.0] * 4] * 23
    monkeypatch.setattr(module, "LARGE", 900)
    assert pad_rows(rows, 100) is rows
    assert len(pad_rows(rows, 99)) == 32


@pytest.fixture
def packings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each call of `Linear.packed`."""
    calls: list[int] = []
    packed = module.Linear.packed

    def counted(self: module.Linear) -> Tensor:
        calls.append(1)
        return packed(self)

    monkeypatch.setattr(module.Linear, "packed", counted)
    monkeypatch.setattr(module, "has_avx512", lambda: True)
    return calls


def assert_exact(layer: module.Linear, x: Tensor, *, gelu: bool = False) -> None:
    """The map of x is within rounding of float64's."""
    mapped = layer(x, gelu=gelu)
    exact = F.linear(x.double(), layer.weight.double(), layer.bias.double())
    bound = product_bound(x, layer.weight, layer.bias)
    if gelu:  # its slope is below 1.13
        exact, bound = F.gelu(exact), 1.13 * bound + gelu_bound(exact)
    assert_within(mapped, exact, bound)


@needs_onednn
@pytest.mark.parametrize("by_mkl", [False, True])
@pytest.mark.parametrize("gelu", [False, True])
def test_packed_weights_of_every_row_count_are_within_rounding_of_float64(
    by_mkl: bool, gelu: bool, packings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row, one row, few rows and many; in rows of a larger tensor, and transposed.

    On an Intel CPU, MKL multiplies up to three rows, and a product of many rows is not worth a second copy.
    """
    monkeypatch.setattr(module, "mkl_is_quick", lambda: by_mkl)
    torch.manual_seed(0)
    layer = module.Linear(514, 1025)  # heavy, and of odd sizes
    counts = (0, 1, 2, 3, 4, 12, 101, 255, 256, 300)
    with torch.no_grad():
        for count in counts:
            assert_exact(layer, torch.randn(count, 514), gelu=gelu)
        packed = [4, 12, 101, 255] if by_mkl else counts[1:]
        assert len(packings) == len(packed)
        assert_exact(layer, torch.randn(5, 3, 600)[..., 20:534], gelu=gelu)
        assert_exact(layer, torch.randn(514, 7).T, gelu=gelu)
        assert len(packings) == len(packed) + 2


@needs_onednn
def test_packed_weights_follow_the_weight_and_stay_out_of_the_state(
    packings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not used with gradients."""
    monkeypatch.setattr(module, "mkl_is_quick", lambda: False)
    torch.manual_seed(0)
    layer, x = module.Linear(512, 512), torch.randn(3, 512)
    assert layer(x).requires_grad
    assert not packings
    with torch.no_grad():
        assert_exact(layer, x)
        before = copy.deepcopy(layer)
        layer.weight.mul_(2)
        # A factor of 2 is exact in the products; sums with the bias are below 4, and rounded by at most 2 eps.
        torch.testing.assert_close(before(x) - before.bias, (layer(x) - layer.bias) / 2, rtol=0, atol=1e-6)
    assert len(packings) == 3
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_packed_weights_after_any_change_are_those_of_the_current_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training step without a new version, another precision and back, other weights at the same address."""
    monkeypatch.setattr(module, "mkl_is_quick", lambda: False)
    torch.manual_seed(0)
    layer, x = module.Linear(512, 512), torch.randn(3, 512)

    def checked() -> None:
        with torch.inference_mode():
            exact = F.linear(x.double(), layer.weight.double(), layer.bias.double())
            assert_within(layer(x), exact, product_bound(x, layer.weight, layer.bias))

    checked()
    layer(x)  # with gradients, as in training
    layer.weight.data.mul_(2)
    checked()
    layer.half().float()
    checked()
    for _ in range(3):
        layer.load_state_dict({"weight": torch.randn(512, 512), "bias": torch.randn(512)}, assign=True)
        checked()


@pytest.mark.parametrize("gelu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_bfloat16_products_on_a_cpu_have_sums_of_higher_precision(gelu: bool, bias: bool) -> None:
    """Only results of passes are rounded to eight bits; a kernel may have a pass for the bias and one for the GELU."""
    torch.manual_seed(5)
    layer, x = module.Linear(96, 40, bias=bias).bfloat16(), torch.randn(2, 7, 96).bfloat16()
    with torch.inference_mode():
        mapped = layer(x, gelu=gelu)
        without_bias = F.linear(x.double(), layer.weight.double())
        product = without_bias + (layer.bias.double() if bias else 0)
        exact = F.gelu(product) if gelu else product
    assert mapped.dtype == torch.bfloat16 and mapped.shape == (2, 7, 40)
    # Rounding to eight bits is off by at most 2 ** -8 of the number.  A kernel may round before it adds the bias, too.
    bound = product_bound(x, layer.weight, layer.bias).detach() + 2.0**-8 * (without_bias.abs() + product.abs())
    if gelu:  # its largest slope is 1.13
        bound = 1.13 * bound + 2.0**-8 * exact.abs() + gelu_bound(product)
    assert_within(mapped, exact, bound)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_vocabulary_scores_with_half_precision_weights_are_float32_products(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    head = module.Head(48, 50, bias=False).to(dtype)
    x = torch.randn(3, 2, 48).to(dtype)
    with torch.inference_mode():
        scores = head(x)
        assert scores.dtype == torch.float32
        assert_within(scores, x.double() @ head.weight.double().T, product_bound(x, head.weight))
        head.weight.data = head.weight.data * 2  # the float32 copy of the former weight must not be used
        torch.testing.assert_close(head(x), 2 * scores, rtol=0, atol=0)


def test_vocabulary_scores_of_inference_tensors_are_float32_products() -> None:
    torch.manual_seed(3)
    with torch.inference_mode():
        head = module.Head(32, 50, bias=False).to(torch.bfloat16)
        x = torch.randn(2, 32).bfloat16()
        assert_within(head(x), x.double() @ head.weight.double().T, product_bound(x, head.weight))
