"""Text from data, made safe for the place that shows it: one function for each sink.

    line, block     a terminal or a log        csv_text    a spreadsheet
    cell            Markdown                   label       a figure (SVG and PNG)
    tex             LaTeX                      xml         an XML attribute
    html            a page's template          command     a workflow command of GitHub Actions
    json_text       JSON, which a terminal may show

A name, an annotation or an answer may hold anything: control sequences of terminals, line breaks, directional marks
that reorder the text, lone surrogates that no file can encode, formulas, and markup.  Every character that is not
printable becomes a space, except the joiners of scripts and emoji.  Then each function escapes the markup of its sink.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

JOINERS = "\u200c\u200d"  # zero width; they form letters in some scripts
LONGEST_LABEL = 60  # characters of a label in a figure
# Markdown leaves an underscore inside a word and the brackets of an interval as they are.
_INTERVAL = re.compile(r"\[[-+]?[\d.]+, [-+]?[\d.]+\](?![\[(])")
_MARKUP = re.compile(r"[\\|`*~\[\]]|(?<![^\W_])_|_(?![^\W_])")
# A cell that begins like this is a formula to a spreadsheet, unless it is a number or several plain words.
_FORMULA = re.compile(r"\s*[-+=@＝＋－＠]")
_NO_FORMULA = re.compile(r"[-+](?:[\d.]+(?:[eE][-+]?\d+)?%?)?|[-+][\w.%]+(?: [\w+/.,%\[\]-]+)+")
_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "–": "--", "−": "-", "[": "{[}", "]": "{]}", '"': "''", "`": r"\textasciigrave{}",
}  # fmt: skip


def line(text: str) -> str:
    """The text on one line of a terminal: no line break, no control sequence."""
    return text if text.isprintable() else "".join(_printable(letter) for letter in text)


def block(text: str) -> str:
    """The text in a terminal, with its line breaks and without control sequences."""
    return "\n".join(map(line, text.split("\n")))


def cell(text: str) -> str:
    """The text in Markdown, as in a cell of a table: on one line, with all markup escaped (GitHub's rules)."""
    plain = " ".join(line(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    parts, start = [], 0
    for interval in _INTERVAL.finditer(plain):
        parts += [_MARKUP.sub(r"\\\g<0>", plain[start : interval.start()]), interval.group()]
        start = interval.end()
    return "".join([*parts, _MARKUP.sub(r"\\\g<0>", plain[start:])])


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """The rows as CSV.  A text that a spreadsheet would run as a formula gets an apostrophe before it (OWASP)."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([csv_cell(value) for value in row] for row in rows)
    return out.getvalue()


def csv_cell(value: Any) -> Any:
    """A value of a cell of CSV: a text as `csv_text` writes it, any other value as it is."""
    if not isinstance(value, str):
        return value
    text = block(value)
    return f"'{text}" if _FORMULA.match(text) and not _NO_FORMULA.fullmatch(text) else text


def tex(text: str) -> str:
    """The text in LaTeX, on one line; "?" for a character outside ASCII that has no replacement."""
    letters = " ".join(line(text).split())
    return "".join(_TEX.get(letter, letter if letter.isascii() else "?") for letter in letters)


def html(value: Any) -> Any:
    """A value of a template, before the template escapes it: a text as by `block`, any other value as it is."""
    return block(value) if type(value) is str else value  # not markup, which is a subclass of str


def label(text: str, longest: int = LONGEST_LABEL) -> str:
    """The text of a label in a figure: one line of at most `longest` characters, so that the axes keep their space.

    matplotlib leaves labels that begin with an underscore out of a legend, so a space comes before it.
    """
    short = line(text)
    short = short if len(short) <= longest else f"{short[: longest - 1]}…"
    return f" {short}" if short.startswith("_") else short


def xml(text: str) -> str:
    """The text on one line of an XML attribute, before the writer escapes it: XML 1.0 allows no control character."""
    return line(text)


def json_text(text: str) -> str:
    """The same JSON, with each character that is not printable as an escape; outside strings, JSON has none."""
    lines = text.split("\n")
    return "\n".join(part if part.isprintable() else "".join(map(_escaped, part)) for part in lines)


def command(text: str, *, name: bool = False) -> str:
    """The text in a workflow command of GitHub Actions, as its message; `name`: as the value of a property."""
    escaped = line(text).replace("%", "%25")
    return escaped.replace(":", "%3A").replace(",", "%2C") if name else escaped


def file_name(text: str) -> str:
    """The text as a part of a file's name: letters, digits, "-" and "_", at most 100 characters."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in text[:100])


def _printable(letter: str) -> str:
    return letter if letter.isprintable() or letter in JOINERS else " "


def _escaped(letter: str) -> str:
    """A character of a JSON text, as its escape (two for a character above U+FFFF) if it is not printable."""
    return letter if letter.isprintable() else json.dumps(letter)[1:-1]
