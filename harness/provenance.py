"""What is needed to dispute a number: code, packages, machine, command line."""

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
    """A record of now: git commit and dirty flag, versions, machine, date and command line, and what is added."""
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
    """What git says of the checkout this code runs from; '' where it is not one."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
