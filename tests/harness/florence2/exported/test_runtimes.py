"""Names, precisions and packages of runtimes, and their errors."""

from __future__ import annotations

import re
from importlib import metadata, util
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ResourceError, UsageError
from harness.florence2.exported import runtimes
from harness.florence2.exported.runtimes import RUNTIMES, Settings, find
from tests.exported import RUNTIMES as WITH_FILES


@pytest.mark.parametrize(
    ("name", "precision", "message"),
    [
        ("tensorrt", "float32", "--backend tensorrt: one of onnxruntime, openvino, torch-compile"),
        ("onnxruntime", "bfloat16", "--backend onnxruntime: no bfloat16 on a CPU; it has float32, int8"),
        ("torch-compile", "int8", "--backend torch-compile: no int8 on a CPU; it has float32, bfloat16"),
    ],
)
def test_unknown_runtime_or_precision_is_refused(name: str, precision: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        find(name, precision, "--backend")


@pytest.mark.parametrize(
    ("name", "precision", "package"),
    [
        ("onnxruntime", "float32", "onnxruntime"),
        ("onnxruntime", "int8", "onnxscript"),
        ("openvino", "float32", "openvino"),
        ("openvino", "int8", "nncf"),
    ],
)
def test_missing_package_is_a_line_with_the_command(
    monkeypatch: pytest.MonkeyPatch, name: str, precision: str, package: str
) -> None:
    missing: Any = lambda wanted: None if wanted == package else object()  # noqa: E731
    monkeypatch.setattr(util, "find_spec", missing)
    message = f"--against {name} needs {package}, which is not installed: pip install 'florence2-harness[peers]'"
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}$"):
        find(name, precision, "--against")


def test_missing_compiler_is_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceError, match="--against torch-compile needs a C\\+\\+ compiler, and there is none"):
        find("torch-compile", "float32", "--against")


def test_settings_describe_version_and_other_hints_only() -> None:
    pytest.importorskip("onnxruntime")
    version = metadata.version("onnxruntime")
    assert Settings("onnxruntime", "float32", 1).describe() == f"onnxruntime {version}"
    assert Settings("onnxruntime", "float32", 1, {"spinning": "0"}).describe() == f"onnxruntime {version}"
    changed = Settings("onnxruntime", "float32", 1, {"spinning": "1"})
    assert changed.describe() == f"onnxruntime {version} spinning=1"
    assert (changed.hint("spinning"), changed.hint("optimisation")) == ("1", "all")


@pytest.mark.parametrize("name", WITH_FILES)
def test_damaged_graph_is_a_line_that_names_the_folder(tmp_path: Path, name: str) -> None:
    pytest.importorskip(name)
    for part in ("vision", "encoder", "decoder"):
        (tmp_path / f"{part}.onnx").write_bytes(b"no graph")
    with pytest.raises(ResourceError, match="delete the folder to export them again") as error:
        runtimes.load(None, tmp_path, Settings(name, "float32", 1))
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_only_files_are_exported_for_backends() -> None:
    assert tuple(name for name, runtime in RUNTIMES.items() if runtime.exports) == WITH_FILES
