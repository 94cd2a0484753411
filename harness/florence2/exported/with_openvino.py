"""Exported graphs by OpenVINO on a CPU.

The precision is always stated: by default, OpenVINO computes in bfloat16 where a CPU has it.  int8 has weights in int8,
by NNCF's compression; OpenVINO itself decides where to round the inputs of products.

With the hint layout=fixed, the vision graph is compiled for each batch size, and otherwise for any.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import openvino
from torch import Tensor, from_numpy

from harness.florence2.exported.graphs import PARTS
from harness.florence2.exported.runtimes import Graph, Settings
from harness.florence2.model import Florence2


def load(model: Florence2 | None, folder: Path, settings: Settings) -> dict[str, Graph]:
    """See `runtimes.load`; `model` is not used."""
    core: Any = openvino.Core()
    return {part: _graph(core, folder / f"{part}.onnx", settings) for part in PARTS}


def _graph(core: Any, file: Path, settings: Settings) -> Graph:
    network = core.read_model(str(file))
    if settings.precision == "int8":
        network = _compressed(network)
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": settings.threads,
        "INFERENCE_PRECISION_HINT": "bf16" if settings.precision == "bfloat16" else "f32",
        "SNIPPETS_MODE": settings.hint("SNIPPETS_MODE"),
        "ENABLE_CPU_PINNING": settings.hint("ENABLE_CPU_PINNING") == "YES",
    }

    @cache
    def request(batch: int | None) -> Any:
        if batch is not None:
            shape = network.inputs[0].partial_shape
            shape[0] = batch
            network.reshape(shape)
        return core.compile_model(network, "CPU", properties).create_infer_request()

    fixed = file.stem == "vision" and settings.hint("layout") == "fixed"
    if not fixed:
        request(None)  # compiled now, so that what OpenVINO cannot compile is an error of `load`

    def compute(inputs: Sequence[Tensor]) -> list[Tensor]:
        arrays = [tensor.contiguous().numpy() for tensor in inputs]
        outputs = request(len(inputs[0]) if fixed else None).infer(arrays, share_inputs=True, share_outputs=False)
        return [from_numpy(array) for array in outputs.values()]

    return compute


def _compressed(network: Any) -> Any:
    os.environ.setdefault("NNCF_CI", "1")  # without it, NNCF reports its use to its makers over the network
    import nncf

    nncf.set_log_level(40)  # errors; it prints tables of what it compresses
    return nncf.compress_weights(network)
