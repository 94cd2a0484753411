"""Hostile text for tests of commands, and whether what a command prints and writes is safe to show."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.harness.cli.calling import Outcome

FORMULA = '=HYPERLINK("http://x.example")'
HOSTILE = f"{FORMULA}\x1b[2J\x1b]0;t\x07\r\n::error::x\u202e</script><script>alert(1)</script>|$\\frac{{`_*[a](b)\x9b"
NAME = "_\x1b[2J\u202e<img src=x onerror=alert(1)>$\\frac{&"  # of a file: no slash


def hostile(value: Any) -> Any:
    """A record with HOSTILE before each text that does not decide what the record is of."""
    if isinstance(value, dict):
        return {key: hostile(each) for key, each in value.items()}
    if isinstance(value, list):
        return [hostile(each) for each in value]
    return HOSTILE + value if isinstance(value, str) else value


def unsafe(text: str) -> list[str]:
    return [letter for letter in text if not letter.isprintable() and letter != "\n"]


def assert_safe(outcome: Outcome) -> None:
    """No control character, no line that begins as the data likes, no traceback."""
    for text in (outcome.out, outcome.err):
        lines = text.split("\n")
        # tqdm, which draws over its own line, is quiet where stderr is no terminal.
        assert not unsafe(text), unsafe(text)
        assert not any(line.strip().startswith("::error::") for line in lines)
        assert "Traceback" not in text, text


def assert_files_are_safe(folder: Path) -> None:
    """Each file that a person opens, as its own program reads it."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".md", ".tex", ".csv", ".html", ".svg"):
            text = path.read_text(encoding="utf-8")
            assert not unsafe(text), (path, unsafe(text))
        if path.suffix == ".csv":
            cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
            assert not any(cell.lstrip().startswith(("=", "@")) for cell in cells), path
        if path.suffix == ".svg":
            root = ElementTree.fromstring(text)
            assert not any(element.tag.endswith("script") for element in root.iter())
        if path.suffix in (".md", ".html"):
            assert "<script>alert" not in text and "<img src=x" not in text, path
        if path.suffix == ".tex":
            assert "\\frac" not in text, path
