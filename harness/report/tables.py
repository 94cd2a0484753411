"""Tables of strings, written as Markdown, CSV and LaTeX, and on one HTML page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from harness.report.text import cell


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a header, rows of strings, and notes.  `key` names the files."""

    key: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1  # left-aligned; the columns after them hold numbers
    notes: Sequence[str] = ()
    figure_count: int = 0  # published figures in the table


def write(tables: Sequence[Table], folder: Path) -> Path:
    """Writes each table as .md, .csv and .tex, then `tables.tex` and the page with all tables; the path of the page.

    `tables.tex` compiles with the packages booktabs and longtable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        (folder / f"{table.key}.md").write_text(markdown(table), encoding="utf-8")
        (folder / f"{table.key}.csv").write_text(comma_separated(table), encoding="utf-8")
        (folder / f"{table.key}.tex").write_text(latex(table), encoding="utf-8")
    inputs = "\n".join(f"\\input{{{table.key}}}" for table in tables)
    (folder / "tables.tex").write_text(DOCUMENT.replace("INPUTS", inputs), encoding="utf-8")
    page = folder / "index.html"
    page.write_text(template("tables.html").render(tables=tables), encoding="utf-8")
    return page


def template(name: str) -> jinja2.Template:
    """A page template of this folder.  Values are escaped, and an undefined variable is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    ).get_template(name)


def markdown(table: Table) -> str:
    """The title as a heading, the table, and the notes as a list."""
    numbers = len(table.head) - table.text_columns
    lines = [f"# {table.title}", "", _line(table.head), "|" + "---|" * table.text_columns + "--:|" * numbers]
    lines += [_line(row) for row in table.rows]
    return "\n".join([*lines, "", *(f"- {cell(note)}" for note in table.notes), ""])


def comma_separated(table: Table) -> str:
    """The header and the rows as CSV, without the title and the notes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([table.head, *table.rows])
    return out.getvalue()


def latex(table: Table) -> str:
    """A longtable with booktabs rules, followed by the notes; a fragment for `\\input`."""
    columns = "p{3.2cm}" * table.text_columns if table.text_columns > 4 else "p{3cm}" * table.text_columns
    lines = [f"\\begin{{longtable}}{{{columns}{'r' * (len(table.head) - table.text_columns)}}}"]
    lines += [f"\\caption{{{_tex(table.title)}}}\\\\", "\\toprule"]
    lines += [" & ".join(_tex(cell) for cell in table.head) + " \\\\", "\\midrule", "\\endhead"]
    lines += [" & ".join(_tex(cell) for cell in row) + " \\\\" for row in table.rows]
    lines += ["\\bottomrule", "\\end{longtable}"]
    lines += [f"\\noindent {_tex(note)}\\par" for note in table.notes]
    return "\n".join(lines) + "\n"


DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[paperwidth=90cm,paperheight=60cm,margin=1cm]{geometry}
\usepackage{booktabs,longtable,textcomp}
\begin{document}\footnotesize
INPUTS
\end{document}
"""
_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "–": "--", "−": "-", "[": "{[}", "]": "{]}", '"': "''",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter if letter.isascii() else "?") for letter in " ".join(text.split()))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(cell, cells))} |"
