"""The graphs' modules compiled by torch give what the modules give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from harness.florence2.exported.runtimes import Settings
from harness.florence2.exported.with_torch import load
from tests.exported import network, small, tokens_in_common

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # where torch imports its compiler

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")


@needs_compiler
@pytest.mark.slow
def test_compiled_network_writes_the_same_tokens() -> None:
    assert tokens_in_common(network(Settings("torch-compile", "float32", 1))) == 1


def test_model_is_needed() -> None:
    with pytest.raises(ValueError, match="needs the model itself"):
        load(None, Path(), Settings("torch-compile", "float32", 1))


def test_bfloat16_leaves_the_weights_of_the_source() -> None:
    load(small().ours, Path(), Settings("torch-compile", "bfloat16", 1))
    assert {weight.dtype for weight in small().ours.state_dict().values()} == {torch.float32}
