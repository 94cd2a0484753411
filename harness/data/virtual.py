"""A data root that is made from a split in parquet files: official annotation files, and images in the parquet rows.

    <cache>/<key>/images.json                     the row of each image
    <cache>/<key>/refer/refcoco/refs(unc).p ...   the annotation files, as the tasks' readers expect them
    <cache>/<key>/coco/train2014/in-parquet.txt   stands for a folder of images

A root is written whole or not at all: into a temporary folder, which is then renamed.  Its name is a digest of all that
decides its content, so a root is made once; several processes may make the same one.  `open_root` connects its images
to `harness.images`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import images
from harness.data.parquet import Images, Place
from harness.errors import ResourceError
from harness.store.files import disk_errors

INDEX = "images.json"
STANDS_FOR_FOLDER = "in-parquet.txt"


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a root: its annotation files by path, and the row of each image by reference."""

    files: Mapping[str, bytes]
    places: Mapping[str, Place]


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/florence2-harness/parquet`, or the same below `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "florence2-harness/parquet"


def key_of(parts: Iterable[str]) -> str:
    """The name of a root: a digest of all that decides its content."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:24]


def make_root(key: str, make: Callable[[], Content]) -> Path:
    """The root of this key, whose content `make` returns if the root is not there yet.

    ResourceError if it cannot be written.
    """
    root = cache_folder() / key
    if (root / INDEX).is_file():
        return root
    content = make()
    try:
        with disk_errors(root):
            root.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(dir=root.parent, prefix="partial-"))
            try:
                _write(partial, content)
                partial.chmod(0o755)
                partial.rename(root)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if not (root / INDEX).is_file():  # else another process was faster
            raise ResourceError(
                f"cannot write {root}: {error.strerror or error}; set XDG_CACHE_HOME to a writable folder"
            ) from error
    return root


def _write(folder: Path, content: Content) -> None:
    for name, data in content.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for name in sorted({reference.rpartition("/")[0] for reference in content.places}):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / STANDS_FOR_FOLDER).write_text("The images of this folder are in the rows of parquet files.\n")
    (folder / INDEX).write_bytes(msgspec.json.encode(content.places))


def open_root(root: Path, files: Sequence[Path], column: str) -> None:
    """Makes `harness.images` read the images of this root from the rows of these files."""
    before = images.mounted(root)
    if not isinstance(before, Images) or before.files != tuple(files):
        places = msgspec.json.decode((root / INDEX).read_bytes(), type=dict[str, Place])
        images.mount(root, Images(tuple(files), column, places))
