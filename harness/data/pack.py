"""A folder's images into one LMDB file, from which every reader takes them (see `harness.images`).

    <root>/<folder>.lmdb/data.mdb     an image's path within the folder: its file's bytes, unchanged
                                      "\\0state": how many images, and whether all that was asked for are in

Images go in by batches, in order of their names, each batch in one transaction with the state it leads to.  So a store
holds whole batches whenever the writer is killed, the same command goes on from there, and readers use a store only
once a command has come to its end.  A finished store takes in the images it lacks, and is read meanwhile; an image
that is in is not looked at again.
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

BATCH_IMAGES = 1000
BATCH_BYTES = 64 << 20
FIRST_MAP = 1 << 30  # bytes of addresses; doubled whenever they are used up
READERS = 8  # threads: on a network disk, reading is mostly waiting


@dataclass(frozen=True, slots=True)
class Packed:
    """What came of packing: how many images went in, of how many bytes, and how many were in before.

    By reference, those that did not: `missing` is not there or cannot be opened, `unreadable` is no image.
    """

    path: Path
    written: int = 0
    already: int = 0
    bytes: int = 0
    missing: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def by_folder(references: Iterable[str], folders: Iterable[str]) -> dict[str, list[str]]:
    """Each reference once, under the deepest of these folders that holds it; under its own where none does."""
    known = set(folders)
    found: dict[str, list[str]] = {}
    for reference in dict.fromkeys(references):
        folder = own = reference.rpartition("/")[0]
        while folder and folder not in known:
            folder = folder.rpartition("/")[0]
        found.setdefault(folder or own, []).append(reference)
    return found


def pack(root: Path, references: Iterable[str], *, folder: str, first_map: int = FIRST_MAP) -> Packed:
    """Puts the images of these references, all in `folder`, into its store, but for those that are in it.

    ResourceError where the disk is full (what is in the store is kept) or the store cannot be written, DataError where
    it is corrupt or not ours.  No other thread of this process may be reading from it.
    """
    path = images.store_path(root, folder)
    names = sorted({_name(reference, folder) for reference in references})
    finished = images.open_store(path)
    if finished is not None and not _lacking(finished.environment, names):
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
    """Reads a whole store against its digest; DataError where it is corrupt, or there is no finished one."""
    path = images.store_path(root, folder)
    store = images.open_store(path)
    if store is None:
        raise DataError(f"{path} is no finished store; `python -m harness data pack` makes one, or goes on with it")
    try:
        with store.environment.begin() as transaction:
            state = images.read_state(transaction, path)
            total = sum(digest(key, data) for key, data in transaction.cursor() if key != STATE)
    except lmdb.Error as error:
        raise DataError(f"the store {path} cannot be read: {error}; {images.REMEDY}") from error
    if state is None or _hex(total) != state.digest:
        raise DataError(f"the store {path} does not hold what was packed; {images.REMEDY}")
    return state


def digest(key: bytes, data: bytes) -> int:
    """Of one image; a store's is the sum, modulo 2 to the 256th: it needs no order, and grows by what is put in."""
    return int.from_bytes(hashlib.sha256(key + b"\0" + hashlib.sha256(data).digest()).digest())


# ---------------------------------------------------------------------------- writing


@dataclass(slots=True)
class _Writer:
    """A store that is open for writing, and the batch that goes into it next."""

    path: Path
    environment: lmdb.Environment
    batch: list[tuple[bytes, bytes]] = field(default_factory=list)
    size: int = 0
    count: int = 0  # of images written, and their bytes
    total: int = 0

    def lacking(self, names: Sequence[str]) -> list[str]:
        """Those that are not in it."""
        with self.environment.begin() as transaction:
            self._state(transaction)
        return _lacking(self.environment, names)

    def put(self, name: str, data: bytes) -> None:
        self.batch.append((images.key_of(name), data))
        self.size += len(data)
        if len(self.batch) >= BATCH_IMAGES or self.size >= BATCH_BYTES:
            self.commit()

    def commit(self, *, complete: bool = False) -> None:
        """The batch and the state it leads to, in one transaction; again in a larger map where it does not fit."""
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
                self.environment.set_mapsize(0)  # another process has made it larger
        self.count += after.count - before.count
        self.total += after.bytes - before.bytes
        self.batch, self.size = [], 0
        self._lengthen()

    def _put_all(self, transaction: lmdb.Transaction, state: State) -> State:
        new = [(key, data) for key, data in self.batch if transaction.put(key, data, overwrite=False)]
        return State(
            VERSION,
            state.complete,
            state.count + len(new),
            state.bytes + sum(len(data) for _, data in new),
            _hex(int(state.digest, 16) + sum(digest(key, data) for key, data in new)),
        )

    def _state(self, transaction: lmdb.Transaction) -> State:
        """DataError where there are entries that no `pack` has written."""
        state = images.read_state(transaction, self.path)
        if state is None and transaction.cursor().first():
            raise DataError(f"{self.path} is an LMDB that this harness did not write; move it elsewhere")
        return state or State(VERSION)

    def _lengthen(self) -> None:
        """LMDB leaves a free last page unwritten, and readers would take the file for one that was cut."""
        needed = (self.environment.info()["last_pgno"] + 1) * self.environment.stat()["psize"]
        if (self.path / "data.mdb").stat().st_size < needed:
            os.truncate(self.path / "data.mdb", needed)


def _lacking(environment: lmdb.Environment, names: Sequence[str]) -> list[str]:
    """The names that are not in a store; no image is read for it."""
    with environment.begin() as transaction:
        cursor = transaction.cursor()
        return [name for name in names if not cursor.set_key(images.key_of(name))]


def _fill(writer: _Writer, root: Path, folder: str, names: Sequence[str]) -> Packed:
    lacking = writer.lacking(names)
    missing: list[str] = []
    unreadable: list[str] = []
    before = len(names) - len(lacking)
    with tqdm(total=len(names), initial=before, desc=f"packing {folder}", unit="image", disable=None) as progress:
        for name, data in _read_ahead(root / folder, lacking):
            if data is None:
                missing.append(f"{folder}/{name}")
            elif images.is_image(data):
                writer.put(name, data)
            else:
                unreadable.append(f"{folder}/{name}")
            progress.update()
        writer.commit(complete=True)
    already = len(names) - writer.count - len(missing) - len(unreadable)  # another process may have put some in
    return Packed(writer.path, writer.count, already, writer.total, tuple(missing), tuple(unreadable))


def _read_ahead(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    """Files in the order of their names, a few at a time; None for one that cannot be read."""

    def read(name: str) -> bytes | None:
        try:
            return images.read_file(folder / name)
        except MissingImage:
            return None

    with ThreadPoolExecutor(READERS, "packing") as pool:
        for start in range(0, len(names), 4 * READERS):
            part = names[start : start + 4 * READERS]
            yield from zip(part, pool.map(read, part), strict=True)


@contextmanager
def _writing(path: Path, first_map: int) -> Iterator[lmdb.Environment]:
    """The store open for writing, made where it is not there; whatever goes wrong as one of our errors."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with lmdb.open(str(path), map_size=first_map) as environment:
            images.refuse_cut(environment, path)
            yield environment
    except images.CORRUPT as error:
        raise DataError(f"the store {path} cannot be read: {error}; {images.REMEDY}") from error
    except (lmdb.Error, OSError) as error:
        raise ResourceError(
            f"the store {path} cannot be written: {error} ({_free(path)} MB free on its disk); what is in it is kept, "
            "and the same command goes on"
        ) from error


def _free(path: Path) -> int:
    """Megabytes: what LMDB says of a full disk is "Input/output error"."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(there).free >> 20


def _name(reference: str, folder: str) -> str:
    """ValueError where the reference is not in the folder."""
    if not folder or not reference.startswith(f"{folder}/"):
        raise ValueError(f"the image {reference} is not in {folder or 'a folder'}")
    return reference[len(folder) + 1 :]


def _hex(total: int) -> str:
    return f"{total % (1 << 256):064x}"
