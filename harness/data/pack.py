"""Packs the images of a folder into one LMDB file, the store, which `harness.images` reads.

    <root>/<folder>.lmdb/data.mdb     an image's path within the folder: the unchanged bytes of its file
                                      "\\0state": the number of images, and whether packing has finished

Images are written in batches, in order of their names.  A batch and the state after it are one transaction, so a store
holds whole batches whenever the writer is killed.  The same command resumes.  Readers use a store only after a `pack`
command has finished.

A finished store can be extended, also while it is read.  An image that is in the store is never compared with its file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lmdb
import msgspec
from tqdm import tqdm

from harness import images
from harness.errors import DataError, ResourceError
from harness.images import STATE, VERSION, MissingImage, State
from harness.sinks import line

BATCH_IMAGES = 1000
BATCH_BYTES = 64 << 20
FIRST_MAP = 1 << 30  # bytes of address space; doubled when they are used up
READERS = 8  # threads; on a network disk, most of reading is waiting


@dataclass(frozen=True, slots=True)
class Packed:
    """The result of packing one folder.

    `written` images of `bytes` in total were added; `already` images were in the store before.  `missing` are the
    references whose file does not exist or cannot be opened, `unreadable` those whose file is not an image.
    """

    path: Path
    written: int = 0
    already: int = 0
    bytes: int = 0
    missing: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def by_folder(references: Iterable[str], folders: Iterable[str]) -> dict[str, list[str]]:
    """References grouped by folder, each once: by the innermost of `folders` that contains it, else by its own.

    MissingImage for a reference that leads out of the data root.
    """
    known = set(folders)
    grouped: dict[str, list[str]] = {}
    for reference in dict.fromkeys(map(images.inside, references)):
        folder = own = reference.rpartition("/")[0]
        while folder and folder not in known:
            folder = folder.rpartition("/")[0]
        grouped.setdefault(folder or own, []).append(reference)
    return grouped


def pack(root: Path, references: Iterable[str], *, folder: str, first_map: int = FIRST_MAP) -> Packed:
    """Adds the images of these references, all within `folder`, to its store; images in the store are skipped.

    `first_map` is the initial address space in bytes.  No other thread of this process may be reading from the store.

    ResourceError if the disk is full or the store cannot be written; whole batches are kept.  DataError if the store is
    corrupt or was not written by this harness.  ValueError for a reference in another folder.
    """
    path = images.store_path(root, folder)
    names = sorted({_name(reference, folder) for reference in references})
    finished = images.open_store(path)
    if finished is not None and not _not_in_store(finished.environment, names):
        return Packed(path, already=len(names))
    if not path.exists() and not any((root / folder / name).is_file() for name in names):
        return Packed(path, missing=tuple(f"{folder}/{name}" for name in names))
    images.release(path)
    try:
        with _writing(path, first_map) as environment:
            return _fill(_Writer(path, environment), root, folder, names)
    finally:
        images.release(path)


def check(root: Path, folder: str) -> State:
    """Reads a whole store, compares it with its digest, and returns its state.

    DataError if the store is corrupt, or there is no finished store.
    """
    path = images.store_path(root, folder)
    store = images.open_store(path)
    if store is None:
        raise DataError(f"{path} is not a finished store; `python -m harness data pack` creates or completes it")
    try:
        with store.environment.begin() as transaction:
            state = images.read_state(transaction, path)
            total = sum(digest(key, data) for key, data in transaction.cursor() if key != STATE)
    except lmdb.Error as error:
        raise DataError(f"the store {path} cannot be read: {error}; {images.REMEDY}") from error
    if state is None or _hex(total) != state.digest:
        raise DataError(f"the store {path} differs from what was packed; {images.REMEDY}")
    return state


def digest(key: bytes, data: bytes) -> int:
    """The digest of one image.

    A store's digest is the sum of its images' digests, modulo 2**256.  A sum does not depend on order, and a batch can
    be added to it.
    """
    return int.from_bytes(hashlib.sha256(key + b"\0" + hashlib.sha256(data).digest()).digest())


# ---------------------------------------------------------------------------- writing


@dataclass(slots=True)
class _Writer:
    """A store that is open for writing, and the next batch."""

    path: Path
    environment: lmdb.Environment
    batch: list[tuple[bytes, bytes]] = field(default_factory=list)
    size: int = 0  # bytes in the batch
    count: int = 0  # images written
    total: int = 0  # bytes written

    def not_in_store(self, names: Sequence[str]) -> list[str]:
        """The names that are not in the store; DataError if this harness did not write the store."""
        with self.environment.begin() as transaction:
            self._state(transaction)
        return _not_in_store(self.environment, names)

    def put(self, name: str, data: bytes) -> None:
        """Adds an image to the batch, and writes the batch if it is full."""
        self.batch.append((images.key_of(name), data))
        self.size += len(data)
        if len(self.batch) >= BATCH_IMAGES or self.size >= BATCH_BYTES:
            self.commit()

    def commit(self, *, complete: bool = False) -> None:
        """Writes the batch and the state after it in one transaction, in a larger map if they do not fit."""
        while True:
            try:
                with self.environment.begin(write=True) as transaction:
                    before = self._state(transaction)
                    after = self._put_all(transaction, before)
                    after = msgspec.structs.replace(after, complete=before.complete or (complete and after.count > 0))
                    transaction.put(STATE, msgspec.json.encode(after))
                break
            except lmdb.MapFullError:
                self.environment.set_mapsize(2 * self.environment.info()["map_size"])
            except lmdb.MapResizedError:
                self.environment.set_mapsize(0)  # another process has enlarged the map
        self.count += after.count - before.count
        self.total += after.bytes - before.bytes
        self.batch, self.size = [], 0
        self._extend_to_last_page()

    def _put_all(self, transaction: lmdb.Transaction, state: State) -> State:
        """Writes the images that are not in the store, and returns the state after them."""
        new = [(key, data) for key, data in self.batch if transaction.put(key, data, overwrite=False)]
        return State(
            VERSION,
            state.complete,
            state.count + len(new),
            state.bytes + sum(len(data) for _, data in new),
            _hex(int(state.digest, 16) + sum(digest(key, data) for key, data in new)),
        )

    def _state(self, transaction: lmdb.Transaction) -> State:
        """The current state; DataError if there are entries but no state, which this harness never writes."""
        state = images.read_state(transaction, self.path)
        if state is None and transaction.cursor().first():
            raise DataError(f"{self.path} is an LMDB that this harness did not write; move it elsewhere")
        return state or State(VERSION)

    def _extend_to_last_page(self) -> None:
        """Extends the file if LMDB left a free last page unwritten; else readers would take it for truncated."""
        needed = (self.environment.info()["last_pgno"] + 1) * self.environment.stat()["psize"]
        if (self.path / "data.mdb").stat().st_size < needed:
            os.truncate(self.path / "data.mdb", needed)


def _not_in_store(environment: lmdb.Environment, names: Sequence[str]) -> list[str]:
    """The names that are not in a store; images are not read."""
    with environment.begin() as transaction:
        cursor = transaction.cursor()
        return [name for name in names if not cursor.set_key(images.key_of(name))]


def _fill(writer: _Writer, root: Path, folder: str, names: Sequence[str]) -> Packed:
    """Writes the images that the store lacks, and marks the store as finished."""
    absent = writer.not_in_store(names)
    missing: list[str] = []
    unreadable: list[str] = []
    before = len(names) - len(absent)
    with tqdm(total=len(names), initial=before, desc=line(f"packing {folder}"), unit="image", disable=None) as progress:
        for name, data in _read_ahead(root, folder, absent):
            if data is None:
                missing.append(f"{folder}/{name}")
            elif images.is_image(data):
                writer.put(name, data)
            else:
                unreadable.append(f"{folder}/{name}")
            progress.update()
        writer.commit(complete=True)
    already = len(names) - writer.count - len(missing) - len(unreadable)  # another process may have written some
    return Packed(writer.path, writer.count, already, writer.total, tuple(missing), tuple(unreadable))


def _read_ahead(root: Path, folder: str, names: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    """(name, bytes) in the order of `names`, read a few at a time; None for a file that cannot be read."""

    def read(name: str) -> bytes | None:
        try:
            return images.read_file(images.file_of(root, f"{folder}/{name}"))
        except MissingImage:
            return None

    with ThreadPoolExecutor(READERS, "packing") as pool:
        for start in range(0, len(names), 4 * READERS):
            part = names[start : start + 4 * READERS]
            yield from zip(part, pool.map(read, part), strict=True)


@contextmanager
def _writing(path: Path, first_map: int) -> Iterator[lmdb.Environment]:
    """The store, created if it does not exist and open for writing.

    Errors of LMDB and of the file system become DataError and ResourceError.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with lmdb.open(str(path), map_size=first_map) as environment:
            images.refuse_truncated(environment, path)
            yield environment
    except images.CORRUPT as error:
        raise DataError(f"the store {path} cannot be read: {error}; {images.REMEDY}") from error
    except (lmdb.Error, OSError) as error:
        raise ResourceError(
            f"the store {path} cannot be written: {error} ({_free(path)} MB free on its disk); its images are kept, "
            "and the same command resumes"
        ) from error


def _free(path: Path) -> int:
    """Free megabytes on the disk, for the message, because LMDB reports a full disk as "Input/output error"."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(existing).free >> 20


def _name(reference: str, folder: str) -> str:
    """The path of a reference within the folder; ValueError if the reference is not in the folder."""
    reference = images.inside(reference)
    if not folder or not reference.startswith(f"{folder}/"):
        raise ValueError(f"the image {reference} is not in {folder or 'a folder'}")
    return reference[len(folder) + 1 :]


def _hex(total: int) -> str:
    """A store's digest as 64 hexadecimal digits."""
    return f"{total % (1 << 256):064x}"
