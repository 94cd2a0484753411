"""The public Python functions: plain values in, values out, and the command line's numbers."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import harness
from harness.cli import main
from harness.errors import UsageError
from harness.evaluation.request import Request


def test_evaluate_takes_every_choice_of_a_request() -> None:
    """But for how it was called: `command` is the command line's alone, and `options` are keywords.

    `executor` is short for a `spread`.
    """
    of_request = set(inspect.signature(Request).parameters) - {"command", "options"}
    assert of_request == set(inspect.signature(harness.evaluate).parameters) - {"options", "executor"}


def test_value_is_the_run_that_the_command_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    run = harness.evaluate("refcoco", "whole-image", data="miniature", limit=5, seed=3, out=tmp_path / "a")
    given = ["--task", "refcoco", "--model", "whole-image", "--data", "miniature", "--limit", "5", "--seed", "3"]
    assert main(["run", *given, "--out", str(tmp_path / "b"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["id"] == run.id
    assert {name: one["value"] for name, one in record["metrics"].items()} == {
        name: one.value for name, one in run.metrics.items()
    }


def test_comparison_and_frame_of_runs(tmp_path: Path) -> None:
    floor, ceiling = (
        harness.evaluate("refcoco", model, data="miniature", limit=5, out=tmp_path)
        for model in ("whole-image", "oracle")
    )
    [found] = harness.compare(floor, ceiling, out=tmp_path)
    assert found.metrics["Acc@0.5"].b == 100
    assert found.metrics["Acc@0.5"].a == pytest.approx(floor.metrics["Acc@0.5"].value)
    frame = harness.read_runs(tmp_path)
    row = frame[(frame["model"] == "oracle") & (frame["metric"] == "mIoU")]
    assert list(row["value"]) == [ceiling.metrics["mIoU"].value]


def test_options_of_a_loaded_model_are_its_own_unless_given(tmp_path: Path) -> None:
    model = harness.load_model("florence2-nano", beams=1)
    own = harness.evaluate("vizwiz", model, data="miniature", limit=1, out=tmp_path)
    other = harness.evaluate("vizwiz", model, data="miniature", limit=1, beams=2, out=tmp_path)
    by_name = harness.evaluate("vizwiz", "florence2-nano", data="miniature", limit=1, beams=1, out=tmp_path)
    assert own.spec.fingerprint == by_name.spec.fingerprint != other.spec.fingerprint
    with pytest.raises(UsageError, match="has no option 'beam'"):
        harness.evaluate("vizwiz", model, data="miniature", limit=1, beam=2, out=tmp_path)


def test_executor_ray_is_a_spread_and_another_name_is_a_line(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    alone = harness.evaluate("refcoco", "centre-box", data="miniature", limit=5, out=tmp_path / "a")
    spread = harness.evaluate("refcoco", "centre-box", data="miniature", limit=5, out=tmp_path / "b", executor="ray")
    assert (spread.metrics, spread.id) == (alone.metrics, alone.id)
    assert spread.provenance["model"]["executor"]["workers"] >= 1
    with pytest.raises(UsageError, match="executor='dask': 'local', in this process, or 'ray'"):
        harness.evaluate("refcoco", "centre-box", data="miniature", out=tmp_path, executor="dask")
