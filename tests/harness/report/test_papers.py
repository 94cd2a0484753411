"""The paper's tables: every published figure in its place, ours beside it, and what each file of them is."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import published
from harness.core import Estimate, Run, RunSpec
from harness.report import papers, tables
from harness.report.papers import Table

ABOUTS = {key: papers.About(**told) for key, told in published.tables().items()}
ROWS = list(csv.DictReader(published.CSV.read_text(encoding="utf-8").splitlines()))


def a_run(model: str = "florence2-l", value: float = 136.1, **more: Any) -> Run:
    spec = RunSpec(
        data="coco", data_hash="0", task="coco_caption", version=1, split="test", model=model, fingerprint="f",
        **{"protocol": "zero_shot", **more},
    )  # fmt: skip
    told = {"date": "2026-11-26T08:00:00Z", "model": {"device": "cuda:0"}}
    metrics = {"CIDEr": Estimate(value, value - 1, value + 1, 5000)}
    return Run(schema=1, id="abc", spec=spec, status="complete", headline="CIDEr", metrics=metrics, provenance=told)


def of(runs: list[Run]) -> dict[str, Table]:
    return {one.key: one for one in papers.tables(published.every(), ABOUTS, runs, published.ours)}


def test_every_published_row_has_a_place() -> None:
    found = of([])
    assert sum(table.placed for table in found.values()) == len(ROWS) == 1653
    assert [table.key for table in found.values()] == [key for key in ABOUTS if key in {row["table"] for row in ROWS}]
    printed = {key: " ".join(cell for row in table.rows for cell in row) for key, table in found.items()}
    for row in ROWS:
        number = row["value"].removeprefix("~")
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]\d)", printed[row["table"]]), row


def test_a_table_without_a_place_is_refused() -> None:
    lost = replace(published.every()[0], table="T99")
    with pytest.raises(ValueError, match="T99"):
        papers.tables([lost], ABOUTS, [], published.ours)


def test_ours_stands_beside_with_interval_difference_count_date_and_device() -> None:
    table = of([a_run()])["T4_zero_shot"]
    [ours] = [row for row in table.rows if row[0] == "florence2-l (ours)"]
    place = table.head.index("COCO caption Karpathy test CIDEr")
    assert ours[place] == "136.1 [135.1, 137.1]; +0.5"  # Table 4: 135.6
    assert ours.count("not measured") == len(table.head) - 5
    [note] = [note for note in table.notes if "run abc" in note]
    assert "2026-11-26 on cuda:0, n = 5,000" in note


@pytest.mark.parametrize("other", [{"data": "miniature"}, {"protocol": "fine_tuned"}, {"limit": 10}, {"split": "val"}])
def test_another_protocol_split_or_part_does_not(other: dict[str, Any]) -> None:
    run = a_run()
    table = of([replace(run, spec=replace(run.spec, **other))])["T4_zero_shot"]
    assert not any("136.1" in cell for row in table.rows for cell in row)


def test_averages_are_worked_out_again() -> None:
    table = of([])["ODinW35_per_dataset"]
    place = table.head.index("MM-GDINO-T (O365,GoldG,GRIT,V3Det)")
    values = [float(row["value"]) for row in ROWS if row["table"] == table.key and row["model"] == table.head[place]]
    assert len(values) == 35
    worked = {row[0]: row[place] for row in table.rows}
    assert worked["mean, worked out"] == f"{sum(values) / 35:.2f}" == "23.17"
    assert worked["average, printed"] == "~28.4"  # a suspected slip, and marked as one
    assert any("printed as 28.4" in note for note in table.notes)


def test_contradictions_of_the_paper_are_said() -> None:
    notes = " ".join(note for table in of([]).values() for note in table.notes)
    for said in ("140.0 CIDEr", "81.5 TextVQA", "82.2", "+4.9", "44.5", "134.6 for both others", "43.4 is sometimes"):
        assert said in notes, said


def test_claims_against_the_paper_and_runs() -> None:
    rows = published.claims()
    verdicts = {value: papers.claims(rows, [a_run(value=value)]).rows[0][5] for value in (136.1, 120.0)}
    assert verdicts == {136.1: "reproduced: 136.1 [135.1, 137.1]", 120.0: "not reproduced: 120.0 [119.0, 121.0]"}
    assert papers.claims(rows, []).rows[0][5] == "not yet run"
    assert len(papers.claims(rows, []).rows) == len(rows) == 21


def test_the_miniature_has_tables_of_its_own_and_says_so() -> None:
    run = a_run()
    embedded = replace(run, spec=replace(run.spec, data="miniature"))
    [table] = papers.miniature([run, embedded])
    assert "MINIATURE" in table.title
    assert "not comparable with published ones" in " ".join(table.notes)
    assert table.rows == [["coco_caption test, CIDEr", "136.1 [135.1, 137.1]"]]


ODD = Table("odd", "A & B_<script>", ["a|b", "x"], [["<script>alert(1)</script> $5% #1 ~^{}\\", "1.0"], ["é [1]", "2"]])


def test_nothing_in_a_table_is_markup(tmp_path: Path) -> None:
    page = tables.write([ODD], tmp_path).read_text()
    assert "<script>alert" not in page
    assert page.count("<script>") == 1  # the page's own
    assert "&lt;script&gt;alert" in (tmp_path / "odd.md").read_text()
    assert (tmp_path / "odd.csv").read_text().splitlines()[0] == "a|b,x"
    tex = tables.latex(ODD)
    assert r"\$5\% \#1 \textasciitilde{}\textasciicircum{}\{\}\textbackslash{}" in tex
    assert r"{[}1{]}" in tex


def test_the_same_records_give_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tables.write(list(of([a_run()]).values()), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 3 * 25 + 2
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no LaTeX")
def test_latex_compiles(tmp_path: Path) -> None:
    tables.write([*of([a_run()]).values(), ODD], tmp_path)
    made = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"], cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout[-2000:]


def test_a_data_set_of_several_names_is_one_row_and_other_tables_models_stand_beside() -> None:
    """OWLv2's paper prints its 35 sets together (appendix A.8.2); GLIP calls five of the 13 by other names."""
    table = of([])["ODinW13_per_dataset"]
    sets, work = table.rows[:13], table.rows[13:]
    assert not any("–" in row for row in sets)
    assert [row[0] for row in work] == ["mean, worked out", "median, worked out", "average, printed"]
    by_name = {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
    ensemble = next(name for name in table.head if name.startswith("OWLv2 OWL-ST/FT"))
    drone = by_name["AerialMaritimeDrone"]
    assert (drone["GLIP-T"], drone["GDINO-T (O365,GoldG,Cap4M)"], drone[ensemble]) == ("12.5", "17.3", "21.7")
    assert by_name["mean, worked out"][ensemble] == "56.33" and by_name["average, printed"][ensemble] == "56.3"
    assert table.placed == sum(row["table"] == "ODinW13_per_dataset" for row in ROWS)  # the others are counted there
    whole = of([])["ODinW35_per_dataset"]
    assert len(whole.rows) == 35 + 4  # mean and median, worked out and printed
    assert not any("–" in row for row in whole.rows[:37])


def test_of_what_was_not_run_no_run_is_claimed() -> None:
    """The servers mark VQAv2 test-dev as they do TextVQA's and VizWiz's."""
    table = of([])["T5_caption_vqa"]
    [ours] = [row for row in table.rows if row[0] == "florence2-l-ft (ours)"]
    cells = dict(zip(table.head, ours, strict=True))
    assert cells["training"] == "not run here"
    assert {cells[name] for name in table.head if "VQA" in name or "VizWiz" in name} == {"not marked here"}
    assert cells["COCO caption Karpathy test CIDEr"] == "not measured"
