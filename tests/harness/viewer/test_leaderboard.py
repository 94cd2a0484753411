"""Ranks by intervals, derived by hand in comments."""

from __future__ import annotations

from harness.core import Estimate
from harness.viewer.leaderboard import Place, places


def test_places_of_overlapping_and_separate_intervals() -> None:
    column = {
        "a": Estimate(80.0, 78.0, 82.0, 9),  # above b, c and d
        "b": Estimate(70.0, 66.0, 74.0, 9),  # below a; overlaps c; above d
        "c": Estimate(68.0, 64.0, 72.0, 9),  # below a; overlaps b; above d
        "d": Estimate(50.0, 40.0, 60.0, 9),  # below all
    }
    assert places(column) == {
        "a": Place(1, 1, True), "b": Place(2, 3, False), "c": Place(2, 3, False), "d": Place(4, 4, False),
    }  # fmt: skip


def test_no_model_is_best_where_the_highest_overlaps_another() -> None:
    found = places({"a": Estimate(80.0, 70.0, 90.0, 9), "b": Estimate(75.0, 65.0, 85.0, 9)})
    assert found == {"a": Place(1, 2, False), "b": Place(1, 2, False)}


def test_places_of_many_models_are_those_of_a_plain_count() -> None:
    ends = {f"m{number}": (number * 7 % 50, number * 7 % 50 + number % 9) for number in range(60)}
    found = places({name: Estimate(low + 0.5, low, high, 9) for name, (low, high) in ends.items()})
    for name, (low, high) in ends.items():
        better = sum(other_low > high for other_low, _ in ends.values())
        worse = sum(other_high < low for _, other_high in ends.values())
        assert found[name] == Place(1 + better, 60 - worse, worse == 59)


def test_model_alone_or_without_interval_has_no_claim() -> None:
    assert places({"a": Estimate(80.0, 70.0, 90.0, 9)}) == {"a": Place(1, 1, False)}
    assert places({"a": Estimate(80.0, None, None, 9), "b": Estimate(None, None, None, 0)}) == {}
    touching = places({"a": Estimate(2.0, 1.0, 3.0, 9), "b": Estimate(0.5, 0.0, 1.0, 9)})
    assert not touching["a"].best  # the intervals share the point 1.0
