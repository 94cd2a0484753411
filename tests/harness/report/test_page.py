"""The page, its tables and its pictures."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from baselines.trivial import WholeImage
from harness import published, runner
from harness.core import Answer, Estimate, Polygons, Question, Row, Run, RunSpec, Sample, Score, Size, Source, Text
from harness.report import gallery, page, text
from tasks import TASKS
from tests.rows import rows

SPEC = RunSpec(
    data="coco", data_hash="0", task="refcoco", version=1, split="val", model="florence2-l", fingerprint="f",
)  # fmt: skip


def a_run(data: str = "coco", model: str = "florence2-l", **more: Any) -> Run:
    spec = RunSpec(**{**{name: getattr(SPEC, name) for name in SPEC.__slots__}, "data": data, "model": model})
    return Run(
        schema=1, id=f"{data}{model}", spec=spec, status="complete", headline="Acc@0.5",
        metrics={"Acc@0.5": Estimate(55.25, 54.0, 56.5, 10), "unreadable": Estimate(0.0, None, None, 10)},
        counts={"answered": 10, "samples": 10, "images": 4}, **more,
    )  # fmt: skip


def test_a_published_figure_stands_beside_a_real_run_alone() -> None:
    told = page.runs_markdown([a_run(), a_run(data="miniature")], published.figures)
    real, embedded = told.splitlines()[2:4]
    # Table 4 of arXiv:2311.06242v1: Florence-2-L, zero-shot, RefCOCO val 56.3
    assert "55.2 [54.0, 56.5]" in real.replace("55.3", "55.2")
    assert "Florence-2-L 56.3" in real
    assert "93.4" not in real  # that one is fine-tuned
    assert "not comparable" in embedded and "56.3" not in embedded
    assert "not comparable with published ones" in told


def test_csv_is_unrounded() -> None:
    [acc, unreadable] = csv.DictReader(io.StringIO(page.runs_csv([a_run()])))
    assert (acc["metric"], float(acc["value"]), float(acc["low"]), acc["n"]) == ("Acc@0.5", 55.25, 54.0, "10")
    assert (unreadable["low"], unreadable["high"]) == ("", "")


def test_the_page_escapes_what_models_write(tmp_path: Path) -> None:
    image = tmp_path / "x.png"
    Image.new("RGB", (30, 20)).save(image)
    outline = Polygons((((1.0, 1.0), (9.0, 1.0), (9.0, 9.0)),))
    sample: Sample[Any] = Sample("1", Question("x.png", Size(30, 20), "segment", "<b>left</b>"), outline, "x.png")
    row = Row(sample, Answer(("<script>alert(1)</script>",), None), Score({"iou": 0.0}, readable=False))
    shown = [page.Shown(a_run(model="<i>odd</i>"), TASKS["refcoco"], (row,), tmp_path)]
    made = page.write(shown, published.figures, tmp_path / "report", 4).read_text()
    assert "<script>alert" not in made and "&lt;script&gt;alert" in made and "<i>odd" not in made
    assert "&lt;b&gt;left&lt;/b&gt;" in made
    assert "unreadable" in made
    assert "http://" not in made.replace("http://www.w3.org", "")  # nothing is fetched
    assert (tmp_path / "report/headlines.svg").is_file()


def test_the_worst_come_first_one_of_an_image() -> None:
    scores = [(str(place // 4), place / 40) for place in range(40)]  # ten images of four answers, ever better
    found = gallery.chosen(rows(scores), 10)
    values = [row.score.values["iou"] for row in found]
    assert values == sorted(values)
    assert {0.0, 0.1, 0.2, 0.3, 0.4} <= set(values)  # the worst of the first five images
    assert max(values) == 39 / 40
    assert len(gallery.chosen(rows(scores[:3]), 10)) == 3


def test_masks_are_drawn_where_they_are(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480), (128, 128, 128)).save(tmp_path / "x.png")
    target = Polygons((((100.0, 100.0), (300.0, 100.0), (300.0, 300.0), (100.0, 300.0)),))
    answer = Polygons((((400.0, 100.0), (600.0, 100.0), (600.0, 300.0), (400.0, 300.0)),))
    sample: Sample[Any] = Sample("1", Question("x.png", Size(640, 480), "segment"), target, "x.png")
    drawn = gallery.draw(Row(sample, Answer((), answer), Score({"iou": 0.0})), tmp_path)
    pixels = np.asarray(drawn).astype(int)
    assert drawn.size == (640, 480)
    inside, other, outside = pixels[200, 200], pixels[200, 500], pixels[400, 50]
    assert inside[1] > inside[0] and inside[1] > inside[2]  # green
    assert other[0] > other[1] and other[2] > other[1]  # magenta
    assert outside.tolist() == [128, 128, 128]


def test_region_of_a_question_is_drawn_in_blue(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480), (128, 128, 128)).save(tmp_path / "x.png")
    question = Question("x.png", Size(640, 480), "describe", region=(100.0, 50.0, 300.0, 250.0))
    sample: Sample[Any] = Sample("1", question, Text(("a dog",)), "x.png")
    row = Row(sample, Answer(("a cat",), Text(("a cat",))), Score({"CIDEr": 0.0}))
    pixels = np.asarray(gallery.draw(row, tmp_path)).astype(int)
    for x, y in ((100, 150), (300, 150), (200, 50), (200, 250)):  # the middle of each edge
        red, green, blue = pixels[y, x]
        assert blue > green > red
    assert pixels[150, 200].tolist() == pixels[400, 500].tolist() == [128, 128, 128]
    [picture] = gallery.pictures_of([row], {})
    assert (picture.asked, picture.wanted, picture.wrote) == ("describe", "a dog", "a cat")


def test_numbers_and_tables() -> None:
    assert text.number(Estimate(81.25, 79.96, 82.04, 5)) == "81.2 [80.0, 82.0]"
    assert text.number(Estimate(81.25, None, None, 5)) == "81.2"
    assert text.number(Estimate(None, None, None, 5)) == text.number(None) == "–"
    assert text.table(("a", "b"), [("long", "x")]) == "a     b\nlong  x"


def test_a_run_as_text() -> None:
    timings = {
        "seconds": 2.0, "answers/s": 5.0, "images/s": 2.0, "tokens/s": 40.0, "latency of": "an answer, at batch size 1",
        "p50 s": 0.125, "peak memory MiB": 512.0,
    }  # fmt: skip
    told = text.describe(a_run(timings=timings), Path("results/x"))
    assert told.splitlines()[0] == "refcoco val · florence2-l · coco · zero_shot (complete)"
    assert "10 of 10 answered, 4 images" in told
    assert "5.0 answers/s" in told and "125 ms (median) to an answer, at batch size 1" in told
    assert "miniature" not in told
    assert text.MINIATURE in text.describe(a_run(data="miniature"), Path("results/x"))


def test_a_gallery_of_the_miniature(miniature: Path, tmp_path: Path) -> None:
    task = TASKS["refcoco_res"]
    samples = list(task.load(Source(miniature, "val")))[:30]
    answers = {
        samples[place].id: answer
        for place, answer in WholeImage().answer((place, s.question) for place, s in enumerate(samples))
        if isinstance(answer, Answer)
    }
    pictures = gallery.write(runner.mark(task, samples, answers), miniature, tmp_path, 6)
    assert len(pictures) == 6 == len(list(tmp_path.glob("*.jpg")))
    with Image.open(tmp_path / pictures[0].file) as image:
        assert min(image.size) >= 200


def test_the_same_records_give_the_same_page_and_figure(tmp_path: Path) -> None:
    shown = [page.Shown(a_run(model=model), TASKS["refcoco"], (), tmp_path) for model in ("a", "b")]
    for name in ("one", "other"):
        page.write(shown, published.figures, tmp_path / name, 4)
    for path in sorted((tmp_path / "one").iterdir()):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("zero_shot 55.2 [54.0, 56.5]", "zero_shot 55.2 [54.0, 56.5]"),
        ("_a_ *b* `c` a|b \\", "\\_a\\_ \\*b\\* \\`c\\` a\\|b \\\\"),
        ("[x](y) [a [b] c](d) [1, 2](y)", "\\[x\\](y) \\[a \\[b\\] c\\](d) \\[1, 2\\](y)"),
        ("<b>&amp;~~x~~\n\x1b[2Jy", "&lt;b&gt;&amp;amp;\\~\\~x\\~\\~ \\[2Jy"),
    ],
)
def test_nothing_in_a_cell_is_markup(said: str, expected: str) -> None:
    """Against GitHub's rules: underscores within words and an interval's brackets are themselves."""
    assert text.cell(said) == expected
