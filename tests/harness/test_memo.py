"""A result that is kept for the latest argument."""

from __future__ import annotations

from harness.memo import of_latest


def test_result_is_kept_for_the_same_object_and_computed_for_an_equal_one() -> None:
    calls = []

    @of_latest
    def length(names: tuple[str, ...]) -> int:
        calls.append(names)
        return len(names)

    one, equal, other = ("a", "b"), tuple("ab"), ("c",)
    assert [length(one), length(one), length(equal), length(other), length(other)] == [2, 2, 2, 1, 1]
    assert len(calls) == 3
