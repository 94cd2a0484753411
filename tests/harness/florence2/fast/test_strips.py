"""Strips of a map: their spans, and the convolution of one strip after another versus that of the whole map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.florence2.fast import strips
from harness.florence2.fast.strips import convolved, prefers_strips, spans


@pytest.mark.parametrize(("height", "width", "images"), [(1, 1, 1), (7, 5, 1), (192, 192, 1), (97, 192, 3)])
@pytest.mark.parametrize("multiple", [1, 12])
def test_spans_cover_every_row_once_in_strips_of_about_equal_size(
    height: int, width: int, images: int, multiple: int
) -> None:
    ends = spans(torch.empty(images, height, width, 1), multiple)
    rows = [row for top, bottom in ends for row in range(top, bottom)]
    assert rows == list(range(height))
    assert all(top % multiple == 0 for top, _ in ends)
    heights = [bottom - top for top, bottom in ends]
    assert max(heights[:-1], default=0) - min(heights[:-1], default=0) <= multiple
    # The smallest possible strip, or fewer than twice the tokens that a strip should have.
    row = images * width
    assert all(height <= multiple or (height - multiple) * row < 2 * strips.STRIP for height in heights)


def test_spans_on_meta_are_one_strip() -> None:
    """Operations are counted there, and rows at the edges of strips would be counted twice."""
    assert spans(torch.empty(1, 500, 500, 1, device="meta")) == [(0, 500)]


@pytest.mark.parametrize("multiple", [1, 3])
@pytest.mark.parametrize("tokens", [1, 20, 1000])
@torch.no_grad()
def test_convolved_strips_equal_the_residual_convolution_of_the_whole_map_even_if_overwritten(
    tokens: int, multiple: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every strip is overwritten with NaN once it is yielded."""
    monkeypatch.setattr(strips, "STRIP", tokens)
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=4).double()
    x = torch.randn(2, 11, 5, 4).double()
    expected = conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) + x
    parts = []
    for strip, y in convolved(x, conv, multiple):
        parts.append(y.clone())
        strip.fill_(torch.nan)
    torch.testing.assert_close(torch.cat(parts, 1), expected)
    assert x.isnan().all()
    assert len(parts) == len(spans(x, multiple))


def test_strips_are_preferred_on_cpu_and_meta_without_gradients() -> None:
    x = torch.empty(1, 2, 2, 1)
    assert not prefers_strips(x)
    with torch.no_grad():
        assert prefers_strips(x) and prefers_strips(x.to("meta"))
