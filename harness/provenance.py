"""The facts that a number can be disputed by: code, packages, machine, date and command line."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import __version__

PACKAGES = ("torch", "numpy", "pillow", "tokenizers", "safetensors", "pycocotools")


def provenance(command: Sequence[str], **more: Any) -> dict[str, Any]:
    """The provenance of a run that starts now, and `more` entries.

    `harness` is this package's version; `commit` and `dirty` are git's, "" and False outside a checkout.  `packages`
    has None for a package that is not installed.  `date` is UTC in ISO 8601.
    """
    return {
        "harness": __version__,
        "commit": _git("rev-parse", "HEAD") if _git("ls-files", Path(__file__).name) else "",
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join(command),
        **more,
    }


def _git(*arguments: str) -> str:
    """The output of git in the checkout of this code; "" outside a checkout, or without git."""
    try:
        process = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's model name on Linux, else Python's own description."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
