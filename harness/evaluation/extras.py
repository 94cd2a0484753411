"""The viewer's pages that belong to no single run, read from a folder of results and folders of the data engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness import published, store
from harness.core import Run
from harness.data_engine.shards import Engine
from harness.errors import HarnessError
from harness.evaluation import engine_page
from harness.report import claims, miniature, papers
from harness.report.engine import EngineReport
from harness.report.studies import StudyResult
from harness.report.tables import Table
from harness.viewer.extras import Collected

WORLDS = ("small", "full")  # of studies
MOST_SEEDS = 1000
T = TypeVar("T")
log = logging.getLogger(__name__)


def collected(results: Path, runs: Sequence[Run], engines: Sequence[Path]) -> Collected:
    """All of them, read once; `runs` are those of the paper tables."""
    return Collected(store.speeds(results), studies_of(results), tables_of(runs), engines_of(engines))


def tables_of(runs: Sequence[Run]) -> list[Table]:
    """The tables of the paper and its rivals, the claims, and those of the embedded benchmark."""
    tables = papers.tables(published.every(), published.tables(), runs)
    return [*tables, claims.table(published.claims(), runs), *miniature.tables(runs)]


def studies_of(results: Path) -> list[StudyResult]:
    """The studies of which `ablate` ran a cell; one with a damaged record is logged and left out."""
    found = []
    for world in WORLDS:
        if not (seeds := _seeds(results / "ablations" / world)):
            continue
        from harness.evaluation.study import result_of  # imports torch
        from harness.protocols.studies import STUDIES

        for study in STUDIES.values():
            try:
                result = result_of(study, range(seeds), world, results)
            except HarnessError as error:
                log.warning("study %s is left out: %s", study.name, error)
                continue
            found += [result] if result.done else []
    return found


def _seeds(folder: Path) -> int:
    """One more than the largest seed of the records in a folder; 0 if there are none."""
    seeds = 0
    for path in sorted(folder.glob("*.json")):
        try:
            seed = msgspec.json.decode(path.read_bytes())["seed"]
        except (OSError, msgspec.DecodeError, KeyError, TypeError):
            continue  # `result_of` says what is wrong with a record of a study
        if isinstance(seed, int) and 0 <= seed < MOST_SEEDS:
            seeds = max(seeds, seed + 1)
    return seeds


def engines_of(folders: Sequence[Path]) -> list[EngineReport]:
    """The reports of folders of the data engine.  DataError if one is none."""
    return [engine_page.read(folder) for folder in folders]


class Live:
    """Extras that are read when a page asks, and again after their files changed."""

    def __init__(self, results: Path, engines: Sequence[Path], runs: Callable[[], Sequence[Run]]) -> None:
        """`runs` returns the runs of the paper tables as they are now.  DataError if one of `engines` is no engine."""
        for folder in engines:
            Engine.open(folder)
        self._results, self._engines, self._runs = results, engines, runs
        self._kept: dict[str, tuple[str, Any]] = {}

    @property
    def speeds(self) -> Sequence[dict[str, Any]]:
        """The records of `bench`."""
        return self._fresh("speed", partial(store.speeds, self._results))

    @property
    def studies(self) -> Sequence[StudyResult]:
        """The studies of which a cell was run."""
        return self._fresh("studies", partial(studies_of, self._results))

    @property
    def tables(self) -> Sequence[Table]:
        """The paper tables, with the runs as they are now."""
        return tables_of(self._runs())

    @property
    def engines(self) -> Sequence[EngineReport]:
        """The folders of the data engine."""
        return self._fresh("engine", partial(engines_of, self._engines))

    def stamps(self) -> dict[str, str]:
        """A text for each page that changes with its files; that of the tables changes with the runs."""
        return {
            "speed": _stamp([self._results / "speed"]), "studies": _stamp([self._results / "ablations"]),
            "engine": _stamp(self._engines),
        }  # fmt: skip

    def _fresh(self, page: str, read: Callable[[], T]) -> T:
        stamp = self.stamps()[page]
        kept = self._kept.get(page)
        if kept is None or kept[0] != stamp:
            kept = self._kept[page] = (stamp, read())
        value: T = kept[1]
        return value


def _stamp(folders: Sequence[Path]) -> str:
    """The number of files below folders, their size in all, and the newest change of one."""
    count, size, newest = 0, 0, 0
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                status = path.stat()
            except OSError:
                continue  # removed meanwhile
            count, size, newest = count + 1, size + status.st_size, max(newest, status.st_mtime_ns)
    return f"{count:x}.{size:x}.{newest:x}"
