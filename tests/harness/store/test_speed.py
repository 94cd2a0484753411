"""The records of `bench`: kept, replaced, and checked on reading."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.errors import DataError
from harness.report import speed
from tests.speeds import PEER, STAGES, record

RESULTS = Path(__file__).parents[3] / "results"


def test_speed_records_round_trip_in_order_of_path(tmp_path: Path) -> None:
    two, one = record(seconds=2.0), record(seconds=1.0)
    later = store.keep_speed(tmp_path, "NVIDIA H200", "single/1", two)
    first = store.keep_speed(tmp_path, "AMD", "offline", one)
    assert later == tmp_path / "speed/NVIDIA_H200/single_1.json"
    assert first == tmp_path / "speed/AMD/offline.json"
    assert store.speeds(tmp_path) == [one, two]


def test_speed_record_replaces_an_earlier_one(tmp_path: Path) -> None:
    for seconds in (1.0, 2.0):
        store.keep_speed(tmp_path, "cpu", "offline", record(seconds=seconds))
    assert store.speeds(tmp_path) == [record(seconds=2.0)]


@pytest.mark.parametrize("text", ["{", "[]", "null", "3", "{}", '{"device": "cpu"}', "[" * 100_000])
def test_damaged_or_foreign_speed_record_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    assert store.speeds(tmp_path) == []
    store.keep_speed(tmp_path, "cpu", "a", record())
    path = store.keep_speed(tmp_path, "cpu", "b", record())
    path.write_text(text)
    assert store.speeds(tmp_path) == [record()]
    [line] = caplog.messages
    assert line.startswith(f"left out: {path} is not a record of `bench`: ")
    with pytest.raises(DataError, match="remove it, or measure again"):
        store.read_speed(path)


def test_every_committed_speed_record_is_read() -> None:
    paths = sorted((RESULTS / "speed").glob("*/*.json"))
    assert paths and store.speeds(RESULTS) == [json.loads(path.read_bytes()) for path in paths]


REPLACEMENTS = (None, [], [1], {}, "x", "", True, -5, 0, 1e300)


def _variants(value: Any) -> Iterator[Any]:
    """The value with each of its fields, at any depth, replaced by each of REPLACEMENTS, and removed."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        for inner in (*REPLACEMENTS, *_variants(value[key])):
            changed = copy.copy(value)
            changed[key] = inner
            yield changed
        changed = copy.copy(value)
        del changed[key]
        yield changed


def test_record_with_any_field_replaced_is_refused_or_reported(tmp_path: Path) -> None:
    """Whatever is read can be written as text, table and figures."""
    whole = record(**STAGES, against={"transformers": PEER, "other": {"cannot run": "too old"}})
    path = store.keep_speed(tmp_path, "cpu", "x", whole)
    accepted = [store.read_speed(path)]
    refused = 0
    for changed in _variants(whole):
        path.write_text(json.dumps(changed))
        try:
            accepted.append(store.read_speed(path))
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    for place, one in enumerate(accepted):
        assert speed.markdown([one])
        assert speed.describe(one)
        if place % 150 == 0:  # figures take long
            speed.render([whole, one], tmp_path / "report")
    assert len(accepted) > 100 and refused > 500
