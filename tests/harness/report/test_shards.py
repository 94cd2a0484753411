"""The shards of a run as text: missing ones are found as a plain count of images finds them."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from harness.report import shards
from harness.report.shards import ASKED, Part
from harness.shards import Shard
from harness.store import RunFolder
from tests.harness.report.runs import a_run


def part(number: int, count: int, state: str = ASKED) -> Part:
    return Part(Shard(number, count), state, RunFolder(Path("nowhere")), a_run())


def test_missing_shards_of_mixed_counts_are_those_with_an_image_that_no_shard_has() -> None:
    """Counts that divide each other, against the places of 48 images: shard n of c has each place % c == n - 1."""
    draw = Random(0)
    for _ in range(300):
        started = {Shard(draw.randint(1, count), count) for count in draw.choices((1, 2, 4, 8, 16), k=9)}
        parts = [part(shard.number, shard.count) for shard in started]
        places = {place for shard in started for place in range(shard.number - 1, 48, shard.count)}
        count, left = shards.missing(parts)
        assert count in {shard.count for shard in started}
        assert left == [
            Shard(number, count)
            for number in range(1, count + 1)
            if not set(range(number - 1, 48, count)) <= places
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([part(1, 3), part(3, 3)], "2 of 3 shards"),
        ([part(1, 2), part(3, 4), part(2, 4), part(4, 4)], "4 of 4 shards"),
        ([part(1, 2, "interrupted"), part(2, 2, "incomplete")], "0 of 2 shards"),
        ([], "0 of 0 shards"),
    ],
)
def test_brief_counts_only_shards_with_every_answer(parts: list[Part], expected: str) -> None:
    assert shards.brief(parts) == expected


def lines_of(*parts: Part, merged: bool = False) -> list[str]:
    return shards.describe(parts, merged=merged).splitlines()


def test_next_command_names_shards_to_resume_before_those_never_started() -> None:
    lines = lines_of(part(1, 4), part(2, 4, "interrupted"), part(4, 4, "running"))
    assert lines[-3:] == [
        "not here: 3/4",
        "to resume: 2/4",
        "next: `run` with --shard 2/4 and so on, then `merge`; or `merge` now, then `run` without --shard for the rest",
    ]


def test_next_command_is_merge_when_all_are_asked_or_running() -> None:
    assert lines_of(part(1, 2), part(2, 2))[-1] == "next: `merge`"
    assert lines_of(part(1, 2), part(2, 2, "running"))[-1] == "next: `merge` when the running shards have ended"
    assert lines_of(part(1, 2), merged=True)[-1].startswith("1/2")


def test_many_shards_are_listed_only_where_they_are_not_asked() -> None:
    parts = [part(number, 100, "interrupted" if number == 7 else ASKED) for number in range(1, 90)]
    lines = lines_of(*parts)
    assert [line.split()[:2] for line in lines[2:3]] == [["7/100", "interrupted"]]
    assert (
        lines[3]
        == "not here: 90/100, 91/100, 92/100, 93/100, 94/100, 95/100, 96/100, 97/100, 98/100, 99/100 and 1 more"
    )
    assert len(lines) == 6
