"""Products by oneDNN, whose rows are filled up where it would make a kernel for every number of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.florence2.fast import linear as rooms
from harness.florence2.fast.fused import PIECE, gelu_
from harness.florence2.fast.linear import LARGE, LIGHT, SMALL, TINY, evened, filled, linear


def test_few_numbers_of_rows_are_left_and_none_is_much_more() -> None:
    """Of a small product less than a quarter more, of one that is not large less than a sixteenth."""
    heavy = LIGHT
    small = range(1, SMALL // heavy)
    assert all(count <= evened(count, heavy) < 1.25 * count for count in small)
    # Eight up to 8, then four in each doubling: 8 * 2 ** 6 is 512.
    assert len({evened(count, heavy) for count in small}) == 8 + 4 * 6
    assert [evened(count, heavy) for count in (8, 9, 10, 11, 17, 33, 96, 97)] == [8, 10, 10, 12, 20, 40, 96, 112]
    more = range(SMALL // heavy, LARGE // heavy)
    assert all(count <= evened(count, heavy) < 1.0625 * count for count in more)
    assert len({evened(count, heavy) for count in more}) == 1 + 16 * 3  # 512, then three doublings
    assert evened(LARGE // heavy + 1, heavy) == LARGE // heavy + 1
    # Of few weights a multiple of 32, then two in each doubling.
    light = [evened(count, LIGHT - 1) for count in range(1, 1025)]
    assert sorted(set(light)) == [32, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
    assert all(count <= found < max(1.5 * count, count + 32) for count, found in enumerate(light, 1))
    assert evened(2 * SMALL // (LIGHT // 2) + 1, LIGHT // 2) == 2048 + 128  # large enough for a sixteenth again
    # A map's rows, of however few weights: 13, 11, 12 and 10 rows of 192 tokens.
    assert [evened(count, 1024) for count in (2496, 2112, 2304, 1920)] == [2560, 2176, 2304, 2048]


class Shapes(TorchDispatchMode):
    """Those of contiguous tensors whose GELU is made, for each of which oneDNN has a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.gelu_.default and args[0].is_contiguous():
            self.found.add(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


def test_gelu_where_it_is_has_few_shapes() -> None:
    """Beside float64; of 300 numbers of rows, one shape for each whole piece there may be, and one for a single row."""
    draw = torch.Generator().manual_seed(0)
    assert PIECE // 512 == 128
    with torch.inference_mode(), Shapes() as shapes:
        for rows in range(1, 301):
            x = torch.randn(rows, 1, 512, generator=draw)
            expected = torch.nn.functional.gelu(x.double())
            assert gelu_(x) is x
            torch.testing.assert_close(x.double(), expected, rtol=0, atol=1e-6)
        for shape in ((0, 8), (2, 3, 7), (3, 70_001)):
            x = torch.randn(shape, generator=draw)
            torch.testing.assert_close(
                gelu_(x.clone()).double(), torch.nn.functional.gelu(x.double()), rtol=0, atol=1e-6
            )
    # 128 to 255 rows, 256 to 300; a row by itself; and what is larger than a piece, row by row.
    assert shapes.found == {(1, PIECE), (2, PIECE), (512, 1), (3, 70_001)}


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("by_mkl", [False, True])
@pytest.mark.parametrize("tiny", [0, TINY])
def test_whichever_library_it_is_a_linear_map(
    tiny: int, by_mkl: bool, bias: bool, gelu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are filled up for oneDNN are products as others are."""
    monkeypatch.setattr(rooms, "mkl_is_quick", lambda: by_mkl)
    monkeypatch.setattr(rooms, "TINY", tiny)
    monkeypatch.setattr(rooms, "has_avx512", lambda: True)  # or MKL makes all that are so light
    draw = torch.Generator().manual_seed(0)
    weight, shift = torch.randn(24, 16, generator=draw), torch.randn(24, generator=draw) if bias else None
    for shape in ((1, 16), (3, 3, 16), (11, 16), (5, 13, 16), (300, 16), (0, 16)):
        x = torch.randn(shape, generator=draw)
        with torch.inference_mode():
            found = linear(x, weight, shift, gelu=gelu)
            turned = linear(x.transpose(0, -2), weight, shift, gelu=gelu)  # not as it lies in memory
        expected = x.double() @ weight.double().T + (shift.double() if shift is not None else 0)
        expected = torch.nn.functional.gelu(expected) if gelu else expected
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(turned.double(), expected.transpose(0, -2), rtol=1e-5, atol=1e-5)


def test_mkl_makes_what_it_is_quick_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows, and those without a GELU; another maker's CPU and another precision leave all to oneDNN.  Without
    AVX-512, all of its maker's CPUs, and elsewhere what is not few rows of many weights."""
    monkeypatch.setattr(rooms, "_has_onednn", lambda dtype: True)
    monkeypatch.setattr(rooms, "has_avx512", lambda: True)
    few, many = torch.ones(255, 4), torch.ones(16, 16, 4)
    monkeypatch.setattr(rooms, "mkl_is_quick", lambda: True)
    found = [rooms._by_onednn(x, LIGHT, gelu) for x in (few, many) for gelu in (False, True)]
    assert found == [False, False, False, True]
    assert rooms._by_onednn(few.bfloat16(), LIGHT, False)
    monkeypatch.setattr(rooms, "mkl_is_quick", lambda: False)
    assert rooms._by_onednn(few, LIGHT, False)
    assert rooms._by_onednn(many, LIGHT, False)
    monkeypatch.setattr(rooms, "has_avx512", lambda: False)
    sizes = [(few, LIGHT), (few, LIGHT - 1), (many, LIGHT), (many, LIGHT - 1)]
    assert [rooms._by_onednn(*size, gelu) for size in sizes for gelu in (False, True)] == [True, True] + 6 * [False]
    assert rooms._by_onednn(many.bfloat16(), LIGHT, True)
    monkeypatch.setattr(rooms, "mkl_is_quick", lambda: True)
    assert not any(rooms._by_onednn(*size, gelu) for size in sizes for gelu in (False, True))


def test_tiny_products_are_not_worth_calling_onednn_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to so many multiplications with few weights; with many weights, and in another precision, it makes them."""
    monkeypatch.setattr(rooms, "_has_onednn", lambda dtype: True)
    monkeypatch.setattr(rooms, "mkl_is_quick", lambda: False)
    monkeypatch.setattr(rooms, "has_avx512", lambda: True)
    weight = LIGHT // 2
    rows = torch.ones(TINY // weight, 4)
    assert not rooms._by_onednn(rows[1:], weight, gelu=True)
    assert rooms._by_onednn(rows, weight, gelu=True)
    assert rooms._by_onednn(rows[:1], LIGHT, gelu=False)
    assert rooms._by_onednn(rows[1:].bfloat16(), weight, gelu=False)


def test_large_products_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.ones(9, 4)
    assert filled(rows, 100).tolist() == [[1.0] * 4] * 9 + [[0.0] * 4] * 23
    monkeypatch.setattr(rooms, "LARGE", 900)
    assert filled(rows, 100) is rows
    assert len(filled(rows, 99)) == 32


@pytest.mark.skipif(not rooms._has_onednn(torch.float32), reason="torch without oneDNN's linear map")
def test_weights_in_blocks_are_read_for_few_rows_and_made_anew_where_they_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not for one row, for many, or where gradients are kept."""
    monkeypatch.setattr(rooms, "mkl_is_quick", lambda: False)
    draw = torch.Generator().manual_seed(0)
    asked: list[int] = []
    packed = rooms.Linear.packed

    def counted(self: rooms.Linear) -> Tensor:
        asked.append(1)
        return packed(self)

    monkeypatch.setattr(rooms.Linear, "packed", counted)
    layer = rooms.Linear(512, 512)
    rows = {count: torch.randn(count, 512, generator=draw) for count in (1, 2, 3, 12, 100, 300)}
    assert layer(rows[3]).requires_grad
    with torch.no_grad():
        for x in rows.values():
            torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))
        assert len(asked) == 4
        again = copy.deepcopy(layer)
        layer.weight.mul_(2)
        torch.testing.assert_close(again(rows[3]) - again.bias, (layer(rows[3]) - layer.bias) / 2)
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_weights_in_blocks_are_of_the_weights_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever changed them: a step that counts no version, another precision and back, others at the same address."""
    monkeypatch.setattr(rooms, "mkl_is_quick", lambda: False)
    layer, x = rooms.Linear(512, 512), torch.randn(3, 512)

    def checked() -> None:
        with torch.inference_mode():
            expected = torch.nn.functional.linear(x, layer.weight, layer.bias)
            torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-3)

    checked()
    layer(x)  # it is trained
    layer.weight.data.mul_(2)
    checked()
    layer.half().float()
    checked()
    for _ in range(3):
        layer.load_state_dict({"weight": torch.randn(512, 512), "bias": torch.randn(512)}, assign=True)
        checked()


@pytest.mark.parametrize("gelu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_bfloat16_products_on_a_cpu_are_sums_of_more(gelu: bool, bias: bool) -> None:
    """Rounded once, at the end: half a unit in the last of eight bits, whatever kernel there is."""
    torch.manual_seed(5)
    layer, x = rooms.Linear(96, 40, bias=bias).bfloat16(), torch.randn(2, 7, 96).bfloat16()
    with torch.inference_mode():
        found = layer(x, gelu=gelu)
        expected = F.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
        expected = F.gelu(expected) if gelu else expected
    assert found.dtype == torch.bfloat16 and found.shape == (2, 7, 40)
    torch.testing.assert_close(found.double(), expected, rtol=2.0**-7 if gelu else 2.0**-8, atol=4e-3 if gelu else 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scores_are_float32_products_of_half_precision_weights(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    head = rooms.Head(48, 50, bias=False).to(dtype)
    x = torch.randn(3, 2, 48).to(dtype)
    with torch.inference_mode():
        found = head(x)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), x.double() @ head.weight.double().T, rtol=1e-5, atol=1e-5)
        head.weight.data = head.weight.data * 2  # another weight is not answered from the last one's copy
        torch.testing.assert_close(head(x), 2 * found)


def test_scores_of_weights_that_were_halved_in_inference_mode() -> None:
    with torch.inference_mode():
        head = rooms.Head(32, 50, bias=False).to(torch.bfloat16)
        x = torch.randn(2, 32).bfloat16()
        torch.testing.assert_close(head(x).double(), x.double() @ head.weight.double().T, rtol=1e-5, atol=1e-5)
