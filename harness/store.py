"""The only hand that writes results/.

    results/<data>/<task>/<split>/<model>/<protocol>/<id>/
        run.json        the record: written whole, to a new file that replaces the old one
        answers.jsonl   one line an answer, appended and flushed as it comes; a torn last line is asked again
        scores.jsonl    one line a sample, written by marking
        lock            held while a run is asking; a second process of the same run is refused

`answers.jsonl.gz` and `scores.jsonl.gz` are read before the plain files: committed runs keep those.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import json
import logging
import math
import operator
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from harness.core import Answer, Boxes, Grounded, Mask, Polygons, Quads, Run, RunSpec, Score, Size, Text, Trail, Value
from harness.errors import DataError, ResourceError, UsageError
from harness.migrations import MIGRATIONS

SCHEMA = 2
log = logging.getLogger(__name__)
_number = operator.methodcaller("item")  # NumPy's are not Python's
_LINES = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_number)
_VALUES: dict[str, type] = {
    "text": Text,
    "boxes": Boxes,
    "grounded": Grounded,
    "quads": Quads,
    "polygons": Polygons,
    "mask": Mask,
}


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer on disk: the sample it is to, a digest of what was asked, and what it took."""

    id: str
    asked: str
    answer: Answer


def run_id(spec: RunSpec) -> str:
    """A digest of the RunSpec: the same command finds the same folder."""
    canonical = json.dumps(asdict(spec), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def run_folder(results: Path, spec: RunSpec) -> Path:
    """Where a run of this spec lives."""
    parts = (spec.data, spec.task, spec.split, spec.model, spec.protocol)
    return results.joinpath(*map(_safe, parts), run_id(spec))


class RunFolder:
    """One run's files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read_run(self) -> Run | None:
        """The record, or None where there is none; DataError where it is torn or of another schema."""
        return _read_run(self.path / "run.json")

    def write_run(self, run: Run) -> None:
        """Replaces the record in one step."""
        data = msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n"
        replace_file(self.path / "run.json", data)

    def answers(self) -> dict[str, Kept]:
        """Every whole line of answers.jsonl, by sample id; a later line for the same id replaces an earlier one."""
        kept: dict[str, Kept] = {}
        for line in self._lines("answers"):
            try:
                record = msgspec.json.decode(line)
                kept[record["id"]] = Kept(record["id"], record["asked"], _answer(record))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue  # torn: it is asked again
        return kept

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The folder for this process alone; UsageError where another one is running the same run."""
        with _resources("results"):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise UsageError(
                f"another process is running this very run ({self.path}); wait for it, or stop it"
            ) from error
        try:
            yield
        finally:
            lock.close()

    @property
    def has_answers(self) -> bool:
        """Whether answers are kept here; a record without them is history, not a run that could be scored again."""
        return any((self.path / name).is_file() for name in ("answers.jsonl", "answers.jsonl.gz"))

    @property
    def busy(self) -> bool:
        """Whether a process is at it now."""
        try:
            lock = (self.path / "lock").open("r")
        except OSError:
            return False
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextmanager
    def appending(self) -> Iterator[Appender]:
        """An open answers.jsonl, its torn last line cut off; ResourceError where the disk is full."""
        path = self.path / "answers.jsonl"
        _cut_torn_line(path)
        with _resources(path), path.open("ab") as stream:
            yield Appender(stream)

    def inherit(self, spec: RunSpec) -> None:
        """Becomes the folder in which an earlier version of this project kept the very same run, where there is one."""
        if self.path.exists():
            return
        for sibling in self.siblings():
            if (run := sibling.read_run()) is not None and run.spec == spec:
                sibling.path.rename(self.path)
                self.write_run(run)
                return

    def siblings(self) -> list[RunFolder]:
        """Other runs of the same model on the same split: another limit, seed, or version of the task."""
        return [
            RunFolder(path.parent) for path in sorted(self.path.parent.glob("*/run.json")) if path.parent != self.path
        ]

    def write_scores(self, scores: Iterable[tuple[str, Score]]) -> None:
        """Replaces scores.jsonl; a number that is not defined (NaN) is null there."""
        lines = (_line({"id": name, "readable": one.readable} | _defined(one.values)) for name, one in scores)
        replace_file(self.path / "scores.jsonl", b"".join(lines))
        (self.path / "scores.jsonl.gz").unlink(missing_ok=True)

    def scores(self) -> dict[str, Score]:
        """Every sample's score, by id; DataError for a line that is none."""
        found = {}
        for line in self._lines("scores"):
            try:
                record = json.loads(line)
                name, readable = record.pop("id"), record.pop("readable")
                found[name] = Score({key: math.nan if one is None else one for key, one in record.items()}, readable)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                said = f"{self.path / 'scores.jsonl'} has a line that is no score ({error!r})"
                raise DataError(f"{said}; `score {self.path}` marks again") from error
        return found

    def forget(self) -> None:
        """Removes the answers, so that everything is asked again."""
        for name in ("answers.jsonl", "answers.jsonl.gz", "scores.jsonl", "scores.jsonl.gz", "run.json"):
            (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """The whole folder, and those above it that are empty then."""
        shutil.rmtree(self.path)
        for parent in list(self.path.parents)[:5]:
            if any(parent.iterdir()):
                return
            parent.rmdir()

    def _lines(self, name: str) -> Iterator[str]:
        """What was packed, then what came later."""
        plain, packed = self.path / f"{name}.jsonl", self.path / f"{name}.jsonl.gz"
        for data in (_unpacked(packed), _bytes(plain)):
            yield from filter(None, data.decode("utf-8", errors="replace").split("\n"))


class Appender:
    """Writes answers, each whole and flushed before the next."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def write(self, kept: Kept) -> None:
        """One line; ResourceError where the disk is full."""
        answer = kept.answer
        record = {
            "id": kept.id,
            "raw": answer.raw,
            "value": encoded(answer.value),
            "tokens": answer.tokens,
            "truncated": answer.truncated,
            "seconds": round(answer.seconds, 6),
            "batch": answer.batch,
            "asked": kept.asked,
        }
        if answer.trail is not None:
            record["trail"] = answer.trail
        self.stream.write(_line(record))
        self.stream.flush()


def runs(results: Path) -> Iterator[tuple[RunFolder, Run]]:
    """Every record under a results folder, in order of path; one that cannot be read is warned of and left out."""
    for path in sorted(_records(results)):
        try:
            run = _read_run(path)
        except DataError as error:
            log.warning("%s", error)
            continue
        if run is not None:
            yield RunFolder(path.parent), run


def _records(results: Path) -> Iterator[Path]:
    """Every run.json, wherever it lies; what lies below a run is none (half of rglob's time)."""
    for folder, below, files in os.walk(results):
        if "run.json" in files:
            below.clear()
            yield Path(folder, "run.json")


def find(results: Path, name: str) -> tuple[RunFolder, Run]:
    """A run by its id (or its beginning), its folder or its run.json; UsageError where none or several fit."""
    given = Path(name)
    path = given if given.name == "run.json" else given / "run.json"
    if path.is_file():
        run = _read_run(path)
        if run is not None:
            return RunFolder(path.parent), run
    fitting = [found for found in runs(results) if found[1].id.startswith(name) or found[0].path.name.startswith(name)]
    if len({run.id for _, run in fitting}) == 1:  # the folder with the run's own name is not a copy
        fitting = [found for found in fitting if found[0].path.name == found[1].id] or fitting
    if len(fitting) == 1:
        return fitting[0]
    many = f"{len(fitting)} runs begin with" if fitting else "no run has the id or folder"
    raise UsageError(f"{many} {name!r} in {results}; `python -m harness ls` lists them")


def pack(folder: RunFolder) -> None:
    """Answers and scores gzipped, without a time stamp, for committing; the plain files are removed."""
    for name in ("answers.jsonl", "scores.jsonl"):
        plain = folder.path / name
        if plain.is_file():
            replace_file(folder.path / f"{name}.gz", gzip.compress(plain.read_bytes(), 9, mtime=0))
            plain.unlink()
    (folder.path / "lock").unlink(missing_ok=True)


def keep_speed(results: Path, device: str, name: str, record: Mapping[str, Any]) -> Path:
    """Writes a record of `bench`, whole, to RESULTS/speed/<device>/<name>.json; its path."""
    path = results / "speed" / _safe(device) / f"{_safe(name)}.json"
    with _resources(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, (json.dumps(record, indent=1) + "\n").encode())
    return path


def speeds(results: Path) -> list[dict[str, Any]]:
    """Every record of `bench`, by path; DataError for one that cannot be read."""
    found = []
    for path in sorted((results / "speed").glob("*/*.json")):
        try:
            found.append(json.loads(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is not a readable record: {error}") from error
    return found


def with_status(run: Run, **changes: Any) -> Run:
    """The record with some fields changed."""
    return replace(run, **changes)


def as_json(value: Any) -> str:
    """A record (or a list of them) as it is written."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _read_run(path: Path) -> Run | None:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        schema = msgspec.json.decode(data, type=_Versioned).schema
        if schema != SCHEMA:
            run = msgspec.convert(_migrated(msgspec.json.decode(data), schema, path), Run)
            return replace(run, id=run_id(run.spec))
        return msgspec.json.decode(data, type=Run)
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no run record: {error}; remove its folder, or run again with --fresh") from error


class _Versioned(msgspec.Struct):
    """What every record has, of whatever schema."""

    schema: int


def _migrated(record: dict[str, Any], schema: int, path: Path) -> dict[str, Any]:
    """An older record as it would be written now; on disk it stays as it is.  DataError where there is no way."""
    while schema != SCHEMA:
        if schema not in MIGRATIONS:
            raise DataError(f"{path} has schema {schema}; this version reads 1 to {SCHEMA}")
        record = MIGRATIONS[schema](record)
        schema += 1
        record["schema"] = schema
    return record


def _line(record: Mapping[str, Any]) -> bytes:
    """A line of JSON; ValueError for a number that is none, of which msgspec makes a null."""
    line = msgspec.json.encode(record, enc_hook=_number)
    return (_LINES.encode(record).encode() if b"null" in line else line) + b"\n"


def _defined(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def encoded(value: Value | None) -> dict[str, Any] | None:
    """A value as answers.jsonl has it; None for none."""
    if value is None:
        return None
    for kind, type_ in _VALUES.items():
        if isinstance(value, type_):
            fields = msgspec.to_builtins(value)
            if isinstance(value, Mask):
                fields["counts"] = value.counts.decode("ascii")
            return {"kind": kind, **{name: field for name, field in fields.items() if field is not None}}
    raise TypeError(f"{type(value).__name__} is not a Value")


def _answer(record: dict[str, Any]) -> Answer:
    value = record["value"]
    if value is not None:
        value = dict(value)
        type_ = _VALUES[value.pop("kind")]
        if type_ is Mask:
            value = Mask(Size(*value["size"]), value["counts"].encode("ascii"))
        else:
            value = msgspec.convert(value, type_)
    trail = Trail(*record["trail"]) if "trail" in record else None
    return Answer(
        tuple(record["raw"]), value, record["tokens"], record["truncated"], record["seconds"], record["batch"], trail
    )


def _unpacked(path: Path) -> bytes:
    if not path.is_file():
        return b""
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no whole gzip file: {error}; remove it, and ask again") from error


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _cut_torn_line(path: Path) -> None:
    """Leaves only whole lines: what a kill or a full disk left after the last newline goes."""
    if not path.is_file():
        return
    with path.open("r+b") as stream:
        data = stream.read()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            stream.truncate(whole)


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; ResourceError where the disk will not have it."""
    with _resources(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _resources(what: object) -> Iterator[None]:
    """A full or forbidden disk, said in one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.ENOTDIR):
            raise ResourceError(
                f"cannot write {what}: {error.strerror}; what was answered is kept, the same command goes on from there"
            ) from error
        raise


def _safe(part: str) -> str:
    """A name as one folder: nothing that could leave it."""
    return re.sub(r"[^\w.+-]", "_", part).strip(".") or "_"
