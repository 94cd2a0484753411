"""The network versus transformers', and the rule that its files are plain."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from harness import florence2
from tests.twins import TINY, difference, rounding_errors, twins

NETWORK = ("config", "feed_forward", "davit", "fusion", "bart", "model")


@pytest.mark.parametrize("name", NETWORK)
def test_network_file_imports_no_fast_form(name: str) -> None:
    tree = ast.parse(Path(florence2.__path__[0], f"{name}.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    own = {module for module in imported if module.startswith("harness")}
    assert own <= {"harness.errors", "harness.core", "harness.florence2.files"} | {
        f"harness.florence2.{file}" for file in NETWORK
    }
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree))


# Some sides have maps that do not divide into windows, and some images are not square.
SIDES = [(96, 96), (64, 64), (128, 128), (160, 96), (33, 47)]


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_forward_in_float64_equals_transformers(height: int, width: int) -> None:
    twin = twins(seed=height + width)
    assert difference(twin, twin.ours, height, width) < 1e-9


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_forward_in_float32_rounds_no_more_than_transformers(height: int, width: int) -> None:
    """The two round in different orders; 4 is a margin for the largest of some 1,300 errors."""
    twin = twins(seed=height + width)
    assert rounding_errors(twin, twin.ours, height, width) < 4


@torch.inference_mode()
def test_vision_tower_in_another_precision_than_the_text_layers_gives_the_same_memory() -> None:
    """The tower in float64 differs from the tower in float32 by float32's rounding alone, 24 bits."""
    model = twins(seed=3).ours
    pixels, prompt = torch.randn(1, 3, 96, 96), torch.tensor([[0, 5, 6, 2]])
    expected = model.encode(model.encode_image(pixels), prompt)
    model.vision.double()
    model.fusion.double()
    image = model.encode_image(pixels.double())
    assert image.dtype == torch.float64
    memory = model.encode(image, prompt)
    assert memory.keys.dtype == torch.float32
    torch.testing.assert_close(memory.keys, expected.keys, rtol=1e-3, atol=1e-3)
    assert memory.keys.shape == (TINY.text.decoder_layers, 1, TINY.text.heads, 1 + 3 * 3 + 4, 16)
