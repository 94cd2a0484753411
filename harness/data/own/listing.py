"""Files of a user's own data: bounded listings of folders, and text with its encoding."""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from harness import images
from harness.data import files
from harness.data.manifest import MOST_FILES
from harness.errors import DataError

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
OWN_FOLDER = ".files"  # the ending of the folder beside dataset.toml
OWN_FOLDERS = (OWN_FOLDER, ".partial")
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def listed(folder: Path, endings: Sequence[str], most: int = MOST_FILES, *, deep: bool = True) -> list[str]:
    """The files below a folder with one of these endings, as sorted paths relative to it.

    With `deep`, those of its folders too.  Hidden folders, the folder beside a dataset.toml and links to folders are
    left out.  DataError for a folder of more than `most` files of any kind: no more are listed.
    """
    names: list[str] = []
    count = 0
    folders = [""]
    while folders:
        inner = folders.pop()
        try:
            with os.scandir(folder / inner) as entries:
                for entry in entries:
                    count += 1
                    if count > most:
                        raise DataError(f"{folder} has more than {most:,} files; name a folder of fewer, or one file")
                    path = f"{inner}/{entry.name}" if inner else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if deep and not entry.name.startswith(".") and not entry.name.endswith(OWN_FOLDERS):
                            folders.append(path)
                    elif entry.name.lower().endswith(tuple(endings)) and entry.is_file():
                        names.append(path)
        except OSError as error:
            raise DataError(f"{folder / inner} cannot be listed: {error.strerror}") from error
    return sorted(names)


def text_of(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark; DataError, naming the line, for other encodings."""
    data = files.read(path, "")
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        number = data[:start].count(b"\n") + 1
        found = f"byte {data[start]:#04x}" if start < len(data) else "its end"
        raise DataError(f"{path} line {number} is not {encoding}: {found}; save the whole file as UTF-8") from error


def full_text_of(path: Path) -> str:
    """As `text_of`; DataError for a file without text."""
    text = text_of(path)
    if not text.strip():
        raise DataError(f"{path} is empty")
    return text


def below(root: Path, path: Path) -> str | None:
    """The path relative to the root, with forward slashes and without `..`; None where it is not below the root."""
    plain = os.path.normpath(path.absolute())
    top = os.path.normpath(root.absolute())
    return PurePosixPath(os.path.relpath(plain, top)).as_posix() if Path(plain).is_relative_to(top) else None


def name_of(name: str, place: str) -> str:
    """An image name with forward slashes and without `.`; DataError, naming the place, where it leaves its folder."""
    try:
        return images.inside(name.strip().replace("\\", "/"))
    except images.MissingImage as error:
        raise DataError(f"{place}: {str(error).partition(';')[0]}") from error
