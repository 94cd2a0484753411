"""Which origins count: the first stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.data_engine.records import OF_FILE, Origin, Record, Verdict


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Drops what ignored origins said, and supersedes what an earlier version of a specialist said.

    A model whose weights or settings changed has another fingerprint, and is another origin of the same name; so is a
    file of people's annotations that was changed.  Only the last one that was asked or imported counts, so that a model
    is no witness for itself.  Of models that the engine taught, only the last round's counts: they began from one
    start.  `ignored` are names in a recipe, and ids after `for_origins`; `earlier` are ids.
    """

    name: ClassVar[str] = "sources"
    version: ClassVar[int] = 2

    ignored: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()

    def for_origins(self, origins: Mapping[str, Origin]) -> Sources:
        """The stage with the ids of these origins, which are in the order in which they were first asked."""
        rounds = [origin.round for origin in origins.values() if origin.kind == "model"]
        last = {(origin.kind, origin.name, origin.round): id_ for id_, origin in origins.items()}
        return replace(
            self,
            ignored=tuple(id_ for id_, origin in origins.items() if origin.called in self.ignored),
            earlier=tuple(
                id_
                for id_, origin in origins.items()
                if (origin.kind == "model" and origin.round < max(rounds))
                or (
                    (origin.kind in ("specialist", "model") or origin.fingerprint.startswith(OF_FILE))
                    and last[origin.kind, origin.name, origin.round] != id_
                )
            ),
        )

    def __call__(self, record: Record) -> Record:
        """The record with a verdict on each annotation of an origin that does not count."""
        verdicts = []
        for each in record.kept():
            if each.origin in self.ignored:
                verdicts.append(Verdict(annotation=each.id, status="dropped", stage="sources.ignored"))
            elif each.origin in self.earlier:
                verdicts.append(Verdict(annotation=each.id, status="superseded", stage="sources.earlier"))
        return record.extended(verdicts=verdicts)
