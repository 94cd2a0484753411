"""The records of `bench`."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import store
from harness.errors import DataError


def test_speed_records_round_trip_in_order_of_path(tmp_path: Path) -> None:
    later = store.keep_speed(tmp_path, "NVIDIA H200", "single/1", {"answers/s": 2.0})
    first = store.keep_speed(tmp_path, "AMD", "offline", {"answers/s": 1.0})
    assert later == tmp_path / "speed/NVIDIA_H200/single_1.json"
    assert first == tmp_path / "speed/AMD/offline.json"
    assert store.speeds(tmp_path) == [{"answers/s": 1.0}, {"answers/s": 2.0}]


def test_speed_record_replaces_an_earlier_one(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        store.keep_speed(tmp_path, "cpu", "offline", {"answers/s": value})
    assert store.speeds(tmp_path) == [{"answers/s": 2.0}]


def test_speeds_of_missing_folder_are_none_and_of_damaged_file_raise(tmp_path: Path) -> None:
    assert store.speeds(tmp_path) == []
    path = store.keep_speed(tmp_path, "cpu", "offline", {})
    path.write_text("{")
    with pytest.raises(DataError, match=r"offline\.json cannot be read as a record of `bench`"):
        store.speeds(tmp_path)
