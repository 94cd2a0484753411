"""The embedded benchmark: a small world drawn by the project itself, made on first use into the user's cache folder.

The same pixels and annotations on every machine: `manifest.json` has the sha256 of every file, and what was made is
held against it.  Beside it, made likewise when it is asked for, a root of other scenes to train on (`train_files`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from harness.errors import DataError, ResourceError
from tasks.miniature import coco, flickr30k, odinw, reading, refcoco, small_world, train_files

MANIFEST = Path(__file__).with_name("manifest.json")
MOST_PROCESSES = 8
WORTH_A_PROCESS = 500  # scenes


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/florence2-harness`, or `~/.cache/florence2-harness`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "florence2-harness"


def ensure(cache: Path | None = None) -> Path:
    """The miniature's root; drawn where it is not there yet, checked against the manifest.

    DataError where what was drawn is not what the manifest says, ResourceError where it cannot be written.
    """
    expected = json.loads(MANIFEST.read_text())

    def make(root: Path) -> str:
        write(root)
        wrong = differences(manifest(root), expected)
        if wrong:
            raise DataError(
                f"the miniature drawn here is not the manifest's ({len(wrong)} files differ, first {wrong[0]}); "
                "install the pinned packages (constraints.txt), Pillow and numpy above all"
            )
        return ""

    return _once((cache or cache_folder()) / f"miniature-{digest(expected)[:12]}", make)


def ensure_training(cache: Path | None = None) -> Path:
    """The training root; drawn where it is not there yet, over the machine's cores.

    Its name has a digest of what makes its content: counts, version, and the benchmark's manifest, which changes with
    the drawing.  Its file `complete` has the sha256 over its annotations.  ResourceError where it cannot be written.
    """
    images = train_files.FULL
    counts = {name: str(count) for name, count in asdict(images).items()}
    drawing = digest(json.loads(MANIFEST.read_text()))
    name = digest({**counts, "version": str(train_files.VERSION), "drawing": drawing})[:12]

    def make(root: Path) -> str:
        processes = min(os.cpu_count() or 1, MOST_PROCESSES, 1 + images.total // WORTH_A_PROCESS)
        train_files.write(root, images, processes)
        return digest(manifest(root, images=False))

    return _once((cache or cache_folder()) / f"miniature-train-{name}", make)


def ensure_small(cache: Path | None = None) -> Path:
    """The studies' smaller world; drawn where it is not there yet."""
    drawing = digest(json.loads(MANIFEST.read_text()))
    name = digest({"version": str(small_world.VERSION), "images": str(small_world.EVALUATED), "drawing": drawing})[:12]

    def make(root: Path) -> str:
        small_world.write(root)
        return digest(manifest(root, images=False))

    return _once((cache or cache_folder()) / f"miniature-small-{name}", make)


def _once(root: Path, make: Callable[[Path], str]) -> Path:
    """A root, made aside and moved into place whole; its file `complete` then has what `make` returns."""
    if (root / "complete").is_file():
        return root
    cache = root.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=cache, prefix="miniature-"))
        try:
            told = make(partial)
            (partial / "complete").write_text(told)
            partial.chmod(0o755)
            if root.exists() and not (root / "complete").is_file():
                shutil.rmtree(root)
            partial.rename(root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if (root / "complete").is_file():
            return root  # another process was quicker
        raise ResourceError(
            f"cannot make the miniature in {cache}: {error}; set XDG_CACHE_HOME to a writable folder"
        ) from error
    return root


def write(root: Path) -> None:
    """Every benchmark's files under `root`."""
    for benchmark in (refcoco, coco, reading, flickr30k, odinw):
        benchmark.write(root)


def verify(root: Path) -> list[str]:
    """The files under a miniature's root that are missing, changed or not known, by relative path."""
    return differences(manifest(root), json.loads(MANIFEST.read_text()))


def manifest(root: Path, *, images: bool = True) -> dict[str, str]:
    """Relative path to sha256 for every file of a root, or every annotation file only."""
    found = (path for path in root.rglob("*") if path.is_file() and path.name != "complete")
    files = sorted(path for path in found if images or path.suffix != ".jpg")
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """The paths that two manifests do not agree on."""
    return sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))


def digest(files: dict[str, str]) -> str:
    """One sha256 for a manifest."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
