"""ONNX Runtime's own settings: every hint gives the same tokens, and int8 is close."""

from __future__ import annotations

import pytest

from harness.florence2.exported.graphs import PARTS
from harness.florence2.exported.runtimes import RUNTIMES, Settings
from tests.exported import folder, network, tokens_in_common

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    "hints", [{name: value} for name, values in RUNTIMES["onnxruntime"].hints.items() for value in values[1:]], ids=str
)
def test_every_hint_leaves_the_tokens_as_they_are(hints: dict[str, str]) -> None:
    assert tokens_in_common(network(Settings("onnxruntime", "float32", 1, hints))) == 1


def test_int8_is_written_once_beside_the_graphs_and_agrees_mostly() -> None:
    """Rounding to 8 bits moves some of these close scores; numbers in the wrong order would leave about 1 in 96."""
    assert tokens_in_common(network(Settings("onnxruntime", "int8", 1))) > 0.3
    files = [folder() / f"{part}.onnxruntime-{onnxruntime.__version__}.int8.onnx" for part in PARTS]
    written = [file.stat().st_mtime_ns for file in files]
    network(Settings("onnxruntime", "int8", 1))
    assert [file.stat().st_mtime_ns for file in files] == written
    assert not list(folder().glob("*.partial"))
