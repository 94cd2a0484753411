"""`bench --model endpoint`, against a loopback server that streams."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from tests.loopback import Asked, serving

FIRST = b'data: {"choices": [{"delta": {"content": "a "}, "finish_reason": null}]}\n\n'
REST = (
    b'data: {"choices": [{"delta": {"content": "cat"}, "finish_reason": "stop"}]}\n\n'
    b'data: {"choices": [], "usage": {"completion_tokens": 5}}\n\ndata: [DONE]\n\n'
)


def streaming(asked: Asked, number: int) -> None:
    """Text after 10 ms, and the end 30 ms later."""
    time.sleep(0.01)
    asked.send(FIRST, length=len(FIRST + REST))
    asked.handler.wfile.flush()
    time.sleep(0.03)
    asked.handler.wfile.write(REST)


def bench(capsys: pytest.CaptureFixture[str], folder: Path, url: str, *more: str) -> tuple[int, Any, str]:
    arguments = ["bench", "--model", "endpoint", "--base-url", url, "--served", "m", "--data", "miniature", "--images",
                 "6", "--level", "smoke", "--out", str(folder / "results"), "--to", str(folder / "speed"), "--json",
                 *more]  # fmt: skip
    status = main(arguments)
    outcome = capsys.readouterr()
    return status, json.loads(outcome.out) if outcome.out else None, outcome.err


def test_single_stream_measures_latency_and_first_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(streaming) as server:
        status, record, err = bench(capsys, tmp_path, server.url)
    assert status == 0, err
    assert 0.04 <= record["latency s"]["p50"]["value"] < 0.12
    assert 0.01 <= record["latency s"]["first text p50"]["value"] < record["latency s"]["p50"]["value"] - 0.02
    assert record["throughput"]["tokens an answer"] == 5
    assert record["settings"]["batch size"] == 1 and record["device"] == server.url
    assert all(asked.body["stream"] and asked.body["stream_options"] for asked in server.asked)
    assert "endpoint" in (tmp_path / "speed/speed.md").read_text()


def test_server_scenario_has_goodput_under_poisson_arrivals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(streaming) as server:
        more = ("--scenario", "server", "--rate", "20", "--target", "0.5", "--batch-size", "16")
        status, record, err = bench(capsys, tmp_path, server.url, *more)
    assert status == 0, err
    assert 0 < record["throughput"]["goodput/s"] <= record["throughput"]["images/s"]
    assert record["settings"]["rate"] == 20 and "p50" in record["latency s"]


@pytest.mark.parametrize(("more", "message"), [
    (("--new-tokens", "5"), "a server decides when an answer ends"),
    (("--weights", "random"), "takes no such setting"),
    (("--against", "transformers"), "a model on another machine has no peers here"),
])  # fmt: skip
def test_setting_that_a_server_does_not_have_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, str], message: str
) -> None:
    status, _, err = bench(capsys, tmp_path, "http://127.0.0.1:1/v1", *more)
    assert status == 2 and message in err


def test_query_that_fails_ends_the_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda asked, number: asked.send(b"", 503)) as server:
        status, _, err = bench(capsys, tmp_path, server.url)
    assert status == 6 and "did not answer a query of the benchmark: status 503" in err
