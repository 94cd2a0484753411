"""Writes the pages as files that open from disk, without a server and without a network."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.core import ImageRef
from harness.errors import DataError
from harness.report.gallery import chosen
from harness.report.page import Shown
from harness.viewer import chunks, contents, page, pictures
from harness.viewer.extras import NOTHING, Extras
from harness.viewer.given import Listed

log = logging.getLogger(__name__)
OWN = ("app", "data", "images", "thumbs")  # folders that each report writes anew


class Fixed:
    """Runs whose samples are all read.  A run has pictures of at most `count` samples (`gallery.chosen`)."""

    def __init__(self, runs: Sequence[tuple[Listed, Shown, str]], count: int, extras: Extras = NOTHING) -> None:
        self._runs = {listed.run.id: (listed, shown, problem) for listed, shown, problem in runs}
        self.extras = extras
        self.pictures: dict[str, tuple[Path, ImageRef]] = {}
        for _, shown, _ in runs:
            for row in chosen(shown.rows, count) if count else ():
                image = row.sample.question.image or row.sample.cluster
                self.pictures[pictures.name_of(shown.root, image)] = (shown.root, image)

    def listed(self) -> Sequence[Listed]:
        """Every run once."""
        return [listed for listed, _, _ in self._runs.values()]

    def shown(self, run: str) -> tuple[Shown, str]:
        """A run with its samples, and the reason why there are none."""
        _, shown, problem = self._runs[run]
        return shown, problem

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
