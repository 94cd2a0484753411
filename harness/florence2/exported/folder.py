"""The graphs of each set of weights in the user's cache folder, exported at the first use."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path

import torch

from harness.florence2.exported.graphs import VERSION, export
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.store.files import disk_errors, folder_name

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/florence2-harness/exports`, or that folder in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "florence2-harness" / "exports"


def exported(model: Florence2, sha256: str, preprocess: Preprocess, cache: Path | None = None) -> Path:
    """The folder with the graphs of a network with float32 weights, whose digest is `sha256`.

    The folder's name states the weights, the image size, torch's version and that of `graphs`.  Graphs are written to
    a temporary folder, which is then renamed.  ResourceError where the disk refuses them.
    """
    size = f"{preprocess.width}x{preprocess.height}"
    cache = cache or cache_folder()
    folder = cache / folder_name(f"{sha256[:16]}-{size}-torch{torch.__version__}-v{VERSION}")
    if folder.is_dir():
        return folder
    log.warning("exporting the network to %s; this takes a few minutes, once", folder)
    with disk_errors(folder):
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=cache, prefix="partial-"))
        try:
            export(model, preprocess.height, preprocess.width, partial)
            partial.chmod(0o755)
            if not folder.is_dir():  # another process may have exported it meanwhile
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder
