"""Colour on a terminal.  NO_COLOR (no-color.org) and TERM=dumb switch it off, and a pipe or a file has none."""

from __future__ import annotations

import os
import sys

from harness.report.text import Paint, unpainted

# Codes of SGR (ECMA-48): 1 bold, 2 faint, 31 red, 32 green, 33 yellow, 36 cyan.
STYLES = {"title": "1", "headline": "1;32", "good": "32", "warning": "33", "bad": "31", "faint": "2", "active": "36"}


def painter() -> Paint:
    """How stdout shows a style."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return unpainted if plain else painted


def painted(style: str, text: str) -> str:
    """The text in the colour of a style; "" is no style."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style and text else text
