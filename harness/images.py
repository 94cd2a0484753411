"""An image reference to the bytes of its file, and to 8-bit RGB.

A reference is a path relative to the data root.  `harness data pack` packs the images of a folder F into a store,
F.lmdb, next to F.  A finished store is read first; the file is read if the store lacks the image.  Of several packed
folders that contain an image, the innermost counts; the folder itself may be gone.

A root may be mounted: its images are then read from the rows of parquet files (`harness.data.parquet`), and not from
any file under the root.

A store is opened when the first image is read from it, once per process, and serves all threads.  A forked process
opens it again.  Packing does not notice changed files: delete the store and pack again.

A data set may be a stranger's.  Only the formats in `FORMATS` are decoded, whatever a file's name says.  Only regular
files are opened.  No name of an image leads out of the data root.  Links that the user made are followed: the root,
the folders that a task names, and the folders above these (see `refuse_outside`).  A link to a single file must end
under the root, in the link's own folder, or among the blobs of the hub cache that holds the link.

Orientation tags of EXIF are ignored unless `upright=True`.  COCO's annotations, and those of data sets built on COCO,
are in pixels as stored.  Data sets annotated in rotated pixels need `upright=True`.

Grey, palette, RGBA and CMYK images are converted by Pillow.  Alpha is dropped, as in the published processor.  16-bit
grey is scaled to 8 bits; Pillow would clip it at 255.  32-bit integer and float images are refused, because they have
no agreed range.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import lmdb
import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from harness.core import GivenImage, ImageRef, Size
from harness.errors import DataError, ResourceError, UsageError

Image.MAX_IMAGE_PIXELS = None  # Pillow's limit first warns and then raises; `MOST_PIXELS` replaces it
MOST_PIXELS = 400_000_000  # in one image
MOST_BYTES = 1 << 31  # in one image file
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # for EPS and others, Pillow starts another program
UNDECODABLE = (OSError, ValueError, TypeError, SyntaxError, OverflowError, MemoryError)


class BadImage(DataError):
    """An image that cannot be read or decoded; other images are not affected."""


class MissingImage(BadImage):
    """An image that is neither in a store nor in a file that can be read, or whose name leads out of the data root."""


def open_rgb(root: Path, reference: ImageRef, *, upright: bool = False) -> Image.Image:
    """The image as 8-bit RGB; BadImage if it is missing, corrupt, too large, or of a mode without an agreed range."""
    if isinstance(reference, GivenImage):
        loaded: Image.Image = reference.load()
        return loaded
    data = read_bytes(root, reference)
    return decode(data, str(root / reference), upright=upright)


def decode(data: bytes, name: str, *, upright: bool = False) -> Image.Image:
    """The bytes of an image file as 8-bit RGB; BadImage, naming the image, if they cannot be decoded."""
    with _opened_image(data, name) as image:
        image.load()
        return to_rgb(ImageOps.exif_transpose(image) if upright else image)


def size_of(root: Path, reference: str) -> Size:
    """The size of an image in pixels, as stored; DataError as `open_rgb`.  Pixels are not decoded."""
    return size_in(read_bytes(root, reference), str(root / reference))


def size_in(data: bytes, name: str) -> Size:
    """The size in pixels in the bytes of an image file, as `size_of`; BadImage, naming the image, for others."""
    with _opened_image(data, name) as image:
        return Size(*image.size)


@contextmanager
def _opened_image(data: bytes, name: str) -> Iterator[Image.Image]:
    """The image in the bytes of a file, not decoded yet; errors within the context become BadImage with its name."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(f"its header says {image.width} x {image.height} pixels; the limit is {MOST_PIXELS:,}")
            yield image
    except DataError as error:
        raise BadImage(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        reason = f"it is not {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; it begins with {data[:12]!r}"
        raise BadImage(f"the image {name} cannot be decoded: {reason}") from error
    except UNDECODABLE as error:
        raise BadImage(f"the image {name} cannot be decoded: {error}") from error


def given(image: str | Path | bytes | Image.Image | NDArray[Any]) -> GivenImage:
    """An image that the caller supplies: a path, the bytes of an image file, a Pillow image, or an array.

    An array is uint8 of shape (height, width), or (height, width, 3) in RGB.  UsageError for any other value.  A file
    is opened when the image is loaded, so its errors are raised then.
    """
    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        return GivenImage(str(path), lambda: decode(read_file(path), str(path)))
    if isinstance(image, bytes):
        return GivenImage("the given bytes", lambda: decode(image, "in the given bytes"))
    if isinstance(image, Image.Image):
        return GivenImage("the given image", lambda: to_rgb(image))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
            shape = f"{image.dtype} of shape {image.shape}"
            raise UsageError(f"an image as an array is uint8, (height, width) or (height, width, 3); this is {shape}")
        return GivenImage("the given array", lambda: to_rgb(Image.fromarray(image)))
    raise UsageError(f"an image is a path, bytes, a Pillow image or an array, not {type(image).__name__}")


def to_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit or 16-bit image as 8-bit RGB; DataError for a 32-bit image."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N"):
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise DataError(f"an image of mode {image.mode} has no agreed range; convert it to 8 or 16 bits first")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # converted to RGB directly, Pillow warns if each colour has an alpha
    return image if image.mode == "RGB" else image.convert("RGB")


def is_image(data: bytes) -> bool:
    """Whether the header is of one of `FORMATS`; pixels are not decoded."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS):
            return True
    except UNDECODABLE:
        return False


def read_bytes(root: Path, reference: str) -> bytes:
    """The unchanged bytes of an image file, from a store or else from the file.

    MissingImage if neither has the image, or if its name or a link leads out of the root; DataError if the store is
    corrupt.
    """
    reference = inside(reference)
    if (rows := _mounted.get(root)) is not None:
        return _from_row(rows, root, reference)
    located = _locate(root, reference)
    if located is None:
        return read_file(file_of(root, reference))
    store, name = located
    data = store.get(name)
    return read_file(file_of(root, reference), f", nor in {store.path}") if data is None else data


def image_key(reference: str) -> str:
    """A key that equal images share: COCO's number, which is the same in all years of COCO; else the path."""
    number = re.search(r"(\d{12})\.jpg$", reference)
    return f"coco {int(number[1])}" if number and "coco" in reference.lower() else reference


def exists(root: Path, reference: str) -> bool:
    """Whether an image is in a store or in a file that may be read; DataError if the store is corrupt."""
    try:
        reference = inside(reference)
        if (rows := _mounted.get(root)) is not None:
            return reference in rows
        located = _locate(root, reference)
        packed = located is not None and located[0].get(located[1]) is not None
        return packed or os.path.isfile(file_of(root, reference))
    except MissingImage:
        return False


def stamp(root: Path, reference: str) -> tuple[int, int, int] | None:
    """The size, the time of change and the inode of an image's file; None for one that has no file of its own.

    The same stamp is the same file.  MissingImage as `inside`.
    """
    reference = inside(reference)
    if root in _mounted or _locate(root, reference) is not None:
        return None
    try:
        status = file_of(root, reference).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def read_file(path: Path, nor: str = "") -> bytes:
    """The bytes of an image file; MissingImage if it cannot be read, or is a folder, a pipe or a device.

    `nor` is added to the message; it names a store that lacks the image too.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MissingImage(f"the image {path} cannot be read: it is a folder, a pipe or a device, not a file")
        if status.st_size > MOST_BYTES:
            raise MissingImage(f"the image {path} cannot be read: {status.st_size:,} bytes; at most {MOST_BYTES:,}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingImage(
            f"the image {path} is not there{nor}; `python -m harness data check` lists missing images"
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MissingImage(f"the image {path} cannot be read: {reason}") from error


# ---------------------------------------------------------------------------- mounted roots


class Mounted(Protocol):
    """The images of a root that are in no file of their own; safe for threads and forks."""

    def __contains__(self, reference: str) -> bool: ...

    def get(self, reference: str) -> bytes | None:
        """The bytes of an image; None if it is not there.  DataError if what holds it is damaged."""
        ...


_mounted: dict[Path, Mounted] = {}


def mount(root: Path, images: Mounted) -> None:
    """Makes this process read the images of a root from `images`; a process that it forks does too."""
    _mounted[root] = images


def mounted(root: Path) -> Mounted | None:
    """What is mounted at a root; None if its images are in files."""
    return _mounted.get(root)


def _from_row(rows: Mounted, root: Path, reference: str) -> bytes:
    data = rows.get(reference)
    if data is None:
        what = "its row has no bytes" if reference in rows else "no row has it"
        raise MissingImage(f"the image {root / reference} is in parquet rows, and {what}")
    if len(data) > MOST_BYTES:
        raise MissingImage(f"the image {root / reference} cannot be read: {len(data):,} bytes; at most {MOST_BYTES:,}")
    return data


# ---------------------------------------------------------------------------- names and links


def inside(reference: str) -> str:
    """A reference without `.`, `..` and repeated slashes; MissingImage if it is not a path below the data root."""
    plain = os.path.normpath(reference)
    if plain.startswith(("/", "../")) or plain in (".", "..") or "\0" in plain or not _is_encodable(plain):
        raise MissingImage(
            f"the image name {reference!r} is not a path below the data root; "
            "annotations name images by paths relative to their folder of images"
        )
    return plain


def file_of(root: Path, reference: str) -> Path:
    """The path of an image's file, which may not exist; MissingImage if it is a link that leads out of the root."""
    path = root / inside(reference)
    if os.path.islink(path):
        real, folder = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent))
        if not (_is_below(real, root) or real.is_relative_to(folder) or real.parent in _blobs(folder)):
            raise MissingImage(
                f"the image {path} is a link out of the data root, to {real}, and is not followed; copy the file, or "
                "link the whole folder of images"
            )
    return path


def refuse_outside(root: Path, folder: str, folders: Iterable[str]) -> None:
    """DataError if a folder of images below the root is reached by a link of the data set that leads out of the root.

    `folders` are the folders that a task names, relative to the root.  They, and the folders above them, may be links
    to anywhere, since the user makes these.  Links below them come with the data set, and must stay within.
    """
    users = root / max((os.path.commonpath([folder, other]) for other in folders), key=len, default="")
    real = Path(os.path.realpath(root / folder))
    if not (_is_below(real, root) or _is_below(real, users)):
        raise DataError(
            f"the folder {root / folder} is a link out of {users}, to {real}, and is not followed; "
            "copy its images, or give another data root"
        )


def _is_encodable(name: str) -> bool:
    """Whether the file system can hold a file of this name."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _is_below(real: Path, folder: Path) -> bool:
    return real.is_relative_to(os.path.realpath(folder))


def _blobs(folder: Path) -> list[Path]:
    """The folders of blobs of the hub cache that holds this folder: <repository>/blobs for <repository>/snapshots."""
    return [above.parent / "blobs" for above in folder.parents if above.name == "snapshots"]


# ---------------------------------------------------------------------------- stores

VERSION = 1
STATE = b"\0state"  # the key of the state; no file name contains a NUL
LONGEST_KEY = 511  # bytes; LMDB's limit
READ_MAP = 1 << 40  # bytes of address space, not of memory; larger than any store may become while it is read
CORRUPT = (
    lmdb.BadChecksumError, lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.VersionMismatchError,
)  # fmt: skip
REMEDY = "delete it and `python -m harness data pack` again"


class State(msgspec.Struct, frozen=True):
    """The entry in which a store describes itself; every batch of images updates it."""

    version: int
    complete: bool = False  # whether a `pack` command has finished
    count: int = 0  # images
    bytes: int = 0  # of all images
    digest: str = "0"  # hexadecimal; see `harness.data.pack.digest`


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """A finished store that is open for reading."""

    path: Path
    environment: lmdb.Environment

    def get(self, name: str) -> bytes | None:
        """The bytes of an image by its path within the folder; None if it was not packed.

        DataError if the store is corrupt.
        """
        with _turns[threading.get_ident() % len(_turns)]:
            try:
                with self.environment.begin() as transaction:
                    return transaction.get(key_of(name))
            except lmdb.Error as error:
                raise DataError(f"the store {self.path} cannot be read: {error}; {REMEDY}") from error


_lock = threading.Lock()  # guards `_opened` and `_located`
_turns = [threading.Lock() for _ in range(61)]  # a reading thread holds one of them; a fork acquires all
_opened: dict[tuple[int, int], Store] = {}  # by device and inode, since a process may open an LMDB file once
_located: dict[tuple[Path, str], tuple[Store, int]] = {}  # (root, folder): its store, and the length of its prefix


def store_path(root: Path, folder: str) -> Path:
    """The path of a folder's store."""
    return root / f"{folder}.lmdb"


def key_of(name: str) -> bytes:
    """The key of an image: its path within the folder in UTF-8, or a digest if the path is too long for LMDB."""
    key = name.encode("utf-8", "surrogatepass")
    return key if 0 < len(key) <= LONGEST_KEY else b"\0" + hashlib.sha256(key).digest()


def open_store(path: Path) -> Store | None:
    """The store at `path`; None if there is none, or if it is not finished.

    The result holds for this process until `release`.  DataError if the store is corrupt, truncated, or of another
    version; ResourceError if it cannot be opened.
    """
    identity, size = _identity(path)
    if not size:
        return None
    with _lock:
        store = _opened.get(identity) or _open(path)
        if store is not None:
            _opened[identity] = store
        return store


def release(path: Path) -> None:
    """Closes a store, so that it can be written or opened again; no other thread may be reading from it."""
    with _lock:
        store = _opened.pop(_identity(path)[0], None)
        for place in [place for place, (other, _) in _located.items() if other is store]:
            del _located[place]
        if store is not None:
            store.environment.close()


def read_state(transaction: lmdb.Transaction, path: Path) -> State | None:
    """The state of a store, or None if it has no state; DataError if the state is malformed or of another version."""
    data = transaction.get(STATE)
    if data is None:
        return None
    try:
        state = msgspec.json.decode(data, type=State)
    except ValueError as error:
        raise DataError(f"the store {path} is malformed, or of a later version: {error}; {REMEDY}") from error
    if state.version != VERSION:
        raise DataError(f"the store {path} has version {state.version}; this harness reads {VERSION}; {REMEDY}")
    return state


def refuse_truncated(environment: lmdb.Environment, path: Path) -> None:
    """DataError if the file ends before its last page; reading beyond its end would kill the process."""
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    size = (path / "data.mdb").stat().st_size
    if size < needed:
        raise DataError(f"the store {path} is truncated to {size:,} of {needed:,} bytes; copy it again, or {REMEDY}")


def _identity(path: Path) -> tuple[tuple[int, int], int]:
    """A store's (device, inode) and its size in bytes; zeros if there is no store."""
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
                readahead=True,  # without it, every 4 kB of an image are a disk access
                meminit=False,
            )
            opened.callback(environment.close)
            refuse_truncated(environment, path)
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


def _locate(root: Path, reference: str) -> tuple[Store, str] | None:
    """The store of a reference, and its path within the packed folder; None if no folder above it was packed."""
    root = root.absolute()
    folder = reference[: max(0, reference.rfind("/"))]
    known = _located.get((root, folder))
    if known is None:
        for above in _folders(folder):
            store = open_store(store_path(root, above))
            if store is not None:
                known = _located[root, folder] = store, len(above) + 1
                break
    return None if known is None else (known[0], reference[known[1] :])


def _folders(folder: str) -> Iterator[str]:
    """A folder and the folders above it, innermost first."""
    while folder:
        yield folder
        folder = folder[: max(0, folder.rfind("/"))]


def _before_fork() -> None:
    """Waits until no thread is inside LMDB.

    A thread does not exist in the child.  Closing a store there would wait for its transaction for ever.
    """
    for turn in (_lock, *_turns):
        turn.acquire()


def _after_fork() -> None:
    for turn in (_lock, *_turns):
        turn.release()


def _after_fork_in_child() -> None:
    """Closes the parent's stores: a child may not use them, nor open the same files before they are closed."""
    for store in _opened.values():
        store.environment.close()
    _opened.clear()
    _located.clear()
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
