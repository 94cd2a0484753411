"""Tables of strings, written as Markdown, CSV and LaTeX, and on one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from harness.sinks import cell, csv_text, html, tex


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
    our_rows: int = 0  # rows of our runs, below those of published figures


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
    """A page template of this folder.  Values are escaped (`sinks.html`), and an undefined variable is an error."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, finalize=html, undefined=jinja2.StrictUndefined)
    return environment.get_template(name)


def markdown(table: Table) -> str:
    """The title as a heading, the table, and the notes as a list."""
    numbers = len(table.head) - table.text_columns
    lines = [f"# {cell(table.title)}", "", _line(table.head), "|" + "---|" * table.text_columns + "--:|" * numbers]
    lines += [_line(row) for row in table.rows]
    return "\n".join([*lines, "", *(f"- {cell(note)}" for note in table.notes), ""])


def comma_separated(table: Table) -> str:
    """The header and the rows as CSV, without the title and the notes."""
    return csv_text([table.head, *table.rows])


def latex(table: Table) -> str:
    """A longtable with booktabs rules, followed by the notes; a fragment for `\\input`."""
    columns = "p{3.2cm}" * table.text_columns if table.text_columns > 4 else "p{3cm}" * table.text_columns
    lines = [f"\\begin{{longtable}}{{{columns}{'r' * (len(table.head) - table.text_columns)}}}"]
    lines += [f"\\caption{{{tex(table.title)}}}\\\\", "\\toprule"]
    lines += [" & ".join(tex(cell) for cell in table.head) + " \\\\", "\\midrule", "\\endhead"]
    lines += [" & ".join(tex(cell) for cell in row) + " \\\\" for row in table.rows]
    lines += ["\\bottomrule", "\\end{longtable}"]
    lines += [f"\\noindent {tex(note)}\\par" for note in table.notes]
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


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(cell, cells))} |"
