"""The shards of a run as text: which were asked, which are missing, and the next command."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from harness.core import Run
from harness.errors import UsageError
from harness.report import text
from harness.shards import Shard, parse
from harness.store import RunFolder

ASKED = "asked"
MOST_LISTED, MOST_NAMED = 32, 10


@dataclass(frozen=True, slots=True)
class Part:
    """A shard that was started, with its folder and its record.

    The states are asked (every question answered), incomplete (some failed), running, and interrupted.
    """

    shard: Shard
    state: str
    folder: RunFolder
    record: Run

    @property
    def answered(self) -> int:
        """The number of stored answers; the record has it once the shard has ended."""
        counted = self.record.counts.get("answered")
        return len(self.folder.answers()) if counted is None else counted


def parts_of(shards: Sequence[tuple[RunFolder, Run]]) -> list[Part]:
    """The parts of a run, in order of count and number; a record that names no shard is left out."""
    parts = []
    for folder, record in shards:
        try:
            shard = parse(str(record.provenance.get("shard", "")))
        except UsageError:
            continue  # `merge` logs it
        state = {"incomplete": "incomplete", "running": "running" if folder.busy else "interrupted"}
        parts.append(Part(shard, state.get(record.status, ASKED), folder, record))
    return sorted(parts, key=lambda part: (part.shard.count, part.shard.number))


def missing(parts: Sequence[Part]) -> tuple[int, list[Shard]]:
    """The count of which most shards were started, and the shards of this count that are left to ask.

    A shard is also asked where shards of another count contain it: 1/2 contains 1/4 and 3/4.
    """
    counts = Counter(part.shard.count for part in parts)
    count = max(counts, key=lambda each: (counts[each], each), default=0)
    asked = {part.shard for part in parts if part.state == ASKED}
    return count, [shard for number in range(1, count + 1) if not _covered(shard := Shard(number, count), asked)]


def _covered(shard: Shard, asked: Collection[Shard]) -> bool:
    """Whether all images of a shard are in an asked one of the same count or a divisor, or in those of a multiple."""
    counts = {each.count for each in asked}
    if any(Shard((shard.number - 1) % count + 1, count) in asked for count in counts if shard.count % count == 0):
        return True
    larger = (count for count in counts if count > shard.count and count % shard.count == 0)
    return any(
        all(_covered(Shard(number, count), asked) for number in range(shard.number, count + 1, shard.count))
        for count in larger
    )


def brief(parts: Sequence[Part]) -> str:
    """How many shards are asked: `2 of 3 shards`."""
    count, left = missing(parts)
    return f"{count - len(left)} of {count} shards"


def describe(parts: Sequence[Part], *, merged: bool) -> str:
    """A table of the shards; unless they are `merged` into a finished run, those that are missing and what to do.

    Of many shards, the table has those that are not asked.
    """
    listed = parts if len(parts) <= MOST_LISTED else [part for part in parts if part.state != ASKED]
    rows = [_row(part) for part in listed]
    lines = [f"asked: {brief(parts)}"]
    lines += [text.table(("shard", "state", "answered", "failed", "age"), rows)] if rows else []
    if not merged:
        lines += _next(parts)
    return "\n".join(lines)


def _row(part: Part) -> tuple[str, ...]:
    age = text.age(str(part.record.provenance.get("date", "")), time.time())
    return str(part.shard), part.state, f"{part.answered:,}", f"{part.record.counts.get('failed', 0):,}", age


def _next(parts: Sequence[Part]) -> list[str]:
    """The missing shards and the next command, a line each."""
    _, left = missing(parts)
    states = {part.shard: part.state for part in parts}
    never = [shard for shard in left if shard not in states]
    again = [shard for shard in left if states.get(shard, "running") != "running"]
    lines = [f"not here: {_named(never)}"] if never else []
    lines += [f"to resume: {_named(again)}"] if again else []
    if never or again:
        first = f"`run` with --shard {[*again, *never][0]}" + (" and so on" if len(never + again) > 1 else "")
        lines.append(f"next: {first}, then `merge`; or `merge` now, then `run` without --shard for the rest")
    else:
        lines.append("next: `merge`" + (" when the running shards have ended" if left else ""))
    return lines


def _named(shards: Sequence[Shard]) -> str:
    more = f" and {len(shards) - MOST_NAMED} more" if len(shards) > MOST_NAMED else ""
    return ", ".join(map(str, shards[:MOST_NAMED])) + more
