"""What is missing below a data root, from which sources it comes, and how large that is.

Single images or an archive: a folder of images is fetched image by image where their bytes are at most `SHARE` of the
archive's, that is where at most this share of its images is missing; else by the archive.  A request costs about as
much as a hundred kilobytes, so for more images the archive is faster.  The other source is the fallback.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import images
from harness.errors import ResourceError
from harness.fetching.ledger import FOLDER
from harness.fetching.sources import Source, size

SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Need:
    """A file or folder that is missing below the root, and the sources that have it, in the order of trying.

    `names` are the missing images of a folder, by path below it; None means the whole folder, of which at most `most`
    images will be named.
    """

    path: str
    sources: tuple[Source, ...]
    folder: bool = False
    names: tuple[str, ...] | None = None
    most: int | None = None

    @property
    def count(self) -> int | None:
        """The number of missing images, or an upper bound of it; None if neither is known."""
        return self.most if self.names is None else len(self.names)

    def missing(self, root: Path) -> Need | None:
        """What of this need is still missing; None if nothing is."""
        if self.names is not None:
            absent = tuple(name for name in self.names if not images.exists(root, f"{self.path}/{name}"))
            return Need(self.path, self.sources, self.folder, absent) if absent else None
        there = root / self.path
        return None if there.is_file() or (there.is_dir() and any(there.iterdir())) else self

    def bytes(self, source: Source) -> int | None:
        """The bytes that a source sends for this need; None if the size is not known.

        For single images, the mean image is that of the source, or of the archive of the same folder.
        """
        if source.kind != "images" or self.count is None:
            return source.bytes
        for each in (source, *self.sources):
            if each.bytes is not None and each.count:
                return each.bytes * self.count // each.count
        return None


@dataclass(frozen=True, slots=True)
class Job:
    """The needs whose first source is the same."""

    source: Source
    needs: tuple[Need, ...]

    def bytes(self) -> int | None:
        """The bytes that the source sends."""
        if self.source.kind != "images":
            return self.source.bytes
        sizes = [need.bytes(self.source) for need in self.needs]
        known = [each for each in sizes if each is not None]
        return sum(known) if len(known) == len(sizes) else None


def need_of(
    path: str,
    table: Iterable[Source],
    *,
    folder: bool = False,
    names: Sequence[str] | None = None,
    most: int | None = None,
) -> Need | None:
    """The need of a path with its sources in the order of trying; None if the table has no source.

    `names` and `most` are as for `Need`.
    """
    sources = [source for source in table if source.covers(path)]
    singles = [source for source in sources if source.kind == "images"]
    others = [source for source in sources if source.kind != "images" and not source.by_hand]
    by_hand = [source for source in sources if source.by_hand]
    count = next((source.count for source in others if source.count), None)
    missing = most if names is None else len(names)
    few = missing is not None and (count is None or missing <= SHARE * count)
    ordered = (*singles, *others, *by_hand) if few else (*others, *singles, *by_hand)
    return Need(path, ordered, folder, None if names is None else tuple(names), most) if ordered else None


def jobs_of(needs: Iterable[Need]) -> list[Job]:
    """The needs, grouped by their first source."""
    grouped: dict[str, list[Need]] = {}
    for need in needs:
        grouped.setdefault(need.sources[0].name, []).append(need)
    return [Job(group[0].sources[0], tuple(group)) for group in grouped.values()]


def free_bytes(root: Path) -> int:
    """The free bytes of the disk that holds the root, which may not exist yet."""
    there = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def space(jobs: Iterable[Job], root: Path) -> int:
    """The bytes that the jobs need on the disk, as far as sizes are known: an archive twice, since it is unpacked."""
    return sum(
        (job.bytes() or 0) * (2 if job.source.is_archive else 1) - begun(root, job.source)
        for job in jobs
        if not job.source.by_hand
    )


def begun(root: Path, source: Source) -> int:
    """The bytes that an interrupted fetch left of a file."""
    return sum(path.stat().st_size for url in source.urls for path in [part_of(root, url)] if path.is_file())


def part_of(root: Path, url: str) -> Path:
    """The file that a download is written to."""
    name = "".join(letter if letter.isalnum() or letter in "._+-" else "_" for letter in url.rsplit("/", 1)[-1][-60:])
    return root / FOLDER / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}.part"


def require_space(jobs: Sequence[Job], root: Path, free: Callable[[Path], int] = free_bytes) -> None:
    """ResourceError where the disk has less free bytes than the jobs need."""
    needed, available = space(jobs, root), free(root)
    if needed > available:
        raise ResourceError(
            f"{root} needs {size(needed)} for downloads and what they unpack to, and {size(available)} are free; free "
            "some space, or fetch fewer tasks at a time"
        )


def rows(jobs: Iterable[Job]) -> list[tuple[str, str, str, str, str]]:
    """A row for each job: the source, what it gives, from where, how large, under which licence."""
    return [(job.source.name, _gives(job), _origin(job), size(job.bytes()), job.source.licence) for job in jobs]


def _gives(job: Job) -> str:
    first, *others = (
        _shortened(need.path)
        if need.count is None or (need.names is None and job.source.kind != "images")
        else f"{'up to ' if need.names is None else ''}{need.count:,} images of {need.path}"
        for need in job.needs
    )
    return f"{first}, and {len(others)} more" if others else first


def _shortened(path: str, most: int = 50) -> str:
    return path if len(path) <= most else f"{path[: most // 2 - 2]}...{path[-most // 2 + 1 :]}"


def _origin(job: Job) -> str:
    if job.source.by_hand:
        return f"ROOT/{job.source.place}"
    archive = job.source.is_archive
    single = [archive and need.names is None and each.kind == "images" for need in job.needs for each in need.sources]
    others = len(job.source.urls) - 1 + max(len(need.sources) for need in job.needs) - 1
    more = f" (and {others} more)" if others else ""
    return job.source.urls[0].replace("{name}", "...") + more + (", or single images if few" if any(single) else "")
