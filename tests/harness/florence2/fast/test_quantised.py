"""Linear maps in fewer bits versus the same rounded factors, multiplied in float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from harness.florence2.fast import quantised
from harness.florence2.fast.linear import Linear
from harness.florence2.fast.quantised import SHORTLIST, Float8Linear, HalfLinear, Int8Linear, ShortlistHead
from tests.rounding import EPS, assert_within, gelu_bound, product_bound

FBGEMM = "fbgemm" in torch.backends.quantized.supported_engines


@pytest.fixture(params=[63, None], ids=["seven bits", "this CPU's"])
def largest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The largest rounded weight: that of a CPU without VNNI, and that of this CPU."""
    if request.param is not None:
        monkeypatch.setattr(quantised, "largest_weight", lambda: request.param)
    return quantised.largest_weight()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
def test_int8_map_is_the_product_of_rounded_factors(bias: bool, gelu: bool, largest: int) -> None:
    torch.manual_seed(0)
    like, x = Linear(40, 24, bias=bias), torch.randn(2, 5, 40) * torch.logspace(-3, 3, 5)[:, None]
    with torch.no_grad():
        mapped = Int8Linear(like)(x, gelu=gelu)
        # Weights are rounded by the largest of their output, inputs from the least to the largest of their row.
        by_output = like.weight.double().abs().amax(1) / largest
        weight = (like.weight / by_output[:, None]).round() * by_output[:, None]
        least, most = x.double().amin(-1, keepdim=True), x.double().amax(-1, keepdim=True)
        step = (most - least) / 255
        levels = (x - least) / step
        product = (levels.round() * step + least) @ weight.T
        # In float32, levels up to 255 are off by a few eps of 255: near a tie they may be rounded the other way.
        near_tie = (levels - levels.floor() - 0.5).abs() < 4 * 255 * EPS
        bound = (near_tie * step) @ weight.abs().T + product_bound(levels.round() * step + least.abs(), weight)
        if bias:
            product = product + like.bias
            bound = bound + 2 * EPS * like.bias.abs()
        exact = F.gelu(product) if gelu else product
        assert_within(
            mapped, exact, 1.13 * bound + gelu_bound(product) if gelu else bound
        )  # GELU's slope is below 1.13
        unrounded = like(x, gelu=gelu)
    # A weight is off by at most half of 1/127 (or 1/63) of the largest, an input by half of 1/255 of its row's range.
    assert (mapped - unrounded).norm() / unrounded.norm() < 0.02 * 127 / largest
    assert not torch.equal(mapped, unrounded)


@pytest.mark.skipif(not FBGEMM, reason="this torch has no FBGEMM")
@pytest.mark.parametrize("gelu", [True, False])
def test_half_linear_map_is_the_product_with_float16_weights(gelu: bool) -> None:
    torch.manual_seed(0)
    like, x = Linear(40, 24), torch.randn(2, 5, 40) * torch.logspace(-3, 3, 5)[:, None]
    with torch.no_grad():
        mapped = HalfLinear(like)(x, gelu=gelu)
        product = F.linear(x.double(), like.weight.half().double(), like.bias.double())
    bound = product_bound(x, like.weight.half(), like.bias)
    if gelu:  # its slope is below 1.13
        assert_within(mapped, F.gelu(product), 1.13 * bound + gelu_bound(product))
    else:
        assert_within(mapped, product, bound)


@pytest.mark.parametrize("words", [300, SHORTLIST, 5, 1])
@pytest.mark.parametrize("shape", [(4, 40), (2, 3, 40), (1, 40), (0, 40)])
def test_shortlist_has_float32_scores_and_other_words_have_int8_scores(words: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    like, x = Linear(40, words, bias=False), torch.randn(shape)
    with torch.inference_mode():
        scores, rounded = ShortlistHead(like)(x), Int8Linear(like)(x)
        exact, bound = x.double() @ like.weight.double().T, product_bound(x, like.weight)
    assert scores.shape == (*shape[:-1], words) and scores.dtype == torch.float32
    is_best = torch.zeros(scores.shape, dtype=torch.bool)
    is_best.scatter_(-1, rounded.argsort(-1, descending=True)[..., :SHORTLIST], value=True)
    assert torch.equal(scores[~is_best], rounded[~is_best])
    assert_within(scores[is_best], exact[is_best], bound[is_best])
    # Random scores of 300 words are some 1 % of their spread apart at the top, and int8 is off by about as much.
    assert torch.equal(scores.argmax(-1), exact.argmax(-1))


def test_shortlist_separates_words_whose_int8_weights_are_equal() -> None:
    """Neighbouring location bins: a step of int8 is 1/127 of the largest weight, and their weights differ by less."""
    torch.manual_seed(0)
    like, x = Linear(32, 40, bias=False), torch.rand(3, 32)
    with torch.inference_mode():
        like.weight.copy_(like.weight[0].abs() * (1 + 1e-4 * torch.arange(40.0)[:, None]))
        assert ShortlistHead(like)(x).argmax(-1).tolist() == [39, 39, 39]


def test_shortlist_of_a_row_does_not_depend_on_the_rest_of_the_batch_or_on_strides() -> None:
    torch.manual_seed(1)
    like, x = Linear(32, 200, bias=False), torch.randn(32, 6)
    head = ShortlistHead(like)
    with torch.inference_mode():
        together = head(x.T * torch.tensor([1.0, 50, 0, 1, 1e4, 1])[:, None])
        one = head(x.T[:1])
        # A product of a single row may sum in another order.
        assert_within(one, together[:1].double(), 2 * product_bound(x.T[:1], like.weight))
    assert head.weight.data_ptr() == like.weight.data_ptr()  # no copy


def test_shortlist_of_a_row_that_is_not_a_number_leaves_no_log_probability() -> None:
    """The engine finds broken weights by them; the other row keeps its scores."""
    torch.manual_seed(1)
    head, x = ShortlistHead(Linear(32, 200, bias=False)), torch.randn(2, 32)
    x[1, 3] = torch.nan
    with torch.inference_mode():
        log_probs = head(x).log_softmax(-1)
    assert log_probs[0].isfinite().all() and log_probs[1].isnan().all()


def test_int8_row_does_not_depend_on_the_rest_of_the_batch() -> None:
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
        exact = 2.5 * mapped.sums.double() + like.bias.double()
        assert_within(together[3], exact, 4 * EPS * (2.5 * mapped.sums.abs() + like.bias.abs()))


def test_int8_sums_of_the_largest_products_do_not_saturate(largest: int) -> None:
    like = Linear(64, 8, bias=False)
    with torch.no_grad():
        like.weight.fill_(1.0)
        x = torch.ones(3, 64)
        x[:, -1] = 0.0  # so that 1 is rounded to level 255
        mapped = Int8Linear(like)(x)
    torch.testing.assert_close(mapped, torch.full((3, 8), 63.0))  # saturated at 16 bits, it would be about half


@pytest.mark.parametrize("bias", [True, False])
def test_float8_map_is_the_product_of_rounded_factors(bias: bool) -> None:
    torch.manual_seed(4)
    like = Linear(48, 32, bias=bias).bfloat16()
    x = (torch.randn(2, 5, 48) * torch.logspace(-3, 3, 5)[:, None]).bfloat16()
    with torch.inference_mode():
        mapped = Float8Linear(like)(x)
        # The largest of an output or of a row is scaled to 448.
        weight, rows = like.weight.double(), x.double()
        by_output, by_row = weight.abs().amax(1) / 448, rows.abs().amax(-1, keepdim=True) / 448
        factors, row_slack = e4m3(rows / by_row)
        weights, weight_slack = e4m3(weight / by_output[:, None])
        scale = by_row * by_output
        exact = (factors @ weights.T) * scale
        bound = (row_slack @ weights.abs().T + factors.abs() @ weight_slack.T) * scale
        bound = bound + product_bound(factors, weights) * scale
        if like.bias is not None:
            exact = exact + like.bias.double()
        unrounded = like(x)
    assert mapped.dtype == torch.bfloat16
    # Rounding to bfloat16's 8 bits is off by 2 ** -8 of the number; a kernel may round before it adds the bias, too.
    size = 2 * exact.abs() + (0 if like.bias is None else like.bias.double().abs())
    assert_within(mapped, exact, bound + 2.0**-8 * size)
    assert (mapped - unrounded).norm() / unrounded.norm() < 0.05


def e4m3(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x rounded to e4m3, and by how much it may differ: a step if x is near a tie, else 0.

    A step is an eighth of the power of two below x, and at least 2 ** -9.
    """
    step = 2.0 ** (x.abs().clamp_min(2.0**-6).log2().floor() - 3)
    scaled = x / step
    near_tie = (scaled - scaled.floor() - 0.5).abs() < 64 * EPS  # scaled numbers are below 16, and in float32
    return scaled.round() * step, near_tie * step


def test_copy_of_a_shortlist_has_equal_scores() -> None:
    torch.manual_seed(0)
    head, x = ShortlistHead(Linear(32, 200, bias=False)), torch.randn(2, 32)
    with torch.inference_mode():
        assert torch.equal(copy.deepcopy(head)(x), head(x))
