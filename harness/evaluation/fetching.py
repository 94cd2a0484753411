"""What `data fetch` and `run --fetch` do: join the needs of tasks with the table of sources, and fetch what is missing.

Annotations come first, since they name the images; then the images that the splits name and that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tasks
from harness import images, tracking
from harness.core import EMBEDDED, FileNeed, Task
from harness.data import manifest
from harness.errors import DataError, ResourceError, UsageError
from harness.evaluation.plan import DATA_VARIABLE, MINIATURE, DataSource, chosen_data, selected, splits_of
from harness.fetching import plan, sources
from harness.fetching.fetch import Fetcher
from harness.fetching.network import Network
from harness.fetching.plan import Job, Need
from harness.progress import Progress
from harness.report import text

TABLE = Path(tasks.__file__).with_name("sources.toml")
HEADER = ("source", "gives, below ROOT", "from", "size", "licence")


def fetch(
    task: str,
    split: str | None,
    data: str | None,
    *,
    dry_run: bool = False,
    table: Path | None = None,
    network: Callable[[], Network] = Network,
    free: Callable[[Path], int] = plan.free_bytes,
) -> Fetching:
    """The fetch of what tasks lack below a data root, which is created if need be.  `split` is as for `splits_of`.

    `free` gives the free bytes of the root's disk.  UsageError where the data root is the embedded miniature, or none
    is named; DataError where it is no folder.
    """
    name = chosen_data(data)
    if name == MINIATURE:
        raise UsageError("the miniature is drawn on this machine, and nothing of it is fetched; give --data ROOT")
    if not name:
        raise UsageError(f"data fetch needs a folder to fetch into: give --data ROOT, or set {DATA_VARIABLE}")
    root = Path(name).expanduser()
    if root.exists() and not root.is_dir():
        raise DataError(f"the data root {root} is not a folder")
    return Fetching(task, split, root, sources.read(table or TABLE), dry_run, network, free)


@dataclass(slots=True)
class Fetching:
    """A fetch; iterating carries it out and yields the texts to print.

    `failures` fills with what could not be fetched; `check` raises for it.
    """

    task: str
    split: str | None
    root: Path
    table: Sequence[sources.Source]
    dry_run: bool
    network: Callable[[], Network]
    free: Callable[[Path], int]
    failures: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        pairs = [(task, split) for task in selected(self.task, "", self.root) for split in splits_of(task, self.split)]
        wanted = {need.path: need for task, split in pairs for need in manifest.needs(task, [split])}
        absent = [need for need in wanted.values() if manifest.found(need, self.root) is None]
        annotated = not any(manifest.is_of_annotations(need) for need in absent)
        needs: list[Need] = []
        later: list[Need] = []
        for file in absent:
            need = plan.need_of(file.path, self.table, folder=_is_folder(file))
            if need is None:
                yield _without_source(file)
            elif todo := _by_hand(need, self.root):
                yield f"by hand: {need.path}: {todo}"
            elif any(source.kind == "images" for source in need.sources):
                most = _most_images(pairs, file.path)
                later.append(plan.need_of(file.path, self.table, folder=True, most=most) or need)
            else:
                needs.append(need)
        if annotated:
            needs += self._images(pairs, {need.path for need in needs})
            yield from self._carried_out(needs, [])
            return
        yield from self._carried_out(needs, later)
        if not self.dry_run:
            yield from self._carried_out(self._images(pairs, set()), [])

    def check(self) -> None:
        """ResourceError, with the first reason, where something could not be fetched."""
        if self.failures:
            more = f" ({len(self.failures) - 1} more above)" if self.failures[1:] else ""
            raise ResourceError(f"not fetched: {self.failures[0]}{more}")

    def _carried_out(self, needs: Iterable[Need], later: Iterable[Need]) -> Iterator[str]:
        """Shows the plan of the needs and of `later`, whose images are not known yet; then fetches the needs."""
        jobs, shown = plan.jobs_of(needs), plan.jobs_of((*needs, *later))
        if not shown:
            return
        yield text.table(HEADER, plan.rows(shown))
        yield self._summary(shown)
        if self.dry_run or not jobs:
            return
        plan.require_space(jobs, self.root, self.free)
        total = sum(job.bytes() or 0 for job in jobs) or None
        facts = {"task": self.task, "split": self.split, "sources": len(jobs), "bytes": total}
        with (
            tracking.run(f"fetch {self.task}", facts),
            self.network() as network,
            Progress("fetching", total, unit="B", tracked=True) as progress,
        ):
            failures = Fetcher(self.root, network, advance=progress.update, free=self.free).run(jobs)
            tracking.log({"count/sources": len(jobs), "count/failed": len(failures)}, progress.done)
        self.failures += failures
        for failure in failures:
            yield f"not fetched: {failure}"

    def _summary(self, jobs: Sequence[Job]) -> str:
        sizes = [job.bytes() for job in jobs]
        unknown = sizes.count(None)
        total = f"up to {sources.size(sum(count or 0 for count in sizes))}"
        if unknown:
            total = f"{unknown} of unknown size" + (f", the others {total}" if unknown < len(jobs) else "")
        space = f"{sources.size(plan.space(jobs, self.root))} on the disk while archives are unpacked"
        return f"\n{len(jobs)} sources: {total}; {space}; {sources.size(self.free(self.root))} are free\n"

    def _images(self, pairs: Sequence[tuple[Task[Any], str]], without: set[str]) -> list[Need]:
        """The needs of images that splits name and that are missing, by folder; not those of the folders `without`."""
        missing: dict[str, dict[str, None]] = {}
        for task, split in pairs:
            source = DataSource("", self.root)
            needs = manifest.needs(task, [split])
            if any(manifest.is_of_annotations(need) and manifest.found(need, self.root) is None for need in needs):
                continue
            folders = sorted((need.path for need in needs if not manifest.is_of_annotations(need)), key=len)
            try:
                samples = source.load(task, split)
            except DataError as error:
                self.failures.append(f"{task.name} {split}: {error}")
                continue
            for name in dict.fromkeys(sample.question.image_name for sample in samples if sample.question.image):
                folder = next((each for each in reversed(folders) if name.startswith(f"{each}/")), "")
                if folder and folder not in without and not images.exists(self.root, name):
                    missing.setdefault(folder, {})[name.removeprefix(f"{folder}/")] = None
        named = (plan.need_of(path, self.table, folder=True, names=list(names)) for path, names in missing.items())
        return [need for need in named if need is not None and not _by_hand(need, self.root)]


def _is_folder(need: FileNeed) -> bool:
    return need.annotations or not manifest.is_of_annotations(need)


def _most_images(pairs: Iterable[tuple[Task[Any], str]], folder: str) -> int | None:
    """An upper bound of the images that splits name in a folder, by the published counts; None if one is not known."""
    bounds = []
    for task, split in pairs:
        if any(need.path == folder for need in manifest.needs(task, [split])):
            published = task.published.get(split, {})
            bounds.append(published.get("images", published.get("samples")))
    known = [bound for bound in bounds if bound is not None]
    return sum(known) if len(known) == len(bounds) else None


def _by_hand(need: Need, root: Path) -> str:
    """What the user must do before the need can be fetched; "" if nothing."""
    source = need.sources[0]
    return (
        f"{source.by_hand} as {root / source.place}" if source.by_hand and not (root / source.place).is_file() else ""
    )


def _without_source(need: FileNeed) -> str:
    if need.origin == EMBEDDED:
        return f"not fetched: {need.path} is of the embedded benchmark; give --data miniature"
    return f"by hand: {need.path}: the table of sources does not have it; it comes from {need.origin}"
