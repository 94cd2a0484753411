"""The folder of one run: its record, answers, scores and lock."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from harness.core import Run, RunSpec, Score
from harness.errors import DataError, UsageError
from harness.store import files, lock, records
from harness.store.lines import MALFORMED, Appender, Kept, parse_answer, parse_score, score_line
from harness.store.records import run_id

ANSWERS, SCORES, RECORD, LOCK = "answers.jsonl", "scores.jsonl", "run.json", "lock"
SHARDS, SHARD = "shards", "shard.json"  # the folder of a run's shards, and the record of a shard


def run_folder(results: Path, spec: RunSpec) -> Path:
    """The path of the folder of a run."""
    parts = (spec.data, spec.task, spec.split, spec.model, spec.protocol)
    return results.joinpath(*map(files.folder_name, parts), run_id(spec))


class RunFolder:
    """The files of one run, or of one shard of a run.

    The record of a shard is not called run.json, so that nothing takes a part of a run for the run.
    """

    def __init__(self, path: Path, record: str = RECORD) -> None:
        self.path = path
        self.record = record

    def shard(self, name: str) -> RunFolder:
        """The folder of a shard of this run."""
        return RunFolder(self.path / SHARDS / name, SHARD)

    def shards(self) -> list[RunFolder]:
        """The folders of this run's shards that exist."""
        return [RunFolder(path.parent, SHARD) for path in sorted(self.path.glob(f"{SHARDS}/*/{SHARD}"))]

    def shard_records(self) -> list[tuple[RunFolder, Run]]:
        """The folder and the record of each shard; a damaged record is logged and left out."""
        readable = records.readable(shard.path / SHARD for shard in self.shards())
        return [(RunFolder(path.parent, SHARD), run) for path, run in readable]

    def read_run(self) -> Run | None:
        """The record, or None if there is none; DataError if it is damaged or has an unknown schema."""
        return records.read_run(self.path / self.record)

    def write_run(self, run: Run) -> None:
        """Replaces the record in one step."""
        records.write_run(self.path / self.record, run)

    def answers(self) -> dict[str, Kept]:
        """The stored answers by sample id; damaged lines are skipped, and the last line of an id counts."""
        stored: dict[str, Kept] = {}
        for line in files.lines(self.path / ANSWERS):
            try:
                kept = parse_answer(line)
                stored[kept.id] = kept
            except MALFORMED:
                continue  # the question is queried again
        return stored

    def locked(self) -> AbstractContextManager[None]:
        """Holds the folder's lock; UsageError if another process holds it."""
        return lock.locked(self.path)

    @property
    def has_answers(self) -> bool:
        """Whether answers are stored here; a record without answers cannot be scored again."""
        path = self.path / ANSWERS
        return path.is_file() or files.packed_path(path).is_file()

    @property
    def busy(self) -> bool:
        """Whether a process holds the folder's lock."""
        return lock.is_locked(self.path)

    @contextmanager
    def appending(self) -> Iterator[Appender]:
        """An Appender of answers, after removing an incomplete last line.

        ResourceError if the disk is full; DataError if the file is a link, which would be written through.
        """
        path = self.path / ANSWERS
        files.refuse_link(path)
        files.remove_incomplete_line(path)
        with files.disk_errors(path), path.open("ab") as stream:
            yield Appender(stream)

    def inherit(self, spec: RunSpec) -> None:
        """Takes over the folder of the same run under an id of an earlier version, if this folder does not exist."""
        if self.path.exists():
            return
        for sibling, run in self.siblings():
            if run.spec == spec:
                sibling.path.rename(self.path)
                self.write_run(run)
                return

    def siblings(self) -> list[tuple[RunFolder, Run]]:
        """The other runs of the same model and split: another limit, seed, fingerprint or task version.

        A damaged record is logged and left out.
        """
        paths = sorted(path for path in self.path.parent.glob(f"*/{RECORD}") if path.parent != self.path)
        return [(RunFolder(path.parent), run) for path, run in records.readable(paths)]

    def write_scores(self, scores: Iterable[tuple[str, Score]]) -> None:
        """Replaces the scores, given by sample id; an undefined number (NaN) becomes null."""
        path = self.path / SCORES
        files.replace_file(path, b"".join(score_line(name, score) for name, score in scores))
        files.packed_path(path).unlink(missing_ok=True)

    def scores(self) -> dict[str, Score]:
        """The scores by sample id; DataError if a line is damaged."""
        path = self.path / SCORES
        scores = {}
        for line in files.lines(path):
            try:
                name, score = parse_score(line)
                scores[name] = score
            except MALFORMED as error:
                raise DataError(
                    f"{path} has a line that is not a score ({error!r}); `score {self.path}` scores again"
                ) from error
        return scores

    def forget(self) -> None:
        """Removes answers, scores and record, so that everything is queried again."""
        for name in (ANSWERS, SCORES):
            (self.path / name).unlink(missing_ok=True)
            files.packed_path(self.path / name).unlink(missing_ok=True)
        (self.path / self.record).unlink(missing_ok=True)

    def remove(self, results: Path) -> tuple[str, ...]:
        """Removes the files that this store wrote, with shards, and each folder below `results` that is empty then.

        Returns the names of what remains in the run's folder, which somebody else wrote.  UsageError for a folder that
        is not below `results`, or if another process holds its lock.
        """
        root, own = (Path(os.path.realpath(path)) for path in (results, self.path))
        if root not in own.parents:
            raise UsageError(f"{self.path} is not below {results}; --out names the folder of results")
        for shard in self.shards():
            shard.remove(results)
        with self.locked():
            self.forget()
            for name in (ANSWERS, SCORES, self.record):
                for partial in own.glob(f"{name}*.partial"):  # of a process that was killed
                    partial.unlink()
            (own / LOCK).unlink()
        remaining = tuple(sorted(path.name for path in own.iterdir()))
        for folder in (own, *own.parents):
            if folder == root or any(folder.iterdir()):
                break
            folder.rmdir()
        return remaining


def pack(folder: RunFolder) -> None:
    """Replaces answers and scores by gzip files for committing, and removes the lock file."""
    for name in (ANSWERS, SCORES):
        if (folder.path / name).is_file():
            files.pack_file(folder.path / name)
    (folder.path / LOCK).unlink(missing_ok=True)
