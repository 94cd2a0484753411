"""Hashes of benchmarks' images, kept in the engine folder, so that each file is read once.

    ENGINE/benchmarks.jsonl   a line for each file: root, image, stamp, SHA-256 and perceptual hash; append only

A file is known by its stamp (size, time of change, inode).  A line that is damaged, or of another version of the hash,
is not used, and its file is read again; so is an image of a store, which has no file of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness import images
from harness.data_engine.hashes import VERSION
from harness.store.files import disk_errors, lines, remove_incomplete_line

FILE = "benchmarks.jsonl"
Stamp = tuple[int, int, int]


class _Line(msgspec.Struct, frozen=True):
    root: str
    image: str
    stamp: Stamp
    version: int
    sha256: str
    hash: int | None  # None: it cannot be decoded


@dataclass
class HashCache:
    """The hashes of one data root's images that an engine folder keeps; `read` counts files that were not known."""

    folder: Path
    root: Path
    read: int = 0
    _known: dict[tuple[str, Stamp], tuple[str, int | None]] = field(init=False, repr=False, default_factory=dict)
    _stamp: Stamp | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self._root = str(self.root.absolute())
        for text in lines(self.folder / FILE):
            try:
                line = msgspec.json.decode(text, type=_Line)
            except msgspec.MsgspecError:
                continue
            if line.root == self._root and line.version == VERSION:
                self._known[line.image, line.stamp] = line.sha256, line.hash

    def get(self, image: str) -> tuple[str, int | None] | None:
        """The SHA-256 and the hash of an image whose file has not changed; None for an unknown one."""
        self._stamp = images.stamp(self.root, image)
        return None if self._stamp is None else self._known.get((image, self._stamp))

    def add(self, image: str, sha256: str, hash_: int | None) -> None:
        """Keeps the hashes of the image that `get` did not know, and that was read since.

        ResourceError if the disk is full.
        """
        self.read += 1
        stamp = self._stamp  # of before it was read: a file that changed meanwhile has another one now
        if stamp is None:
            return
        said = {"root": self._root, "image": image, "stamp": stamp, "version": VERSION, "sha256": sha256, "hash": hash_}
        file = self.folder / FILE
        with disk_errors(file):
            if self.read == 1:
                remove_incomplete_line(file)
            with file.open("ab") as stream:
                stream.write(json.dumps(said).encode() + b"\n")
