"""The graphs' modules compiled by torch (Inductor), without a file between.

bfloat16 is that of the vision graph, as in `fast.choose`; the text graphs are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.florence2.exported.graphs import PARTS, modules, plain
from harness.florence2.exported.runtimes import Graph, Settings
from harness.florence2.model import Florence2


def load(model: Florence2 | None, folder: Path, settings: Settings) -> dict[str, Graph]:
    """See `runtimes.load`; `folder` is not used.  ValueError without a model."""
    if model is None:
        raise ValueError("torch-compile needs the model itself")
    graphs = modules(plain(model))
    return {part: _graph(part, graphs[part], settings) for part in PARTS}


def _graph(part: str, module: nn.Module, settings: Settings) -> Graph:
    halved = part == "vision" and settings.precision == "bfloat16"
    if halved:
        module = module.to(torch.bfloat16)
    free = None if part == "vision" else True  # lengths change from step to step, and the vision graph has one size
    compiled: Any = torch.compile(module, dynamic=free, options={"freezing": True})

    def compute(inputs: Sequence[Tensor]) -> list[Tensor]:
        nested = _nested(inputs) if part == "decoder" else inputs
        with torch.no_grad():
            outputs = compiled(*(x.bfloat16() if halved else x for x in nested))
        return [outputs.float()] if isinstance(outputs, Tensor) else list(outputs)

    return compute


def _nested(inputs: Sequence[Tensor]) -> list[Any]:
    """The decoder's inputs, with those of each layer in four lists."""
    layers = (len(inputs) - 5) // 4
    lists = [list(inputs[5 + place * layers : 5 + (place + 1) * layers]) for place in range(4)]
    return [*inputs[:5], *lists]
