"""A network behind `--backend`: exported and checked at the first use, and answers as without it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from harness.errors import ResourceError, UsageError
from harness.florence2.decoding.search import Decoding
from harness.florence2.exported import backend, folder
from harness.florence2.exported.backend import BACKENDS
from tests.exported import PREPROCESS, RUNTIMES, small
from tests.exported import folder as exported_folder

DECODING = Decoding(beams=2, max_new_tokens=20)


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The exported graphs of `small`, where the cache has them."""
    path = exported_folder()
    for file in path.glob("*.json"):
        file.unlink()
    monkeypatch.setattr(backend, "exported", lambda *_: path)
    return path


@pytest.mark.parametrize("name", RUNTIMES)
def test_tokens_are_checked_at_the_first_use_only(cached: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pytest.importorskip(name)
    first = backend.load(small().ours, name, "float32", "a" * 64, PREPROCESS, DECODING)
    [file] = cached.glob("*.json")
    assert file.name.startswith(name) and '"hints": {}' in file.read_text()
    assert first.settings.threads == torch.get_num_threads()
    monkeypatch.setattr(backend, "first_equal", lambda *_: pytest.fail("it was checked again"))
    again = backend.load(small().ours, name, "float32", "a" * 64, PREPROCESS, DECODING)
    assert again.settings == first.settings


def test_kept_hints_are_used_and_described(cached: Path) -> None:
    pytest.importorskip("openvino")
    backend.load(small().ours, "openvino", "float32", "a" * 64, PREPROCESS, DECODING)
    [file] = cached.glob("*.json")
    file.write_text('{"hints": {"SNIPPETS_MODE": "DISABLE"}}')
    network = backend.load(small().ours, "openvino", "bfloat16", "a" * 64, PREPROCESS, DECODING)
    assert network.settings.precision == "bfloat16"
    assert network.backend.endswith(" SNIPPETS_MODE=DISABLE")


@pytest.mark.parametrize("text", ["", "[]", '{"other": 1}'])
def test_damaged_hints_are_a_line_that_names_the_file(cached: Path, text: str) -> None:
    pytest.importorskip("onnxruntime")
    backend.load(small().ours, "onnxruntime", "float32", "a" * 64, PREPROCESS, DECODING)
    [file] = cached.glob("*.json")
    file.write_text(text)
    with pytest.raises(ResourceError, match=f"{re.escape(str(file))} is damaged .* delete it"):
        backend.load(small().ours, "onnxruntime", "float32", "a" * 64, PREPROCESS, DECODING)


@pytest.mark.parametrize(
    ("name", "precision", "device", "message"),
    [
        ("tensorrt", "float32", "cpu", "--backend tensorrt: one of onnxruntime, openvino"),
        ("torch-compile", "float32", "cpu", "--backend torch-compile: one of onnxruntime, openvino"),
        ("openvino", "float16", "cpu", "--backend openvino: no float16 on a CPU; it has float32, bfloat16, int8"),
        ("openvino", "float32", "cuda:1", "--backend openvino is for a CPU, not for --device cuda:1"),
    ],
)
def test_backend_that_cannot_be_used_is_refused(name: str, precision: str, device: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        backend.check(name, precision, device)


def test_backends_are_runtimes_of_exported_files() -> None:
    assert BACKENDS == RUNTIMES
    assert folder.cache_folder().name == "exports"
