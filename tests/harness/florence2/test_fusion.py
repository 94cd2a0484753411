"""Image tokens versus a slow loop over the map's cells."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from harness.errors import UsageError
from harness.florence2.fusion import Fusion
from tests.twins import TINY, twins


def slow_fusion(fusion: Fusion, x: Tensor) -> Tensor:
    """One cell at a time: its features, its column's and its row's embedding, and frame 0 of a sinusoidal table."""
    batch, height, width, dim = x.shape
    images = []
    for image in range(batch):
        cells = []
        for row in range(height):
            for column in range(width):
                position = torch.cat([fusion.columns.weight[column], fusion.rows.weight[row]])
                frame = torch.tensor([0.0, 1.0] * (dim // 2))  # sin 0, cos 0, sin 0, ...
                cells.append(x[image, row, column] + position + frame)
        mean = sum(cells[1:], cells[0]) / len(cells)
        images.append(torch.stack([fusion.norm(fusion.projection(cell)) for cell in [mean, *cells]]))
    return torch.stack(images)


@pytest.mark.parametrize(("height", "width"), [(3, 3), (2, 5), (1, 1)])
@torch.no_grad()
def test_image_tokens_equal_the_loop_with_the_mean_first(height: int, width: int) -> None:
    torch.manual_seed(0)
    fusion = Fusion(TINY)
    x = torch.randn(2, height, width, TINY.vision.dims[-1])
    torch.testing.assert_close(fusion(x), slow_fusion(fusion, x))


def test_fusion_built_on_meta_has_its_constant_on_the_cpu() -> None:
    """No checkpoint stores the constant, so nothing would fill it."""
    with torch.device("meta"):
        fusion = Fusion(TINY)
    assert fusion.frame.device.type == "cpu"
    assert "frame" not in fusion.state_dict()
    assert fusion.frame.tolist() == [0.0, 1.0] * (TINY.vision.dims[-1] // 2)


def test_map_larger_than_the_position_tables_is_a_usage_error() -> None:
    # 128 pixels over strides 4, 2, 2, 2 is a map of 4 x 4.
    model = twins(replace(TINY, vision=replace(TINY.vision, max_side=3))).ours
    with pytest.raises(UsageError, match="has a 4x4 feature map; this checkpoint has positions for 3x3"):
        model.encode_image(torch.zeros(1, 3, 128, 128))
