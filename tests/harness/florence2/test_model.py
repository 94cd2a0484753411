"""The network is plain: a reader meets its arithmetic in these files, and nothing that makes it fast."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from harness import florence2
from tests.twins import TINY, twins

NETWORK = ("config", "feed_forward", "davit", "fusion", "bart", "model")


@pytest.mark.parametrize("name", NETWORK)
def test_network_imports_itself_and_nothing_fast(name: str) -> None:
    tree = ast.parse(Path(florence2.__path__[0], f"{name}.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    mine = {module for module in imported if module.startswith("harness")}
    assert mine <= {"harness.errors", "harness.core"} | {f"harness.florence2.{one}" for one in NETWORK}
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree))


@torch.inference_mode()
def test_vision_tower_may_be_in_another_precision_than_the_text_layers() -> None:
    model = twins(seed=3).ours
    pixels, prompt = torch.randn(1, 3, 96, 96), torch.tensor([[0, 5, 6, 2]])
    expected = model.read(model.look(pixels), prompt)
    model.vision.double()
    model.fusion.double()
    image = model.look(pixels.double())
    assert image.dtype == torch.float64
    found = model.read(image, prompt)
    assert found.keys.dtype == torch.float32
    torch.testing.assert_close(found.keys, expected.keys, rtol=1e-3, atol=1e-3)
    assert found.keys.shape == (TINY.text.decoder_layers, 1, TINY.text.heads, 1 + 3 * 3 + 4, 16)
