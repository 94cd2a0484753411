"""The vision tower's fast forms versus the plain tower: strips, passes and one image at a time give the same map."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.florence2.davit import Block, ChannelAttention, WindowAttention
from harness.florence2.fast import fused, strips, vision
from harness.florence2.fast.choose import FAST, in_forms
from tests.twins import TINY, fast, twins

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def relative_error(computed: Tensor, exact: Tensor) -> float:
    """The norm of the difference over the norm."""
    return float((computed.double() - exact).norm() / exact.norm())


def test_large_images_are_encoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = twins(seed=4).ours
    tower = fast(plain).vision
    pixels = torch.randn(3, 3, 192, 96, generator=torch.Generator().manual_seed(0))
    calls: list[int] = []
    tower.stages[0].register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    with torch.inference_mode():
        expected = plain.vision.double()(pixels.double())
        # float32 has 24 bits: 1e-5 is 168 of its roundings.
        assert relative_error(tower(pixels), expected) < 1e-5
        monkeypatch.setattr(vision, "LARGE", 0)
        assert relative_error(tower(pixels), expected) < 1e-5
    assert calls == [3, 1, 1, 1]


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("tokens", [1, 100, 700, 1 << 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_tower_in_strips_of_any_size_equals_the_plain_tower_in_float64(
    images: int, tokens: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The height is not a multiple of the window's side."""
    monkeypatch.setattr(strips, "STRIP", tokens)
    monkeypatch.setattr(vision, "BLOCK", 7)  # fewer channels than a map has, and no divisor of them
    plain = twins(seed=4).ours.vision.to(memory_format=torch.channels_last)
    pixels = torch.randn(images, 3, 224, 96, generator=torch.Generator().manual_seed(0))
    folded: list[int] = []
    as_one_map = vision.ChannelAttention.as_one_map

    def counted(self: vision.ChannelAttention, products: Tensor, sums: Tensor, count: int) -> tuple[Tensor, Tensor]:
        folded.append(count)
        return as_one_map(self, products, sums, count)

    monkeypatch.setattr(vision.ChannelAttention, "as_one_map", counted)
    with torch.inference_mode():
        computed = in_forms(copy.deepcopy(plain), FAST).to(dtype)(pixels.to(dtype))
        expected = plain.double()(pixels.double())
    assert bool(folded) is (dtype == torch.float32)
    # Units of the last place of 24, 8 and 53 bits, and at least 10 times as much for ten blocks of four sums each.
    assert relative_error(computed, expected) < {torch.float32: 1e-5, torch.bfloat16: 0.05, torch.float64: 1e-13}[dtype]


@pytest.mark.parametrize("number", [0, 1], ids=["windows", "channels"])
def test_block_changes_its_map_only_with_in_place(number: int) -> None:
    plain = twins(seed=4).ours.vision.stages[0].blocks[number]
    block = in_forms(copy.deepcopy(plain), FAST)
    x = torch.randn(1, 12, 12, TINY.vision.dims[0])
    before = x.clone()
    with torch.inference_mode():
        expected = copy.deepcopy(plain).double()(x.double())
        assert relative_error(block(x), expected) < 1e-5
        assert torch.equal(x, before)
        assert block(x, in_place=True) is x
    assert relative_error(x, expected) < 1e-5


def test_fast_tower_with_gradients_has_the_plain_towers_gradients() -> None:
    """In float64, where the two orders of additions differ by far less than 1e-9."""
    plain = twins(seed=4).ours.vision.double().requires_grad_(True)
    tower = in_forms(copy.deepcopy(plain), FAST)
    pixels = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0)).double()
    for network in (plain, tower):
        network(pixels).square().mean().backward()
    for (name, parameter), (_, other) in zip(plain.named_parameters(), tower.named_parameters(), strict=True):
        assert parameter.grad is not None and other.grad is not None
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-9, atol=1e-9 * scale, msg=name)


@pytest.mark.parametrize("shape", [(8, 12), (6, 7)])
@pytest.mark.parametrize("kind", ["windows", "channels"])
def test_block_in_passes_with_and_without_kernels_equals_the_plain_block(
    shape: tuple[int, int], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One map divides into windows, the other does not."""
    kernels = pytest.importorskip("harness.florence2.fast.kernels", reason="Triton is not installed")
    torch.manual_seed(0)
    attention = WindowAttention(24, 2, 4) if kind == "windows" else ChannelAttention(24, 2)
    plain = Block(24, 4, attention).to(DEVICE)
    for parameter in plain.parameters():
        nn.init.normal_(parameter, std=0.3)
    block: Any = in_forms(copy.deepcopy(plain), FAST)
    x = torch.randn(2, *shape, 24, device=DEVICE)
    with torch.inference_mode():
        monkeypatch.setattr(fused, "usable", lambda x: False)
        expected = copy.deepcopy(plain).double()(x.double())
        by_torch = block.in_passes(x.clone())
        monkeypatch.setattr(fused, "usable", lambda x: True)
        calls = []
        for name in ("convolve_add_norm", "channel_products"):
            kernel = getattr(kernels, name)
            monkeypatch.setattr(
                kernels, name, lambda *arguments, kernel=kernel: (calls.append(kernel), kernel(*arguments))[1]
            )
        by_kernels = block(x.clone())
    # float32 has 24 bits: 1e-5 is 168 of its roundings.
    assert relative_error(by_torch, expected) < 1e-5
    assert relative_error(by_kernels, expected) < 1e-5
    assert len(calls) == (2 if kind == "windows" else 3)
