"""The embedded benchmark: a small world that the project draws into the user's cache folder on first use.

Pixels and annotations are the same on every machine.  `manifest.json` has the sha256 of every file, and the drawn files
are checked against it.  Three more roots are drawn on first use: other scenes to train on (`train_files`), a smaller
world for studies (`small_world`), and images for the data engine (`engine_world`).
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
from tasks.miniature import (
    coco,
    documents,
    engine_world,
    flickr30k,
    lvis,
    odinw,
    reading,
    refcoco,
    rf100_vl,
    small_world,
    train_files,
)

MANIFEST = Path(__file__).with_name("manifest.json")
MOST_PROCESSES = 8
SCENES_PER_PROCESS = 500  # fewer scenes do not pay for one more process


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/florence2-harness`, or `~/.cache/florence2-harness`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "florence2-harness"


def ensure(cache: Path | None = None) -> Path:
    """The root of the miniature, drawn on first use and checked against the manifest.

    `cache` replaces the default cache folder.  DataError where the drawn files differ from the manifest; ResourceError
    where they cannot be written.
    """
    expected = json.loads(MANIFEST.read_text())

    def make(root: Path) -> str:
        write(root)
        wrong = differences(manifest(root), expected)
        if wrong:
            raise DataError(
                f"the drawn miniature differs from its manifest in {len(wrong)} files, first {wrong[0]}; install the "
                "pinned packages of constraints.txt, above all Pillow and numpy"
            )
        return ""

    return _drawn_once((cache or cache_folder()) / f"miniature-{digest(expected)[:12]}", make)


def ensure_training(cache: Path | None = None) -> Path:
    """The root of the training scenes, drawn on first use by several processes.

    The folder's name contains a digest of everything that determines the content: the counts of images, the version,
    and the benchmark's manifest, which changes with the drawing code.  The file `complete` contains a sha256 of the
    annotations.  ResourceError where the files cannot be written.
    """
    images = train_files.FULL
    counts = {name: str(count) for name, count in asdict(images).items()}
    drawing = digest(json.loads(MANIFEST.read_text()))
    name = digest({**counts, "version": str(train_files.VERSION), "drawing": drawing})[:12]

    def make(root: Path) -> str:
        processes = min(os.cpu_count() or 1, MOST_PROCESSES, 1 + images.total // SCENES_PER_PROCESS)
        train_files.write(root, images, processes)
        return digest(manifest(root, images=False))

    return _drawn_once((cache or cache_folder()) / f"miniature-train-{name}", make)


def ensure_small(cache: Path | None = None) -> Path:
    """The root of the smaller world for studies, drawn on first use; ResourceError where it cannot be written."""
    drawing = digest(json.loads(MANIFEST.read_text()))
    name = digest({"version": str(small_world.VERSION), "images": str(small_world.EVALUATED), "drawing": drawing})[:12]

    def make(root: Path) -> str:
        small_world.write(root)
        return digest(manifest(root, images=False))

    return _drawn_once((cache or cache_folder()) / f"miniature-small-{name}", make)


def ensure_engine(cache: Path | None = None) -> Path:
    """The root of scenes for the data engine, drawn on first use; ResourceError where it cannot be written."""
    drawing = digest(json.loads(MANIFEST.read_text()))
    counts = {"version": str(engine_world.VERSION), "scenes": str(engine_world.SCENES), "drawing": drawing}

    def make(root: Path) -> str:
        engine_world.write(root, engine_world.SCENES)
        return digest(manifest(root, images=False))

    return _drawn_once((cache or cache_folder()) / f"miniature-engine-{digest(counts)[:12]}", make)


def _drawn_once(root: Path, make: Callable[[Path], str]) -> Path:
    """`root`, whose content `make` draws unless it is complete.

    The content is drawn into a temporary folder, which is then renamed.  The file `complete` contains the text that
    `make` returns.
    """
    if (root / "complete").is_file():
        return root
    cache = root.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=cache, prefix="miniature-"))
        try:
            text = make(partial)
            (partial / "complete").write_text(text)
            partial.chmod(0o755)
            if root.exists() and not (root / "complete").is_file():
                shutil.rmtree(root)
            partial.rename(root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if (root / "complete").is_file():
            return root  # another process was faster
        raise ResourceError(
            f"cannot draw the miniature into {cache}: {error}; set XDG_CACHE_HOME to a writable folder"
        ) from error
    return root


def write(root: Path) -> None:
    """Writes the files of all benchmarks under `root`."""
    for benchmark in (refcoco, coco, reading, flickr30k, odinw, documents, lvis, rf100_vl):
        benchmark.write(root)


def manifest(root: Path, *, images: bool = True) -> dict[str, str]:
    """The sha256 of each file of a root by relative path; without `images`, of annotation files only."""
    paths = (path for path in root.rglob("*") if path.is_file() and path.name != "complete")
    files = sorted(path for path in paths if images or path.suffix != ".jpg")
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def differences(actual: dict[str, str], expected: dict[str, str]) -> list[str]:
    """The paths at which two manifests differ."""
    return sorted(path for path in actual.keys() | expected.keys() if actual.get(path) != expected.get(path))


def digest(files: dict[str, str]) -> str:
    """The sha256 of a manifest."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
