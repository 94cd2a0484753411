"""An image reference to its bytes, and to RGB; EXIF decided once.

A reference is a path relative to the data root.  Where a folder F of it has been packed (`harness data pack`), the
finished store F.lmdb, beside the folder or instead of it, is read first, and the file only for an image that the store
lacks; of several such folders the nearest counts.  A store is opened at the first image read from it, once in a
process, and serves all threads; a forked process opens its own.  Written again from a changed folder it is not: delete
it and pack again.

Orientation tags are not applied: COCO's annotations (and those of everything built on it) are in stored pixels.  A data
set annotated in rotated pixels asks for `upright=True`.

Grey, palette, RGBA and CMYK images become RGB as Pillow converts them (alpha is dropped, as the published
processor drops it); 16-bit grey is scaled to 8 bits, where Pillow would cut it at 255; 32-bit integer and
float images have no agreed range and are refused.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from harness.core import GivenImage, ImageRef
from harness.errors import DataError, ResourceError, UsageError

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit begins with a warning; ours is below
MOST_PIXELS = 400_000_000
UNDECODABLE = (OSError, ValueError, SyntaxError, OverflowError, MemoryError)


class MissingImage(DataError):
    """An image whose bytes are not to be had: neither packed nor a file that can be read."""


def open_rgb(root: Path, reference: ImageRef, *, upright: bool = False) -> Image.Image:
    """The image as 8-bit RGB; DataError where it is missing, corrupt or of a kind that has no agreed range."""
    if isinstance(reference, GivenImage):
        loaded: Image.Image = reference.load()
        return loaded
    data = read_bytes(root, reference)
    return decode(data, str(root / reference), upright=upright)


def decode(data: bytes, name: str, *, upright: bool = False) -> Image.Image:
    """The bytes of an image file as 8-bit RGB; DataError, with the name, for what cannot be decoded."""
    try:
        with Image.open(BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(f"it claims {image.width} x {image.height} pixels; at most {MOST_PIXELS:,} are decoded")
            image.load()
            return to_rgb(ImageOps.exif_transpose(image) if upright else image)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise DataError(f"the image {name} cannot be decoded: it is of no format that Pillow knows") from error
    except UNDECODABLE as error:
        raise DataError(f"the image {name} cannot be decoded: {error}") from error


def given(image: str | Path | bytes | Image.Image | NDArray[Any]) -> GivenImage:
    """An image that is handed over: a path, the bytes of a file, an image of Pillow's, or an array of uint8.

    An array is (height, width) or (height, width, 3), RGB.  UsageError for anything else; what is in a file is looked
    at when the image is loaded.
    """
    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        return GivenImage(str(path), lambda: decode(read_file(path), str(path)))
    if isinstance(image, bytes):
        return GivenImage("the given bytes", lambda: decode(image, "of the given bytes"))
    if isinstance(image, Image.Image):
        return GivenImage("the given image", lambda: to_rgb(image))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
            shape = f"{image.dtype} of shape {image.shape}"
            raise UsageError(f"an image as an array is uint8, (height, width) or (height, width, 3); this is {shape}")
        return GivenImage("the given array", lambda: to_rgb(Image.fromarray(image)))
    raise UsageError(f"an image is a path, bytes, a Pillow image or an array, not {type(image).__name__}")


def to_rgb(image: Image.Image) -> Image.Image:
    """Any 8-bit or 16-bit image as 8-bit RGB; DataError for 32-bit ones."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N"):
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise DataError(f"an image of mode {image.mode} has no agreed range; convert it to 8 or 16 bits first")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of an alpha for each colour on the way to RGB
    return image if image.mode == "RGB" else image.convert("RGB")


def is_image(data: bytes) -> bool:
    """Whether the header is one that Pillow knows; the pixels are not decoded."""
    try:
        with Image.open(BytesIO(data)):
            return True
    except UNDECODABLE:
        return False


def read_bytes(root: Path, reference: str) -> bytes:
    """An image's file as it was written, out of its folder's store or its folder.

    MissingImage where neither has it; DataError where the store is corrupt.
    """
    home = _home(root, reference)
    if home is None:
        return read_file(root / reference)
    store, name = home
    data = store.get(name)
    return read_file(root / reference, f", nor in {store.path}") if data is None else data


def exists(root: Path, reference: str) -> bool:
    """Whether an image is there to be read, packed or as a file; DataError where its store is corrupt."""
    home = _home(root, reference)
    return (home is not None and home[0].get(home[1]) is not None) or (root / reference).is_file()


def read_file(path: Path, nor: str = "") -> bytes:
    """The bytes of an image's file; MissingImage, adding where else it is not, if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingImage(
            f"the image {path} is not there{nor}; `python -m harness data check` lists what is missing"
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MissingImage(f"the image {path} cannot be read: {reason}") from error


# ---------------------------------------------------------------------------- stores

VERSION = 1
STATE = b"\0state"  # the key of the state; no file name has a NUL in it
LONGEST_KEY = 511  # bytes; LMDB's own limit
READ_MAP = 1 << 40  # bytes of addresses, not of memory: a store that grows while it is read stays within
CORRUPT = (
    lmdb.BadChecksumError, lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.VersionMismatchError,
)  # fmt: skip
REMEDY = "delete it and `python -m harness data pack` again"


class State(msgspec.Struct, frozen=True):
    """What a store says of itself, renewed with every batch: how many images it holds, and of how many bytes.

    `complete` once all that was asked for has been packed.
    """

    version: int
    complete: bool = False
    count: int = 0
    bytes: int = 0
    digest: str = "0"  # see `harness.data.pack.digest`


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """A finished store, open for reading."""

    path: Path
    environment: lmdb.Environment

    def get(self, name: str) -> bytes | None:
        """The image of a name within the folder, None where it was not packed; DataError where the store is corrupt."""
        with _turns[threading.get_ident() % len(_turns)]:
            try:
                with self.environment.begin() as transaction:
                    return transaction.get(key_of(name))
            except lmdb.Error as error:
                raise DataError(f"the store {self.path} cannot be read: {error}; {REMEDY}") from error


_lock = threading.Lock()  # held to change what is below
_turns = [threading.Lock() for _ in range(61)]  # a thread holds one while it reads; a fork waits for all
_opened: dict[tuple[int, int], Store | None] = {}  # by device and inode: LMDB opens a file once in a process
_homes: dict[tuple[Path, str], tuple[Store, int]] = {}  # folders of references: their store, and where names begin


def store_path(root: Path, folder: str) -> Path:
    """Where a folder's store lies."""
    return root / f"{folder}.lmdb"


def key_of(name: str) -> bytes:
    """The path within the folder, as UTF-8; a digest of it where it is too long for LMDB."""
    key = name.encode("utf-8", "surrogatepass")
    return key if 0 < len(key) <= LONGEST_KEY else b"\0" + hashlib.sha256(key).digest()


def open_store(path: Path) -> Store | None:
    """A finished store; None where there is none, or one that is not finished (which holds for this process).

    DataError where it is corrupt, cut short, or of another version; ResourceError where it cannot be opened.
    """
    identity, size = _identity(path)
    if not size:
        return None
    with _lock:
        if identity not in _opened:
            _opened[identity] = _open(path)
        return _opened[identity]


def release(path: Path) -> None:
    """Closes a store, so that it can be written, or looked at anew; no other thread may be reading from it."""
    with _lock:
        store = _opened.pop(_identity(path)[0], None)
        for home in [home for home, (theirs, _) in _homes.items() if theirs is store]:
            del _homes[home]
        if store is not None:
            store.environment.close()


def read_state(transaction: lmdb.Transaction, path: Path) -> State | None:
    """What a store says of itself, None where it says nothing; DataError where that is of another version."""
    said = transaction.get(STATE)
    if said is None:
        return None
    try:
        state = msgspec.json.decode(said, type=State)
    except ValueError as error:
        raise DataError(f"the store {path} is malformed, or of a later version: {error}; {REMEDY}") from error
    if state.version != VERSION:
        raise DataError(f"the store {path} is of version {state.version}; this harness reads {VERSION}; {REMEDY}")
    return state


def refuse_cut(environment: lmdb.Environment, path: Path) -> None:
    """DataError where the file ends before its last page: reading there would end the process, not raise."""
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    size = (path / "data.mdb").stat().st_size
    if size < needed:
        raise DataError(f"the store {path} is cut short, at {size:,} of {needed:,} bytes; copy it again, or {REMEDY}")


def _identity(path: Path) -> tuple[tuple[int, int], int]:
    """A store's device and inode, and its size; zeros where there is none."""
    try:
        status = (path / "data.mdb").stat()
    except (OSError, ValueError):
        return (0, 0), 0
    return (status.st_dev, status.st_ino), status.st_size


def _open(path: Path) -> Store | None:
    with ExitStack() as opened:
        try:
            environment = lmdb.open(
                str(path),
                map_size=READ_MAP,
                readonly=True,
                create=False,
                lock=False,
                readahead=True,  # else each 4 kB of an image are a trip to the disk of their own
                meminit=False,
            )
            opened.callback(environment.close)
            refuse_cut(environment, path)
            with environment.begin() as transaction:
                state = read_state(transaction, path)
            held = environment.stat()["entries"] - 1
        except CORRUPT as error:
            raise DataError(f"the store {path} cannot be read: {error}; {REMEDY}") from error
        except lmdb.Error as error:
            raise ResourceError(f"the store {path} cannot be opened: {error}") from error
        if state is None or not state.complete:
            return None
        if held < state.count:
            raise DataError(f"the store {path} holds {held} of its {state.count} images; {REMEDY}")
        opened.pop_all()
        return Store(path, environment)


def _home(root: Path, reference: str) -> tuple[Store, str] | None:
    """The store that a reference is looked for in, and its name there; None: its file alone counts."""
    root = root.absolute()
    folder = reference[: max(0, reference.rfind("/"))]
    known = _homes.get((root, folder))
    if known is None:
        for above in _folders(folder):
            store = open_store(store_path(root, above))
            if store is not None:
                known = _homes[root, folder] = store, len(above) + 1
                break
    return None if known is None else (known[0], reference[known[1] :])


def _folders(folder: str) -> Iterator[str]:
    """A folder and those above it, the nearest first."""
    while folder:
        yield folder
        folder = folder[: max(0, folder.rfind("/"))]


def _before_fork() -> None:
    """Waits until no thread is inside LMDB: closing a store in the child would wait for that thread for ever."""
    for turn in (_lock, *_turns):
        turn.acquire()


def _after_fork() -> None:
    for turn in (_lock, *_turns):
        turn.release()


def _in_the_child() -> None:
    """A child may not use its parent's stores, nor open them anew before they are closed in it."""
    for store in filter(None, _opened.values()):
        store.environment.close()
    _opened.clear()
    _homes.clear()
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_the_child)
