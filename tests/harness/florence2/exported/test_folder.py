"""Graphs are exported once for each set of weights, image size and version, and whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from harness.errors import ResourceError
from harness.florence2.exported import folder
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from tests.exported import PREPROCESS, small


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The image sizes (height, width) that were exported; a file takes the place of the graphs."""
    sizes: list[tuple[int, int]] = []

    def export(model: Florence2, height: int, width: int, to: Path) -> None:
        sizes.append((height, width))
        (to / "vision.onnx").write_bytes(b"graph")

    monkeypatch.setattr(folder, "export", export)
    return sizes


def test_graphs_are_exported_once_for_each_weights_and_size(tmp_path: Path, exports: list[tuple[int, int]]) -> None:
    model, cache = small().ours, tmp_path / "not there yet"
    first = folder.exported(model, "a" * 64, PREPROCESS, cache)
    assert folder.exported(model, "a" * 64, PREPROCESS, cache) == first
    assert len(exports) == 1 and (first / "vision.onnx").read_bytes() == b"graph"
    others = {folder.exported(model, "b" * 64, PREPROCESS, cache), folder.exported(model, "a" * 64, WIDE, cache)}
    assert len({first, *others}) == 3 and exports[-1] == (32, 64)
    assert torch.__version__ in first.name and sorted(cache.iterdir()) == sorted({first, *others})


WIDE = Preprocess(width=64, height=32)


def test_interrupted_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(model: Florence2, height: int, width: int, to: Path) -> None:
        (to / "vision.onnx").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folder.exported(small().ours, "a" * 64, PREPROCESS, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("exports")
def test_export_of_another_process_that_was_faster_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = folder.exported(small().ours, "a" * 64, PREPROCESS, tmp_path)
    is_dir, answers = Path.is_dir, iter([False])
    monkeypatch.setattr(Path, "is_dir", lambda path: next(answers, None) is None and is_dir(path))
    assert folder.exported(small().ours, "a" * 64, PREPROCESS, tmp_path) == whole
    assert list(tmp_path.iterdir()) == [whole]


@pytest.mark.usefixtures("exports")
def test_cache_that_is_a_file_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "exports").write_text("")
    with pytest.raises(ResourceError, match=r"cannot write .*exports"):
        folder.exported(small().ours, "a" * 64, PREPROCESS, tmp_path / "exports" / "deeper")


def test_cache_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder.cache_folder() == tmp_path / "florence2-harness" / "exports"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder.cache_folder() == Path(os.path.expanduser("~/.cache/florence2-harness/exports"))
