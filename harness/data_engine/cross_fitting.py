"""Cross-fitting: an image is asked about by a model that was not taught it, because what was taught confirms itself.

The images are dealt into folds by the digest of their files, so an image is in the same fold on every machine, and so
are equal files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.core import Answer, Failure, Model, Question, Ticket

ANSWERS_VERSION = 1  # raise it if an image could come to another model


def fold_of(sha256: str, folds: int) -> int:
    """The fold of an image, from 0, by the SHA-256 of its file."""
    return int(sha256[:8], 16) % folds


class CrossFitted:
    """A Model of one member for each fold, which is loaded when a question needs it; one is held at a time.

    `members` load the model that was not taught the images of their fold.  `fold` is an image's, by reference.
    """

    def __init__(self, members: Sequence[Callable[[], Model]], fold: Mapping[str, int]) -> None:
        self.members, self.fold = members, fold
        self._held: tuple[int, Model] | None = None
        self._fingerprints: list[str] = []
        self._provenance: dict[str, Any] = {}
        for number in reversed(range(len(members))):  # the first is the one that is asked first
            member = self._member(number)
            self._fingerprints.insert(0, member.fingerprint)
            self._provenance = {**member.provenance, "folds": len(members)}

    @property
    def fingerprint(self) -> str:
        """The fingerprint of each member, by fold; that of the member itself where there is one alone."""
        if len(self.members) == 1:
            return self._fingerprints[0]
        return f"cross-fitted:v{ANSWERS_VERSION}:{len(self.members)}:{'|'.join(self._fingerprints)}"

    @property
    def provenance(self) -> Mapping[str, Any]:
        """That of the first member, and the number of folds."""
        return self._provenance

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """Answers fold by fold, so that each member is loaded once."""
        by_fold: dict[int, list[tuple[Ticket, Question]]] = {}
        for ticket, question in questions:
            by_fold.setdefault(self.fold[question.image_name], []).append((ticket, question))
        for number in sorted(by_fold):
            yield from self._member(number).answer(iter(by_fold[number]))

    def _member(self, number: int) -> Model:
        if self._held is None or self._held[0] != number:
            self._held = None  # so that two are never in memory
            self._held = number, self.members[number]()
        return self._held[1]
