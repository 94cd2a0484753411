"""What the pages are made of: listed runs, and the samples of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.core import ImageRef, Run
from harness.report.page import Shown
from harness.viewer.extras import Extras


@dataclass(frozen=True, slots=True)
class Listed:
    """A run as the overview lists it.

    - `state` is that of `ls`: complete, partial, incomplete, running, interrupted, record or edited.
    - `folder` is where the record is, for the reader.
    """

    run: Run
    state: str
    folder: str


class Library(Protocol):
    """The runs behind the pages."""

    @property
    def extras(self) -> Extras:
        """Results that belong to no single run."""
        ...

    def listed(self) -> Sequence[Listed]:
        """Every run once, in a fixed order."""
        ...

    def count(self, run: str) -> int:
        """The number of samples of a run; KeyError if no run has this id."""
        ...

    def shown(self, run: str) -> tuple[Shown, str]:
        """A run with its samples, and the reason why there are no samples ("" if there are some).

        KeyError if no run has this id.
        """
        ...

    def picture(self, root: Path, image: ImageRef) -> str:
        """The name of the file of an image, without its folder; "" if the pages have no picture of it."""
        ...
