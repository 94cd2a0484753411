"""Tables of strings as Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import published
from harness.report import papers, tables
from harness.report.tables import Table
from tests.harness.report.runs import a_run

ODD = Table("odd", "A & B_<script>", ["a|b", "x"], [["<script>alert(1)</script> $5% #1 ~^{}\\", "1.0"], ["é [1]", "2"]])


def paper_tables() -> list[Table]:
    return papers.tables(published.every(), published.tables(), [a_run()])


def test_write_cells_with_markup_are_escaped_in_every_format(tmp_path: Path) -> None:
    page = tables.write([ODD], tmp_path).read_text()
    assert "<script>alert" not in page
    assert page.count("<script>") == 1  # of the page itself
    assert "&lt;script&gt;alert" in (tmp_path / "odd.md").read_text()
    assert (tmp_path / "odd.csv").read_text().splitlines()[0] == "a|b,x"
    tex = tables.latex(ODD)
    assert r"\$5\% \#1 \textasciitilde{}\textasciicircum{}\{\}\textbackslash{}" in tex
    assert r"{[}1{]}" in tex


def test_write_same_runs_twice_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tables.write(paper_tables(), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 3 * 26 + 2
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no LaTeX")
def test_latex_of_all_tables_compiles(tmp_path: Path) -> None:
    tables.write([*paper_tables(), ODD], tmp_path)
    result = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"], cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-2000:]
