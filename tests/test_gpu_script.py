"""`benchmarks/gpu.py` without a GPU: its rehearsal runs every row on a CPU, with a tiny network."""

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

ROOT = Path(gpu.__file__).parents[1]


@pytest.fixture(autouse=True)
def constant_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script seeds from the clock; tests must not."""
    monkeypatch.setattr(time, "time_ns", lambda: 1)


def rehearsed(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """The rows of a rehearsal that succeeds."""
    status = gpu.main(["--rehearse", "--out", str(tmp_path), *arguments])
    record: dict[str, Any] = json.loads((tmp_path / "gpu.json").read_text())
    assert record["rehearsal"]
    assert status == 0, record
    return dict(record["rows"])


def test_tokens_row_has_no_differing_answer(tmp_path: Path) -> None:
    tokens = rehearsed(tmp_path, "--only", "tokens")["tokens"]
    assert tokens["correct"]
    systems = ("transformers", "1 slots", "3 slots", "8 slots")
    assert tokens["answers that differ"] == {
        f"{mode}, {system}": 0 for mode in ("ends early", "ends late") for system in systems
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton's interpreter is used only without a GPU")
def test_kernels_row_compares_every_kernel_and_fails_for_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert gpu.main(["--rehearse", "--out", str(tmp_path), "--only", "kernels"]) == 1
    assert not json.loads((tmp_path / "gpu.json").read_text())["rows"]["kernels"]["correct"]


def test_offline_row_has_both_systems_and_the_floor(tmp_path: Path) -> None:
    rows = rehearsed(tmp_path, "--only", "large, bf16, offline")
    assert set(rows["large, bf16, offline, compiled"]) >= {"images/s", "transformers-compile, batch 64"}
    row = rows["large, bf16, offline"]
    assert row["images/s"] > 0
    assert row["images/s at the floor"] > 0
    assert row["transformers, batch 64"]["ratio"] > 0
    assert row["transformers-static, batch 16"]["least"] <= row["transformers-static, batch 16"]["most"]


def test_single_stream_row_has_ratios_to_transformers_of_every_mode(tmp_path: Path) -> None:
    rows = rehearsed(tmp_path, "--only", "single stream")
    row = rows["large, bf16, single stream"]
    assert row["p50 ms, low"] <= row["p50 ms"] <= row["p50 ms, high"]
    assert row["floor ms"] > 0
    assert row["transformers"]["ratio"] > 0
    assert row["transformers-static"]["ratio"] > 0
    assert "transformers-compile" in rows["large, bf16, single stream, compiled"]


@pytest.mark.parametrize("name", ["fp16, offline", "float8, offline"])
def test_offline_row_of_another_precision_has_a_throughput(tmp_path: Path, name: str) -> None:
    [row] = rehearsed(tmp_path, "--only", name).values()
    assert row["images/s"] > 0


def test_stages_rows_have_a_floor_for_every_stage(tmp_path: Path) -> None:
    rows = rehearsed(tmp_path, "--only", "stages")
    assert len(rows) == 2
    for row in rows.values():
        assert {name for name, line in row["stages"].items() if line["floor ms"]} >= {
            "transfer", "vision", "encoder", "prefill", "decode",
        }  # fmt: skip


def test_batches_row_has_a_throughput_for_every_number_of_slots(tmp_path: Path) -> None:
    [row] = rehearsed(tmp_path, "--only", "batches").values()
    assert all(value > 0 for value in row["images/s"].values())


def test_parts_row_leaves_out_each_part_in_turn(tmp_path: Path) -> None:
    [row] = rehearsed(tmp_path, "--only", "parts").values()
    assert all(part["equal answers"] > 0.5 for name, part in row.items() if name != "seconds")
    assert {name.split(",")[0] for name in row if name != "seconds"} == {
        "CUDA graphs", "Triton kernels", "fixed sizes", "Triton's normalisers and best words",
        "GELU in a pass of its own",
    }  # fmt: skip


def test_compiled_tower_row_has_equal_answers(tmp_path: Path) -> None:
    [row] = rehearsed(tmp_path, "--only", "compiled tower").values()
    assert row["equal answers"] == 1


def test_part_that_fails_is_named_and_the_other_parts_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(system: Any) -> Any:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(gpu, "exact", broken)
    [row] = rehearsed(tmp_path, "--only", "parts").values()
    assert row["fixed sizes, 1 slots"]["failed"] == "RuntimeError: no such kernel"
    assert "raise RuntimeError" in row["fixed sizes, 1 slots"]["at"][-1]
    assert row["CUDA graphs, 1 slots"]["ratio"] > 0
    monkeypatch.setattr(gpu, "ROUNDS", 0)  # no rounds have no median, so the row fails
    assert gpu.main(["--rehearse", "--out", str(tmp_path), "--only", "compiled tower"]) == 1


def test_row_without_enough_time_is_named_as_not_measured(tmp_path: Path) -> None:
    [row] = rehearsed(tmp_path, "--only", "base, bf16", "--minutes", "0.01").values()
    assert "s were left of the" in row["not measured"]


def test_rounds_after_the_deadline_are_the_fewest(tmp_path: Path) -> None:
    ground = gpu.Ground(torch.device("cpu"), time.monotonic() - 1, rehearsal=False)
    times, _ = rounds_of({"side": lambda: [[1]]}, gpu.ROUNDS, time.perf_counter, ground.go_on)
    assert len(times["side"]) == gpu.FEWEST


def test_script_runs_without_any_dependency_but_torch_transformers_and_numpy(tmp_path: Path) -> None:
    hidden = [
        "scipy", "PIL", "cv2", "pycocotools", "msgspec", "cyclopts", "matplotlib", "pydantic", "hotcoco", "simplejpeg",
        "lmdb", "pyarrow", "psutil", "peft", "tensorboard", "sklearn", "pandas",
    ]  # fmt: skip
    program = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({hidden}))\n"
        f"runpy.run_path({gpu.__file__!r}, run_name='__main__')"
    )
    command = [sys.executable, "-c", program, "--rehearse", "--out", str(tmp_path), "--only", "compiled tower"]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert process.returncode == 0, process.stderr + process.stdout
    [row] = json.loads((tmp_path / "gpu.json").read_text())["rows"].values()
    assert row["equal answers"] == 1


@pytest.mark.parametrize("capability", [80, 90])
def test_every_kernel_compiles_for_a_capability_within_its_shared_memory(capability: int) -> None:
    command = [sys.executable, "-m", "tests.compiled_kernels", str(capability)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert process.returncode == 0, process.stderr
    compiled = [json.loads(line) for line in process.stdout.splitlines()]
    expected = {
        "_convolve_add_norm", "_add_norm", "_channel_products", "_attend_lineage", "_normalisers", "_candidates",
        "_linear_gelu",
    }  # fmt: skip
    expected |= {"_to_float8"} if capability >= 89 else set()
    assert {kernel["kernel"] for kernel in compiled} == expected
    # The largest shared memory of a thread block, from the CUDA C++ programming guide's table of compute capabilities.
    limit = {80: 163, 90: 227}[capability] * 1024
    assert all(kernel["shared"] <= limit for kernel in compiled)
    assert all(kernel["target"].startswith(f"sm_{capability}") for kernel in compiled)


def test_script_without_a_gpu_measures_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert gpu.main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "there is no GPU here: not measured\n"
    assert not list(tmp_path.iterdir())
