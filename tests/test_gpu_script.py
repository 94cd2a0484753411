"""`benchmarks/gpu.py` without a GPU: its rehearsal, which runs all but the GPU's own part of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from harness.florence2.fast import fused
from harness.speed.systems import rounds_of


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
    asked = ("transformers", "1 slots", "3 slots", "8 slots")
    assert tokens["answers that differ"] == {
        f"{mode}, {one}": 0 for mode in ("ends early", "ends late") for one in asked
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter is for where there is no GPU")
def test_kernels_are_held_against_their_twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = rehearsed(tmp_path, "--only", "kernels")["kernels"]
    assert kernels["kernels"]
    names = {name.split()[0] for name in kernels["differences"]}
    assert names >= {
        "convolve_add_norm", "add_norm", "channel_products", "linear_gelu", "attend_lineage", "normalisers",
        "candidates", "to_float8",
    }  # fmt: skip
    broken = fused._kernels()
    assert broken is not None
    monkeypatch.setattr(broken, "add_norm", lambda x, y, norm: 1.01 * x)
    with torch.inference_mode(False), torch.set_grad_enabled(True):
        assert gpu.main(["--rehearse", "--out", str(tmp_path), "--only", "kernels"]) == 1
    assert not json.loads((tmp_path / "gpu.json").read_text())["rows"]["kernels"]["correct"]


def test_a_row_has_both_sides_and_its_floor(tmp_path: Path) -> None:
    rows = rehearsed(tmp_path, "--only", "large, bf16, offline")
    assert set(rows["large, bf16, offline, compiled"]) >= {"images/s", "transformers-compile, batch 64"}
    row = rows["large, bf16, offline"]
    assert row["images/s"] > 0
    assert row["images/s at the floor"] > 0
    assert row["transformers, batch 64"]["ratio"] > 0
    assert row["transformers-static, batch 16"]["least"] <= row["transformers-static, batch 16"]["most"]


def test_one_at_a_time_beside_transformers_at_its_default_and_its_best(tmp_path: Path) -> None:
    rows = rehearsed(tmp_path, "--only", "single stream")
    row = rows["large, bf16, single stream"]
    assert row["p50 ms, low"] <= row["p50 ms"] <= row["p50 ms, high"]
    assert row["floor ms"] > 0
    assert row["transformers"]["ratio"] > 0
    assert row["transformers-static"]["ratio"] > 0
    assert "transformers-compile" in rows["large, bf16, single stream, compiled"]


@pytest.mark.parametrize("name", ["fp16, offline", "float8, offline"])
def test_other_precisions(tmp_path: Path, name: str) -> None:
    [row] = rehearsed(tmp_path, "--only", name).values()
    assert row["images/s"] > 0


def test_stages_are_beside_their_floors(tmp_path: Path) -> None:
    rows = rehearsed(tmp_path, "--only", "stages")
    assert len(rows) == 2
    for row in rows.values():
        assert {name for name, line in row["stages"].items() if line["floor ms"]} >= {
            "transfer", "vision", "encoder", "prefill", "decode",
        }  # fmt: skip


def test_batches_of_several_sizes(tmp_path: Path) -> None:
    [row] = rehearsed(tmp_path, "--only", "batches").values()
    assert all(value > 0 for value in row["images/s"].values())


def test_each_part_is_left_out_by_turns(tmp_path: Path) -> None:
    [row] = rehearsed(tmp_path, "--only", "parts").values()
    assert all(found["equal answers"] > 0.5 for name, found in row.items() if name != "seconds")
    assert {name.split(",")[0] for name in row if name != "seconds"} == {
        "CUDA graphs", "Triton kernels", "fixed sizes", "Triton's normalisers and best words",
        "GELU in a pass of its own",
    }  # fmt: skip


def test_our_tower_is_beside_one_that_torch_compiles(tmp_path: Path) -> None:
    [row] = rehearsed(tmp_path, "--only", "compiled tower").values()
    assert row["equal answers"] == 1


def test_a_part_that_fails_is_named_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(system: Any) -> Any:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(gpu, "exact", broken)
    [row] = rehearsed(tmp_path, "--only", "parts").values()
    assert row["fixed sizes, 1 slots"]["failed"] == "RuntimeError: no such kernel"
    assert "raise RuntimeError" in row["fixed sizes, 1 slots"]["at"][-1]
    assert row["CUDA graphs, 1 slots"]["ratio"] > 0
    monkeypatch.setattr(gpu, "ROUNDS", 0)  # of no rounds there is no median: the row itself fails
    assert gpu.main(["--rehearse", "--out", str(tmp_path), "--only", "compiled tower"]) == 1


def test_what_there_was_no_time_for_is_named(tmp_path: Path) -> None:
    [row] = rehearsed(tmp_path, "--only", "base, bf16", "--minutes", "0.01").values()
    assert "s were left of the" in row["not measured"]


def test_rounds_end_where_time_does(tmp_path: Path) -> None:
    ground = gpu.Ground(torch.device("cpu"), time.monotonic() - 1, rehearsal=False)
    times, _ = rounds_of({"it": lambda: [[1]]}, gpu.ROUNDS, time.perf_counter, ground.go_on)
    assert len(times["it"]) == gpu.FEWEST


def test_it_needs_torch_transformers_and_numpy_alone(tmp_path: Path) -> None:
    """Whatever else the project depends on is hidden from it."""
    hidden = [
        "scipy", "PIL", "cv2", "pycocotools", "msgspec", "cyclopts", "matplotlib", "pydantic", "hotcoco", "simplejpeg",
        "lmdb", "pyarrow", "psutil", "peft", "tensorboard", "sklearn", "pandas",
    ]  # fmt: skip
    program = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({hidden}))\n"
        "runpy.run_path('benchmarks/gpu.py', run_name='__main__')"
    )
    asked = [sys.executable, "-c", program, "--rehearse", "--out", str(tmp_path), "--only", "kernels"]
    surroundings = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(asked, capture_output=True, text=True, check=False, env=surroundings)
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads((tmp_path / "gpu.json").read_text())["rows"]["kernels"]["correct"]


@pytest.mark.parametrize("capability", [80, 90])
def test_all_kernels_compile_for_a_gpu_that_is_not_at_hand(capability: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.compiled_kernels", str(capability)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in done.stdout.splitlines()]
    mine = {"_convolve_add_norm", "_add_norm", "_channel_products", "_attend_lineage", "_normalisers", "_candidates"}
    assert {one["kernel"] for one in made} == mine | {"_linear_gelu"} | ({"_to_float8"} if capability >= 89 else set())
    most = {80: 163, 90: 227}[
        capability
    ] * 1024  # bytes a block may have: CUDA C programming guide, compute capabilities
    assert all(one["shared"] <= most and one["target"].startswith(f"sm_{capability}") for one in made)


def test_without_a_gpu_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert gpu.main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "there is no GPU here: not measured\n"
    assert not list(tmp_path.iterdir())
