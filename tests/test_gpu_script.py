"""`benchmarks/gpu.py` without a GPU: its rehearsal, which runs all but the GPU's own part of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu


def rehearsed(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    with torch.inference_mode(False), torch.set_grad_enabled(True):
        status = gpu.main(["--rehearse", "--out", str(tmp_path), *arguments])
        torch.set_grad_enabled(True)
    record: dict[str, Any] = json.loads((tmp_path / "gpu.json").read_text())
    assert record["rehearsal"]
    assert status == 0, record
    return dict(record["rows"])


def test_correctness_comes_first(tmp_path: Path) -> None:
    tokens = rehearsed(tmp_path, "--only", "tokens")["tokens"]
    assert tokens["correct"]
    assert tokens["equal"] == {"1 slots": True, "3 slots": True, "8 slots": True, "transformers": True}


def test_a_row_has_both_sides_and_its_floor(tmp_path: Path) -> None:
    [row] = rehearsed(tmp_path, "--only", "large, bf16, offline").values()
    assert row["images/s"] > 0
    assert row["images/s at the floor"] > 0
    assert row["transformers, batch 64"]["ratio"] > 0
    assert row["transformers-static, batch 16"]["least"] <= row["transformers-static, batch 16"]["most"]


def test_each_part_is_left_out_by_turns(tmp_path: Path) -> None:
    [row] = rehearsed(tmp_path, "--only", "parts").values()
    assert {name.split(",")[0] for name in row if name != "seconds"} == {
        "CUDA graphs", "Triton kernels", "fixed sizes", "Triton's normalisers and best words",
        "GELU in a pass of its own",
    }  # fmt: skip


def test_what_there_was_no_time_for_is_named(tmp_path: Path) -> None:
    [row] = rehearsed(tmp_path, "--only", "base, bf16", "--minutes", "0.01").values()
    assert "s were left of the" in row["not measured"]


def test_without_a_gpu_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert gpu.main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "there is no GPU here: not measured\n"
    assert not list(tmp_path.iterdir())
