"""The runtimes that compute exported graphs, and how each is set.

A runtime is used where the packages of the extra `peers` are installed.  Its `load` returns a function for each part
(`graphs.PARTS`), from a flat list of tensors to a list of tensors.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.errors import ResourceError, UsageError
from harness.florence2.model import Florence2

Graph = Callable[[Sequence[Tensor]], list[Tensor]]
PRECISIONS = ("float32", "bfloat16", "int8")
INSTALL = "pip install 'florence2-harness[peers]'"


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime by name: its module here, its packages, precisions, and the values of each hint, the default first.

    `exports` says whether it reads ONNX files.
    """

    name: str
    module: str
    packages: tuple[str, ...]
    precisions: tuple[str, ...]
    hints: Mapping[str, tuple[str, ...]]
    exports: bool = True

    @property
    def version(self) -> str:
        """The version of the installed runtime."""
        return metadata.version(self.packages[0])


RUNTIMES: Mapping[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            "onnxruntime", "with_onnxruntime", ("onnxruntime", "onnx", "onnxscript"), ("float32", "int8"),
            {"optimisation": ("all", "extended"), "spinning": ("0", "1")},
        ),
        Runtime(
            "openvino", "with_openvino", ("openvino", "onnx", "onnxscript"), PRECISIONS,
            {"SNIPPETS_MODE": ("ENABLE", "DISABLE"), "layout": ("free", "fixed"), "ENABLE_CPU_PINNING": ("NO", "YES")},
        ),
        Runtime(
            "torch-compile", "with_torch", ("torch",), ("float32", "bfloat16"),
            {}, exports=False,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """How graphs are computed: the runtime's name, the precision, the number of threads, and hints that differ."""

    runtime: str
    precision: str
    threads: int
    hints: Mapping[str, str] = field(default_factory=dict)

    def hint(self, name: str) -> str:
        """The value of a hint, by default the runtime's first."""
        return self.hints.get(name, RUNTIMES[self.runtime].hints[name][0])

    def describe(self) -> str:
        """The runtime, its version, and the hints that are not the default: what an answer may depend on."""
        named = {name: self.hint(name) for name in RUNTIMES[self.runtime].hints}
        other = [f"{name}={value}" for name, value in named.items() if value != RUNTIMES[self.runtime].hints[name][0]]
        return " ".join([f"{self.runtime} {RUNTIMES[self.runtime].version}", *other])


def find(name: str, precision: str, option: str) -> Runtime:
    """The runtime of a name, which has the precision and whose packages are installed.

    UsageError for another name or precision, ResourceError for a package or a compiler that is missing; `option` begins
    the message.
    """
    if name not in RUNTIMES:
        raise UsageError(f"{option} {name}: one of {', '.join(RUNTIMES)}")
    runtime = RUNTIMES[name]
    if precision not in runtime.precisions:
        raise UsageError(f"{option} {name}: no {precision} on a CPU; it has {', '.join(runtime.precisions)}")
    missing = [package for package in runtime.packages if util.find_spec(package) is None]
    if precision == "int8" and name == "openvino" and util.find_spec("nncf") is None:
        missing.append("nncf")
    if name == "torch-compile" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise ResourceError(f"{option} {name} needs a C++ compiler, and there is none: install g++, or set CXX")
    if missing:
        raise ResourceError(f"{option} {name} needs {', '.join(missing)}, which is not installed: {INSTALL}")
    return runtime


def load(model: Florence2 | None, folder: Path, settings: Settings) -> dict[str, Graph]:
    """The graphs in a folder of ONNX files as functions; torch-compile takes those of `model` itself.

    ResourceError where the runtime cannot read or compile a graph.
    """
    runtime = RUNTIMES[settings.runtime]
    module: Any = import_module(f"harness.florence2.exported.{runtime.module}")
    try:
        graphs: dict[str, Graph] = module.load(model, folder, settings)
    except Exception as error:  # each runtime has its own exceptions
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise ResourceError(
            f"{settings.runtime} cannot load the graphs in {folder}: {reason}; delete the folder to export them again"
        ) from error
    return graphs
