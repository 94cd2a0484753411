"""The graphs' modules compiled by torch give what the modules give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from harness.florence2.exported.runtimes import Settings
from harness.florence2.exported.with_torch import _nested, load
from tests.exported import SMALL, small

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # where torch imports its compiler

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")


@needs_compiler
@pytest.mark.slow
@torch.no_grad()
def test_compiled_encoder_gives_what_the_network_gives() -> None:
    """Of two prompt lengths; the graph is compiled once, since its lengths are free."""
    model = small().ours
    encode = load(model, Path(), Settings("torch-compile", "float32", 1))["encoder"]
    image = torch.randn(2, SMALL.image_tokens, SMALL.text.width)
    for length in (7, 9):
        prompt = torch.randint(4, 90, (2, length))
        expected = model.encode(image, prompt)
        mask = torch.zeros(2, 1, 1, SMALL.image_tokens + length)
        for given, wanted in zip(encode([image, prompt, mask]), (expected.keys, expected.values), strict=True):
            torch.testing.assert_close(given, wanted)


def test_inputs_of_layers_are_grouped_by_kind() -> None:
    inputs = [torch.tensor(number) for number in range(5 + 4 * 2)]
    assert _nested(inputs) == [*inputs[:5], inputs[5:7], inputs[7:9], inputs[9:11], inputs[11:]]


def test_model_is_needed() -> None:
    with pytest.raises(ValueError, match="needs the model itself"):
        load(None, Path(), Settings("torch-compile", "float32", 1))


def test_bfloat16_leaves_the_weights_of_the_source() -> None:
    load(small().ours, Path(), Settings("torch-compile", "bfloat16", 1))
    assert {weight.dtype for weight in small().ours.state_dict().values()} == {torch.float32}
