"""What runs on a worker: it builds the model once and answers chunks of questions."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import __version__, images
from harness.cluster.dispatcher import Asked, Reply
from harness.core import Model
from harness.errors import HarnessError, ModelError

PACKAGES = ("torch", "transformers")  # with `harness`, what a token can depend on
Factory = Callable[[Path | None], Model]  # builds the model; the folder of shipped images, None for the data root
Root = Callable[[], Path]  # the data root on a worker's machine, of which some images may be missing


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker says of itself: `must_agree` is compared with the driver's, by name."""

    host: str
    process: int
    device: str
    batch_size: int
    provenance: Mapping[str, Any]
    must_agree: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lacking:
    """The images of which a worker's machine has no equal copy, and the hashes of those of which it has one."""

    names: tuple[str, ...]
    own: Mapping[str, str]


def versions() -> dict[str, str]:
    """The versions of this process that must be the same on every worker."""
    found = {"harness": __version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


class Worker:
    """A model in a process of its own.

    A chunk for which memory is short is answered in halves, and so are the later ones of this worker.
    """

    def __init__(self, factory: Factory, *, ships_images: bool = False, own: Root | None = None) -> None:
        self._factory, self._own = factory, own
        self._model: Model | None = None
        self._shipped = Path(tempfile.mkdtemp(prefix="harness-images-")) if ships_images else None
        self._copied: list[Path] = []  # of this machine, for the next chunk
        self._most: int | None = None

    def ready(self) -> Facts:
        """Builds the model and describes this worker."""
        model = self._built()
        facts = dict(model.provenance)
        return Facts(
            host=socket.gethostname(),
            process=os.getpid(),
            device=str(facts.get("device", "cpu")),
            batch_size=int(facts.get("batch size") or 1),
            provenance=facts,
            must_agree={**versions(), "fingerprint": model.fingerprint},
        )

    def check(self, digest: Callable[[], str]) -> str:
        """The digest of the data as this worker sees it."""
        return digest()

    def lacking(self, hashes: Mapping[str, str]) -> Lacking:
        """The images of the next chunk that have to be shipped; `hashes` are the sha256 of all by name.

        An image that this machine has under the same name and with the same hash is copied from its own data root.
        """
        self._remove_copied()
        own = {name: wanted for name, wanted in hashes.items() if self._copies(name, wanted)}
        return Lacking(tuple(name for name in hashes if name not in own), own)

    def answer(
        self, questions: Sequence[Asked], shipped: Mapping[str, bytes], own: Mapping[str, str] | None = None
    ) -> list[Reply]:
        """The replies to a chunk.

        `shipped` are the bytes of its images by name, where the driver sends them; `own` are the hashes of those that
        `lacking` found here.  ModelError if such an image is not here any more.
        """
        model = self._built()
        try:
            for name, wanted in (own or {}).items():  # copied already, unless this process is younger than `lacking`
                if not self._has_copied(name) and not self._copies(name, wanted):
                    raise ModelError(f"the image {name} was on {socket.gethostname()}, and is not any more")
            self._copied += [self._unpacked(name, data) for name, data in shipped.items()]
            return self._answered(model, questions)
        finally:
            self._remove_copied()

    def close(self) -> None:
        """Removes the folder of shipped images."""
        if self._shipped is not None:
            shutil.rmtree(self._shipped, ignore_errors=True)

    def _built(self) -> Model:
        if self._model is None:
            self._model = self._factory(self._shipped)
        return self._model

    def _copies(self, name: str, wanted: str) -> bool:
        """Whether this machine's own image has the wanted hash; it is then copied to where the model reads."""
        if self._own is None:
            return False
        try:
            data = images.read_bytes(self._own(), name)
        except (images.BadImage, HarnessError):
            return False
        if hashlib.sha256(data).hexdigest() != wanted:
            return False
        self._copied.append(self._unpacked(name, data))
        return True

    def _has_copied(self, name: str) -> bool:
        return self._shipped is not None and self._shipped / images.inside(name) in self._copied

    def _remove_copied(self) -> None:
        for path in self._copied:
            path.unlink(missing_ok=True)
        self._copied = []

    def _unpacked(self, name: str, data: bytes) -> Path:
        if self._shipped is None:
            raise ValueError("images were shipped to a worker that reads its own")
        path = self._shipped / images.inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def _answered(self, model: Model, questions: Sequence[Asked]) -> list[Reply]:
        size = min(self._most or len(questions), len(questions))
        replies: list[Reply] = []
        start = 0
        while start < len(questions):
            try:
                replies += list(model.answer(questions[start : start + size]))
            except _memory_errors():
                if size == 1:
                    raise
                size = self._most = (size + 1) // 2
                _release()
                continue
            start += size
        return replies


def _memory_errors() -> tuple[type[BaseException], ...]:
    """The errors for memory that is short, of the host and of a device."""
    torch = sys.modules.get("torch")
    return (MemoryError, torch.OutOfMemoryError) if torch is not None else (MemoryError,)


def _release() -> None:
    """Gives cached memory of a device back."""
    if (torch := sys.modules.get("torch")) is not None:
        with suppress(RuntimeError):
            torch.cuda.empty_cache()
