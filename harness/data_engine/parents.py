"""What becomes of an annotation whose parent is not kept: the last stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.data_engine.records import Record, Verdict


@dataclass(frozen=True, kw_only=True)
class Parents:
    """Drops an annotation if a parent was dropped, or is not there.

    A parent that was merged or superseded is followed to what took its place.  A box that was merged from others keeps
    itself: its parents are what it replaced.
    """

    name: ClassVar[str] = "parents"
    version: ClassVar[int] = 1

    def __call__(self, record: Record) -> Record:
        """The record with a verdict on each annotation that lost a parent, and on those that lost it thereby."""
        status = record.status()
        known = {annotation.id for annotation in record.annotations}
        verdicts: dict[str, Verdict] = {}

        def is_lost(id_: str) -> bool:
            seen = set()
            while id_ in known and id_ not in seen:
                seen.add(id_)
                verdict = verdicts.get(id_) or status.get(id_)
                if verdict is None or verdict.status == "kept":
                    return False
                if verdict.status == "dropped" or verdict.by is None:
                    return True
                id_ = verdict.by
            return True

        waiting = [each for each in record.kept() if each.parents and each.kind != "region"]
        changed = True
        while changed:
            changed = False
            for each in waiting:
                lost = next((parent for parent in each.parents if is_lost(parent)), None)
                if lost is not None and each.id not in verdicts:
                    verdicts[each.id] = Verdict(annotation=each.id, status="dropped", stage="parents.lost", by=lost)
                    changed = True
        return record.extended(verdicts=list(verdicts.values()))
