"""The embedded benchmark: a small world drawn by the project itself, made on first use into the user's cache folder.

The same pixels and annotations on every machine: `manifest.json` has the sha256 of every file, and what was made is
held against it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from harness.errors import DataError, ResourceError
from tasks.miniature import coco, flickr30k, odinw, reading, refcoco

MANIFEST = Path(__file__).with_name("manifest.json")


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/florence2-harness`, or `~/.cache/florence2-harness`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "florence2-harness"


def ensure(cache: Path | None = None) -> Path:
    """The miniature's root; drawn where it is not there yet, checked against the manifest.

    DataError where what was drawn is not what the manifest says, ResourceError where it cannot be written.
    """
    expected = json.loads(MANIFEST.read_text())
    cache = cache or cache_folder()
    root = cache / f"miniature-{digest(expected)[:12]}"
    if (root / "complete").is_file():
        return root
    try:
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=cache, prefix="miniature-"))
        try:
            write(partial)
            wrong = differences(manifest(partial), expected)
            if wrong:
                raise DataError(
                    f"the miniature drawn here is not the manifest's ({len(wrong)} files differ, first {wrong[0]}); "
                    "install the pinned packages (constraints.txt), Pillow and numpy above all"
                )
            (partial / "complete").touch()
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


def manifest(root: Path) -> dict[str, str]:
    """Relative path to sha256 for every file of a root."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != "complete")
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """The paths that two manifests do not agree on."""
    return sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))


def digest(files: dict[str, str]) -> str:
    """One sha256 for a manifest."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
