"""Exported graphs by ONNX Runtime on a CPU.

int8 has weights and inputs of matrix products in int8, by ONNX Runtime's own `quantize_dynamic` with a scale per
channel.  Convolutions stay in float32: their int8 form is slower.  The quantised files are kept beside the others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from torch import Tensor, from_numpy

from harness.florence2.exported.graphs import PARTS
from harness.florence2.exported.runtimes import Graph, Settings
from harness.florence2.model import Florence2


def load(model: Florence2 | None, folder: Path, settings: Settings) -> dict[str, Graph]:
    """See `runtimes.load`; `model` is not used."""
    return {part: _graph(_file(folder, part, settings), settings) for part in PARTS}


def _graph(file: Path, settings: Settings) -> Graph:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
    options.log_severity_level = 3  # errors; it warns about every constant that it folds
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if settings.hint("optimisation") == "all" else levels.ORT_ENABLE_EXTENDED
    )
    options.add_session_config_entry("session.intra_op.allow_spinning", settings.hint("spinning"))
    session: Any = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def compute(inputs: Sequence[Tensor]) -> list[Tensor]:
        arrays = {name: tensor.contiguous().numpy() for name, tensor in zip(names, inputs, strict=True)}
        return [from_numpy(array) for array in session.run(None, arrays)]

    return compute


def _file(folder: Path, part: str, settings: Settings) -> Path:
    """The file of a part; in int8 it is written at the first call."""
    file = folder / f"{part}.onnx"
    if settings.precision != "int8":
        return file
    quantised = folder / f"{part}.onnxruntime-{onnxruntime.__version__}.int8.onnx"
    if not quantised.exists():
        _quantise(file, quantised)
    return quantised


def _quantise(file: Path, quantised: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().disabled, disabled = True, logging.getLogger().disabled
    try:  # it advises on the root logger to run its preprocessing, which the exporter has done
        partial = quantised.with_suffix(".partial")
        quantize_dynamic(file, partial, op_types_to_quantize=["MatMul"], per_channel=True)
        partial.replace(quantised)
    finally:
        logging.getLogger().disabled = disabled
