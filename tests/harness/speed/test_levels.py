"""Levels by name, and the number of queries at a rate."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.speed import levels
from harness.speed.levels import Level


def test_find_known_name_returns_level() -> None:
    assert levels.find("official").seconds == 600


def test_find_unknown_name_lists_names() -> None:
    with pytest.raises(UsageError, match="one of smoke, default, official"):
        levels.find("long")


@pytest.mark.parametrize(("rate", "queries"), [(2.0, 40), (5.0, 50)])
def test_queries_of_server_run_reach_seconds_and_count(rate: float, queries: int) -> None:
    """10 s at 2 per second are 20 queries, fewer than the least 40; at 5 per second they are 50."""
    assert Level("short", 10.0, 40, 2, 3).queries(rate) == queries
