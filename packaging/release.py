"""Checks a release, and prints its notes: `python packaging/release.py v0.17.0`.

The tag, `harness.__version__` and the first version in CHANGELOG.md must agree, and nothing may be left under
"Unreleased".  The notes are the changelog's section of the version.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TAG = re.compile(r"v(\d+\.\d+\.\d+)")


def notes(tag: str, root: Path = ROOT) -> str:
    """The notes of a tag's release; ValueError where tag, version and changelog contradict each other."""
    matched = TAG.fullmatch(tag)
    if matched is None:
        raise ValueError(f"the tag {tag!r} is not of the form v1.2.3")
    source = (root / "harness/__init__.py").read_text(encoding="utf-8")
    [version] = re.findall(r'^__version__ = "(.+)"$', source, re.M)
    if version != matched[1]:
        raise ValueError(f"the tag is {tag}, and harness.__version__ is {version}")
    sections = re.split(r"^## (.+)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)[1:]
    texts = {name.strip(): text.strip() for name, text in zip(sections[::2], sections[1::2], strict=True)}
    if texts.pop("Unreleased", ""):
        raise ValueError(f"CHANGELOG.md has entries under Unreleased; they belong to {version}")
    newest = next(iter(texts), "none")
    if newest != version or not texts[version]:
        raise ValueError(f"the first version in CHANGELOG.md is {newest}, and the tag is {tag}")
    return texts[version]


if __name__ == "__main__":
    try:
        [_, given] = sys.argv
        sys.stdout.write(notes(given) + "\n")
    except ValueError as error:
        sys.exit(f"error: {error if len(sys.argv) == 2 else 'usage: python packaging/release.py TAG'}")
