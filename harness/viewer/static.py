"""Writes the pages as files that open from disk, without a server and without a network."""

from __future__ import annotations

import logging
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.core import ImageRef
from harness.errors import DataError
from harness.report.gallery import chosen
from harness.report.page import Shown
from harness.viewer import chunks, contents, page, pictures
from harness.viewer.extras import NOTHING, Extras
from harness.viewer.given import Listed

log = logging.getLogger(__name__)
KEPT = 2  # runs that are read again and stay in memory: one, and the one it is paired with
OWN = ("app", "data", "images", "thumbs")  # folders that each report writes anew


class Fixed:
    """The runs of a report.  A run has pictures of at most `count` samples (`gallery.chosen`).

    `read` reads a finished run by its id again, when its pages are written; None: the samples of all runs stay in
    memory.  Those of a run in progress always do, since it would have others when it is read again.  `extras` are shown
    beside the runs.
    """

    def __init__(
        self, runs: Iterable[tuple[Listed, Shown, str]], count: int,
        read: Callable[[str], tuple[Shown, str]] | None = None, extras: Extras = NOTHING,
    ) -> None:  # fmt: skip
        self.extras = extras
        self._samples: dict[str, int] = {}  # by run
        self.pictures: dict[str, tuple[Path, ImageRef]] = {}
        self._count, self._read = count, read
        self._listed: list[Listed] = []
        self._shown: dict[str, tuple[Shown, str]] = {}
        self._latest: OrderedDict[str, tuple[Shown, str]] = OrderedDict()
        for each in runs:
            self.add(*each)

    def add(self, listed: Listed, shown: Shown, problem: str) -> None:
        """Adds a run; `problem` is the reason why it has no samples."""
        run = listed.run.id
        self._listed.append(listed)
        self._samples[run] = len(shown.rows)
        if self._read is None or listed.state == "running":
            self._shown[run] = (shown, problem)
        for row in chosen(shown.rows, self._count) if self._count else ():
            image = row.sample.question.image or row.sample.cluster
            self.pictures[pictures.name_of(shown.root, image)] = (shown.root, image)

    def listed(self) -> Sequence[Listed]:
        """Every run once."""
        return self._listed

    def count(self, run: str) -> int:
        """The number of samples of a run."""
        return self._samples[run]

    def shown(self, run: str) -> tuple[Shown, str]:
        """A run with its samples, and the reason why there are none."""
        if run in self._shown or self._read is None:
            return self._shown[run]
        if run not in self._latest:
            while len(self._latest) >= KEPT:
                self._latest.popitem(last=False)
            self._latest[run] = self._read(run)
        self._latest.move_to_end(run)
        return self._latest[run]

    def picture(self, root: Path, image: ImageRef) -> str:
        """The file name of an image that a run shows; "" for the others."""
        name = pictures.name_of(root, image)
        return name if name in self.pictures else ""


def write(library: Fixed, folder: Path) -> Path:
    """Writes index.html, app/, data/, images/ and thumbs/ into a folder, replacing those of an earlier report.

    An image that is missing or cannot be decoded is logged; its page says that it is gone.  Returns the path of
    index.html.  DataError if these folders hold what no report wrote.
    """
    _refuse_foreign(folder)
    for name in OWN:
        shutil.rmtree(folder / name, ignore_errors=True)
    for name, content in page.files().items():
        _put(folder / "app" / name, content)
    overview = contents.payload(library, "overview", live=False)
    problems = []
    for name, (root, image) in library.pictures.items():
        try:
            _put(folder / "images" / name, pictures.jpeg(root, image, pictures.LONG_SIDE))
            _put(folder / "thumbs" / name, pictures.jpeg(root, image, pictures.SMALL_SIDE))
        except DataError as error:
            problems.append(str(error))
    if problems:
        log.warning("%d pictures cannot be shown; the first: %s", len(problems), problems[0])
    for name in contents.names(library):
        _put(folder / "data" / f"{name}.js", chunks.script(name, contents.payload(library, name, live=False)).encode())
    path = folder / "index.html"
    _put(path, page.index(overview).encode())
    return path


def _refuse_foreign(folder: Path) -> None:
    """DataError if a folder that would be replaced is a link, or is not of an earlier report."""
    there = [name for name in OWN if (folder / name).is_symlink() or (folder / name).exists()]
    if any((folder / name).is_symlink() for name in there) or (there and not (folder / "app" / page.D3).is_file()):
        raise DataError(f"{folder} has {', '.join(there)}, which no report wrote; choose another folder with --to")


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
