"""The runs behind the viewer: read from a folder of results and scored when a page asks, again after each change."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness import runner, store
from harness.core import ImageRef, Run
from harness.errors import HarnessError
from harness.evaluation import extras
from harness.evaluation.plan import samples_of
from harness.report.page import Shown
from harness.store import RunFolder
from harness.viewer import pictures
from harness.viewer.given import Listed

KEPT = 6  # runs whose samples stay in memory
PATIENCE = 10.0  # times the duration of the last scoring of a run in progress, until it is scored again
FILES = ("run.json", "answers.jsonl", "answers.jsonl.gz")


class Read(NamedTuple):
    """A run with its samples.  `problem` says why there are no samples, "" if there are some."""

    shown: Shown
    problem: str
    contradiction: str = ""  # how the record differs from its answers


def read(folder: RunFolder, record: Run, data: str | None, task: str | None = None) -> Read:
    """A run with its scored samples.  A run in progress has those that are answered, and its headline so far.

    `task` names a task of another package.
    """
    in_progress = record.status == "running" and folder.busy
    try:
        named = task if task and record.provenance.get("task from") else None
        task_of_run, samples, root = samples_of(record, data, named)
    except HarnessError as error:
        return Read(Shown(record, None, (), Path()), str(error))
    answers = runner.kept_answers(samples, folder, record.spec.fingerprint)
    answered = [sample for sample in samples if sample.id in answers] if in_progress else samples
    scorable = len(answers) == len(answered) > 0 and any(sample.target is not None for sample in answered)
    rows = runner.mark(task_of_run, answered, answers) if scorable else []
    if problem := runner.contradiction(task_of_run, record, rows):
        record = store.with_status(record, provenance={**record.provenance, "contradicted": problem})
    if in_progress and rows:
        record = runner.so_far(task_of_run, record, rows, len(samples))
    return Read(
        Shown(record, task_of_run, tuple(rows), root),
        "" if rows else _why_none(answers, len(samples), in_progress),
        problem,
    )


def _why_none(answers: object, samples: int, in_progress: bool) -> str:
    """Why a run whose samples can be read has no rows."""
    count = len(answers) if isinstance(answers, dict) else 0
    if in_progress and not count:
        return "no question is answered yet"
    if not count:
        return "the predictions of this record are not here; run the command again to make them"
    if count < samples:
        return f"{count:,} of {samples:,} questions are answered; the same command resumes the run"
    return "the targets of this split are not published, so no sample has a score"


def state(folder: RunFolder, run: Run) -> str:
    """The state of a run, as `ls` names it."""
    if store.edited(run):
        return "edited"
    if run.status == "running":
        return "running" if folder.busy else "interrupted"
    return run.status if folder.has_answers else "record"


def each_once(results: Path) -> tuple[list[tuple[RunFolder, Run]], list[str]]:
    """Every run id once, and a sentence for each copy that is left out.

    Of several records with one id, the record in the folder named after the id is taken, else the first.
    """
    runs = list(store.runs(results))
    path_of: dict[str, Path] = {}
    for folder, record in runs:
        path = path_of.setdefault(record.id, folder.path)
        if path.name != record.id and folder.path.name == record.id:
            path_of[record.id] = folder.path
    kept = [(folder, record) for folder, record in runs if folder.path == path_of[record.id]]
    left = [
        f"left out: {folder.path} is a copy of run {record.id} in {path_of[record.id]}"
        for folder, record in runs
        if folder.path != path_of[record.id]
    ]
    return kept, left


class Live:
    """A folder of results as the server of the viewer reads it.  All methods may be called from several threads.

    A run in progress is scored by a thread of its own, so that no page waits for it.
    """

    def __init__(
        self, results: Path, data: str | None = None, task: str | None = None, engines: Sequence[Path] = ()
    ) -> None:
        self.results, self.data, self.task = results, data, task
        self.extras = extras.Live(results, engines, lambda: [item.run for item in self.listed()])
        self._lock = threading.Lock()  # one run is read and scored at a time
        self._folders: dict[str, tuple[RunFolder, Run]] = {}
        self._read: OrderedDict[str, tuple[str, Read]] = OrderedDict()
        self._so_far: dict[str, tuple[float, Run]] = {}  # when to score a run in progress again, and its record
        self._pictures: dict[str, tuple[Path, ImageRef]] = {}

    def listed(self) -> Sequence[Listed]:
        """Every run once; a run in progress with the headline of its last scoring."""
        kept, _ = each_once(self.results)
        self._folders = {record.id: (folder, record) for folder, record in kept}
        listed = []
        for folder, record in kept:
            named = state(folder, record)
            shown = self._in_progress(folder, record) if named == "running" else record
            listed.append(Listed(shown, named, str(folder.path)))
        return listed

    def shown(self, run: str) -> tuple[Shown, str]:
        """A run with its samples, and the reason why there are none; KeyError if no run has this id."""
        if run not in self._folders:
            self.listed()
        folder, record = self._folders[run]
        with self._lock:
            stamp = _stamp(folder.path)
            kept = self._read.pop(run, None)
            if kept is None or kept[0] != stamp:
                kept = (stamp, read(folder, folder.read_run() or record, self.data, self.task))
            self._read[run] = kept
            while len(self._read) > KEPT:
                self._read.popitem(last=False)
        return kept[1].shown, kept[1].problem

    def stamp(self) -> dict[str, str]:
        """A text for each run, by id, that changes with its files; a folder that was not listed yet has its name."""
        stamps, run_in = self.extras.stamps(), {str(folder.path): run for run, (folder, _) in self._folders.items()}
        for folder, below, names in os.walk(self.results):
            if "run.json" in names:
                below.clear()
                run = run_in.get(folder, os.path.basename(folder))
                stamps[run] = _stamp(Path(folder))
                if run in self._so_far:
                    stamps[run] += f"-{self._so_far[run][0]:.3f}"
        return stamps

    def picture(self, root: Path, image: ImageRef) -> str:
        """The file name of an image."""
        name = pictures.name_of(root, image)
        self._pictures[name] = (root, image)
        return name

    def image(self, name: str, side: int) -> bytes:
        """The JPEG file of a picture; KeyError for a name that no sample has, DataError if the picture is gone."""
        return pictures.jpeg(*self._pictures[name], side)

    def _in_progress(self, folder: RunFolder, record: Run) -> Run:
        """The record with the number of answers now and the headline of the last scoring, which is begun when due."""
        due, known = self._so_far.get(record.id, (0.0, record))
        if time.monotonic() >= due:
            self._so_far[record.id] = (math.inf, known)
            threading.Thread(target=self._score, args=(record.id, known), daemon=True).start()
        return store.with_status(known, counts={**known.counts, "answered": _lines(folder.path / FILES[1])})

    def _score(self, run: str, known: Run) -> None:
        """Scores a run in progress, which is due again after a while, since scoring takes time."""
        start = time.monotonic()
        try:
            known = self.shown(run)[0].run
        except KeyError:
            return  # the run was removed meanwhile
        finally:
            end = time.monotonic()
            self._so_far[run] = (end + PATIENCE * (end - start), known)


def _lines(path: Path) -> int:
    """The number of whole lines of a file; 0 if it cannot be read."""
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _stamp(folder: Path) -> str:
    """A text that changes when the files of a run change, or when its process ends."""
    parts = []
    for name in FILES:
        try:
            status = (folder / name).stat()
        except OSError:
            continue
        parts.append(f"{status.st_mtime_ns:x}.{status.st_size:x}")
    return "-".join(parts) + ("-busy" if RunFolder(folder).busy else "")
