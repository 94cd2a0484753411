"""A random checkpoint in both published layouts, at a tiny size."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from baselines.florence2 import load_parts
from benchmarks import full_size
from harness.florence2.config import with_text
from harness.florence2.model import Florence2
from harness.florence2.start import initialise
from tests.twins import TINY


@pytest.mark.parametrize("layout", ["original", "native"])
def test_checkpoint_loads_with_its_random_weights(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both layouts are written in float16, so that the weights are the same numbers rounded."""
    config = with_text(TINY, vocab=51289)
    monkeypatch.setattr(full_size, "BASE", config)
    monkeypatch.delenv("FLORENCE2_TOKENIZER", raising=False)
    folder = tmp_path / "checkpoint"
    monkeypatch.setattr(sys, "argv", ["full_size", "--size", "base", "--layout", layout, "--to", str(folder)])
    full_size.main()
    parts = load_parts(folder)
    assert parts.preprocess.width == TINY.image_size
    if layout == "native":  # as full_size has it for the base size
        config = with_text(config, vocab=51328, positions=1024)
    expected = Florence2(config).requires_grad_(False)
    initialise(expected, 50269, torch.Generator().manual_seed(0))
    loaded = parts.model.state_dict()
    for name, weight in expected.state_dict().items():
        rounded = weight.half() if weight.is_floating_point() else weight
        assert torch.equal(loaded[name].float(), rounded.float()), name
