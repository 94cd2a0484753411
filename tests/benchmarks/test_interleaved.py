"""Alternating rounds, and the record of their ratio."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import interleaved


def test_rounds_come_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_ROUNDS", raising=False)
    assert interleaved.rounds(5) == 5
    monkeypatch.setenv("BENCH_ROUNDS", "2")
    assert interleaved.rounds(5) == 2


def test_interleaved_reverses_order_and_leaves_out_first_round() -> None:
    calls: list[str] = []
    times = interleaved.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2}


def test_quote_records_median_of_ratios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratios of the rounds are 2, 4 and 3: the median is 3, which is not the ratio of the medians, 4 / 1."""
    path = tmp_path / "record.jsonl"
    monkeypatch.setattr(interleaved, "RECORD", str(path))
    benchmark = SimpleNamespace(extra_info={})
    times = {"ours": [1.0, 1.0, 2.0], "peer": [2.0, 4.0, 6.0]}
    interleaved.quote(benchmark, "work", times, ours="ours", theirs="peer", threads=2)
    [record] = [json.loads(line) for line in path.read_text().splitlines()]
    figures = {key: record[key] for key in ("name", "ratio", "least", "most", "ours s", "peer s", "rounds", "threads")}
    assert figures == {
        "name": "work", "ratio": 3.0, "least": 2.0, "most": 4.0, "ours s": 1.0, "peer s": 4.0, "rounds": 3,
        "threads": 2,
    }  # fmt: skip
    assert benchmark.extra_info["ours versus peer, ratio"] == 3.0
