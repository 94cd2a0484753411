"""bench as a person types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.cli import bench
from harness.evaluation import benchmark, sweep
from harness.evaluation.benchmark import Plan, Point
from harness.florence2.fast.choose import accelerated
from harness.speed.systems import in_fewer_bits, in_transformers
from tests.speeds import record as speed_record
from tests.twins import twins

Call = Callable[..., tuple[int, str, str]]
NANO = ("bench", "--model", "florence2-nano-ft", "--data", "miniature", "--level", "smoke", "--images", "2")


@pytest.mark.parametrize(("arguments", "complaint"), [
    (("--rate", "3"), "--rate and --target belong to --scenario server"),
    (("--scenario", "server"), "needs --target SECONDS"),
    (("--scenario", "server", "--target", "-1"), "--target -1.0: above 0"),
    (("--scenario", "offline", "--batch-size", "two"), "--batch-size two: a whole number"),
    (("--batch-size", "4"), "--batch-size 4: single_stream has one query at a time; offline and server"),
    (("--against", "vllm"), "one of transformers, transformers-static, transformers-compile, onnxruntime, openvino"),
    (("--against", "onnxruntime", "--dtype", "bfloat16"), "--against onnxruntime: no bfloat16 on a CPU"),
    (("--weights", "random", "--backend", "openvino"), "--backend openvino needs a checkpoint; --against openvino"),
    (("--dtype", "int4"), "one of float32, bfloat16, float16, int8, float8"),
    (("--weights", " "), "--weights is empty"),
    (("--weights", "random", "--resolution", "8"), "at least 32 pixels"),
    (("--weights", "random", "--beams", "0"), "--beams 0: at least 1"),
    (("--weights", "random", "--new-tokens", "9999"), "positions for 256"),
])  # fmt: skip
def test_impossible_options_are_refused(call: Call, arguments: tuple[str, ...], complaint: str) -> None:
    status, _, said = call(*NANO, *arguments)
    assert status == 2
    assert complaint in said


def test_missing_device_and_model_without_network_are_refused(call: Call) -> None:
    status, _, said = call(*NANO, "--device", "cuda:99")
    assert (status, "cannot be used here" in said) == (6, True)
    status, _, said = call("bench", "--model", "oracle")
    assert (status, "oracle answers with the targets: there is no time to measure" in said) == (2, True)


def test_sweep_writes_one_record_per_point_and_a_report(call: Call, tmp_path: Path) -> None:
    status, out, said = call(*NANO, "--scenario", "offline", "--batch-size", "1,2", "--new-tokens", "4", "--json")
    assert status == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["settings"]["batch size"] for record in records] == [1, 2]
    assert len(list((tmp_path / "results/speed").glob("*/*.json"))) == 2
    for record in records:
        assert record["throughput"]["tokens an answer"] == 4
        assert record["queries"] >= 8
        assert record["answers that differ"] == 0
        stages = {line["stage"]: line for line in record["stages"]["lines"]}
        assert set(stages) == {"open", "transfer", "vision", "encoder", "prefill", "decode", "parsing"}
        assert all(stages[name]["floor s"] > 0 for name in ("vision", "encoder", "prefill", "decode"))
        assert record["stages"]["steps"] == 3  # the first of four tokens is given
    outcome = (tmp_path / "reports/speed/speed.md").read_text()
    assert outcome.count("florence2-nano-ft") == 2
    assert said == "report: reports/speed/speed.md"
    for name in ("stages", "roofline", "scaling"):
        assert (tmp_path / f"reports/speed/{name}.png").stat().st_size > 5_000


@pytest.mark.parametrize(("sweep", "settings"), [
    (("--scenario", "offline", "--images", "1,3", "--batch-size", "1,2"), {
        ("images", "batch size"): [(1, 1), (1, 1), (3, 1), (3, 2)],  # of one image no two at once
    }),
    (("--beams", "1,2", "--dtype", "float32,int8"), {
        ("beams", "dtype"): [(1, "float32"), (1, "int8"), (2, "float32"), (2, "int8")],
    }),
    (("--task", "coco_caption,refcoco", "--resolution", "96,128"), {
        ("task", "resolution"): [
            (task, f"{side}x{side}") for task in ("coco_caption", "refcoco") for side in (96, 128)
        ],
    }),
])  # fmt: skip
def test_sweep_measures_every_combination_of_listed_values(
    call: Call, sweep: tuple[str, ...], settings: dict[tuple[str, str], list[tuple[Any, Any]]]
) -> None:
    nano = NANO[:-2] if "--images" in sweep else NANO
    status, out, _ = call(*nano, *sweep, "--new-tokens", "3", "--no-stages", "--json")
    assert status == 0
    outcome = [json.loads(line) for line in out.splitlines()]
    records = [{**one["settings"], "images": int(one["set"].split()[0])} for one in outcome]
    for (one, other), expected in settings.items():
        assert [(record[one], record[other]) for record in records] == expected


def test_lack_of_memory_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(benchmark, "_staged", short)
    status, _, said = call(*NANO, "--new-tokens", "2")
    assert (status, "does not fit in memory: try a smaller --batch-size" in said) == (6, True)


def test_rate_above_capacity_is_one_line(call: Call) -> None:
    status, _, said = call(*NANO, "--scenario", "server", "--rate", "1e9", "--no-stages")
    assert (status, "--rate 1e+09 cannot be held: all at once, about" in said) == (2, True)


def test_interrupted_sweep_resumes_and_finished_sweep_restarts(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the second of three points is measured."""
    measured: list[int | None] = []

    def point(plan: Plan, wanted: Point, *given: Any) -> dict[str, Any]:
        if measured == [1]:
            measured.append(None)
            raise KeyboardInterrupt
        measured.append(wanted.batch_size)
        return speed_record(settings={"batch size": wanted.batch_size})

    monkeypatch.setattr(sweep, "measure", point)
    monkeypatch.setattr(bench.shown, "describe", lambda record: "a point")
    monkeypatch.setattr(bench.shown, "render", lambda records, to: None)
    asked = (*NANO, "--scenario", "offline", "--batch-size", "1,2,4")
    status, _, said = call(*asked)
    assert (status, said) == (130, "error: interrupted; finished work is kept; run the same command again to resume")
    kept = (tmp_path / "results/speed").glob("*/*.json")
    assert len(list(kept)) == 1
    assert call(*asked)[0] == 0
    assert measured == [1, None, 2, 4]
    assert not list((tmp_path / "results/speed").glob("*.json"))  # nothing tells of an interruption any more
    assert call(*asked)[0] == 0
    assert measured == [1, None, 2, 4, 1, 2, 4]


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_peer_of_quantised_model_has_full_weights(call: Call, dtype: str) -> None:
    """Of trained weights nearly all answers are alike, of drawn ones none would be."""
    status, out, _ = call(*NANO, "--dtype", dtype, "--against", "transformers", "--no-stages", "--json")
    assert status == 0
    assert json.loads(out)["against"]["transformers"]["equal"] >= 0.5


def test_quantised_peer_is_refused() -> None:
    """transformers draws what a checkpoint lacks, and only warns."""
    model = accelerated(twins().ours, torch.device("cpu"), torch.int8)
    assert in_fewer_bits(model)
    with pytest.raises(ValueError, match="not all weights are the model's"):
        in_transformers(model)


def test_peer_generates_equal_tokens_and_failing_peer_is_reported(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = (*NANO[:3], "--weights", "random", *NANO[5:], "--new-tokens", "6", "--no-stages")
    status, out, _ = call(*random, "--against", "transformers,transformers-static", "--json")
    assert status == 0
    record = json.loads(out)
    for name in ("transformers", "transformers-static"):
        found = record["against"][name]
        assert found["equal"] == 1.0
        assert found["ratio"]["value"] > 0
        assert not any("unequal" in reason for reason in found["reasons"])

    assert record["against"]["transformers"]["different"] == 2
    assert len(list((tmp_path / "results/speed").glob("*/*.json"))) == 1
    assert call(*random)[0] == 0
    assert len(list((tmp_path / "results/speed").glob("*/*.json"))) == 2  # the comparison is not written over

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setattr("harness.speed.systems.in_transformers", broken)
    status, out, _ = call(*random, "--against", "transformers")
    assert status == 0
    assert "versus transformers: cannot run here (no kernel)" in out
