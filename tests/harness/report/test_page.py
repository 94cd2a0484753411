"""The page of runs: its tables, its HTML, and the same bytes twice."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from PIL import Image

from harness import published
from harness.core import Answer, Polygons, Question, Row, Sample, Score, Size
from harness.report import page
from tasks import TASKS
from tests.harness.report.runs import a_box_run


def test_runs_markdown_has_published_figures_for_real_data_only() -> None:
    markdown = page.runs_markdown([a_box_run(), a_box_run(data="miniature")], published.figures)
    real, embedded = markdown.splitlines()[2:4]
    # Table 4 of arXiv:2311.06242v1: Florence-2-L, zero-shot, RefCOCO val 56.3
    assert "55.2 [54.0, 56.5]" in real.replace("55.3", "55.2")
    assert "Florence-2-L 56.3" in real
    assert "93.4" not in real  # fine-tuned
    assert "not comparable" in embedded and "56.3" not in embedded
    assert "not comparable with published numbers" in markdown


def test_runs_csv_is_unrounded() -> None:
    [acc, unreadable] = csv.DictReader(io.StringIO(page.runs_csv([a_box_run()])))
    assert (acc["metric"], float(acc["value"]), float(acc["low"]), acc["n"]) == ("Acc@0.5", 55.25, 54.0, "10")
    assert (unreadable["low"], unreadable["high"]) == ("", "")


def test_write_escapes_the_output_of_models(tmp_path: Path) -> None:
    image = tmp_path / "x.png"
    Image.new("RGB", (30, 20)).save(image)
    outline = Polygons((((1.0, 1.0), (9.0, 1.0), (9.0, 9.0)),))
    sample: Sample[Any] = Sample("1", Question("x.png", Size(30, 20), "segment", "<b>left</b>"), outline, "x.png")
    row = Row(sample, Answer(("<script>alert(1)</script>",), None), Score({"iou": 0.0}, readable=False))
    shown = [page.Shown(a_box_run(model="<i>odd</i>"), TASKS["refcoco"], (row,), tmp_path)]
    html = page.write(shown, published.figures, tmp_path / "report", 4).read_text()
    assert "<script>alert" not in html and "&lt;script&gt;alert" in html and "<i>odd" not in html
    assert "&lt;b&gt;left&lt;/b&gt;" in html
    assert "unparsable" in html
    assert "http://" not in html.replace("http://www.w3.org", "")  # the page loads nothing from a network
    assert (tmp_path / "report/headlines.svg").is_file()


def test_write_same_records_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    shown = [page.Shown(a_box_run(model=model), TASKS["refcoco"], (), tmp_path) for model in ("a", "b")]
    for name in ("one", "other"):
        page.write(shown, published.figures, tmp_path / name, 4)
    for path in sorted((tmp_path / "one").iterdir()):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name


def test_stale_names_the_galleries_without_a_run(tmp_path: Path) -> None:
    for name in ("cocoflorence2-l", "gone"):
        (tmp_path / "gallery" / name).mkdir(parents=True)
    assert page.stale([a_box_run()], tmp_path) == ["gone"]


def test_others_has_figures_of_bench_and_ablate_with_their_tables(tmp_path: Path) -> None:
    for name in ("speed/stages.svg", "speed/speed.md", "studies/init.svg", "studies/init.md", "studies/lost.svg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert page.others(tmp_path) == [
        ("speed/stages.svg", "speed/speed.md"),
        ("studies/init.svg", "studies/init.md"),
        ("studies/lost.svg", "studies/lost.svg"),
    ]


def test_runs_markdown_without_comparable_figure_says_why() -> None:
    runs = [a_box_run(model="mine"), a_box_run(provenance={"entry": "florence2-l", "weights from": "nano"})]
    mine, nano = page.runs_markdown(runs, published.figures).splitlines()[2:4]
    assert "not compared: no source publishes mine" in mine
    assert "not compared: its weights are nano, published are microsoft/Florence-2-large@f0acedb" in nano
    assert "56.3" not in mine + nano


def test_write_of_a_contradicted_record_shows_a_warning(tmp_path: Path) -> None:
    run = a_box_run(provenance={"contradicted": "the record says 99"})
    html = page.write([page.Shown(run, None, (), tmp_path)], published.figures, tmp_path / "report", 4).read_text()
    assert '<p class="warning">The record says 99.</p>' in html
