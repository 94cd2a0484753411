"""The command `serve`, and `run --model endpoint` against it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.cli.calling import ROOT, Call


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a `serve` process."""
    command = [sys.executable, "-m", "harness", "serve", "--model", "florence2-nano", "--port", "0", "--device", "cpu"]
    settings: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    settings["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # background shells ignore it
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **settings) as process:
        assert process.stdout is not None
        found = re.search(r"serving florence2-nano at (http://127\.0\.0\.1:\d+/v1)", process.stdout.readline())
        assert found is not None
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "stopped\n"
        assert process.wait(timeout=60) == 0


def record(here: Call, *arguments: str) -> dict[str, Any]:
    outcome = here("run", *arguments, "--data", "miniature", "--limit", "4", "--json")
    assert outcome.status == 0, outcome.err
    read: dict[str, Any] = json.loads(outcome.out)
    return read


@pytest.mark.parametrize("task", ["coco_caption", "refcoco", "refcoco_res", "coco_detection", "vqav2"])
def test_endpoint_has_the_metrics_of_the_served_model(here: Call, url: str, task: str) -> None:
    own = record(here, "--task", task, "--model", "florence2-nano", "--device", "cpu")
    far = record(
        here, "--task", task, "--model", "endpoint", "--base-url", url, "--served", "florence2-nano", "--prompts",
        "florence2", "--logprobs",
    )  # fmt: skip
    assert far["counts"] == own["counts"]
    for name, estimate in own["metrics"].items():
        assert far["metrics"][name]["value"] == pytest.approx(estimate["value"], abs=1e-6), name


@pytest.mark.parametrize(("model", "status", "message"), [
    ("oracle", 2, "serve cannot serve oracle; it serves Florence-2 models"),
    ("nothing", 2, "no model is called 'nothing'"),
])  # fmt: skip
def test_model_that_cannot_be_served_is_refused(here: Call, model: str, status: int, message: str) -> None:
    outcome = here("serve", "--model", model, "--port", "0")
    assert outcome.status == status and message in outcome.complaint
