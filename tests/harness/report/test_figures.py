"""Figures of runs: the files, the plotted numbers, and the same bytes twice."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from harness.core import Estimate, Run
from harness.report import figures
from harness.report.breakdown import Breakdown, breakdown
from harness.report.canvas import AnalysedRun, Canvas
from tasks import TASKS
from tests.harness.report.runs import a_box_run, box_row


def timed_run(model: str, data: str, rate: float) -> Run:
    """A run on the CPU with `rate` answers per second, a median latency of 1 / rate, and an accuracy of `rate` ± 1."""
    return a_box_run(
        data, model, metrics={"Acc@0.5": Estimate(rate, rate - 1, rate + 1, 5)},
        timings={"answers/s": rate, "p50 s": 1 / rate}, provenance={"model": {"device": "cpu", "batch size": 1}},
    )  # fmt: skip


def numbers(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "figures.csv").read_text().splitlines()))


def test_write_two_data_sets_gives_separate_reproducible_figures(tmp_path: Path) -> None:
    rows = [box_row(place, 40, place / 10, place / 20) for place in range(10)]
    parts = breakdown(TASKS["refcoco"], rows)
    runs = [
        AnalysedRun(timed_run(model, data, rate), parts)
        for data in ("coco", "miniature") for rate, model in ((5.0, "a"), (7.0, "b/<i>"))
    ]  # fmt: skip
    files = figures.write(runs, tmp_path / "one")
    assert [figure.file for figure in files] == [
        f"{data}-{name}" for data in ("coco", "miniature")
        for name in ("iou", "calibration", "object-size", "throughput", "latency")
    ]  # fmt: skip
    figures.write(runs, tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted([f"{figure.file}.{kind}" for figure in files for kind in ("svg", "png")] + ["figures.csv"])
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    lines = numbers(tmp_path / "one")
    [half] = [
        float(line["value"]) for line in lines
        if line["data"] == "coco" and line["model"] == "a" and line["name"] == "IoU of 0.5 or more"
    ]  # fmt: skip
    assert half == 50.0  # IoUs are 0.0 to 0.9; five of ten are at least 0.5
    assert {line["model"] for line in lines if line["figure"] == "latency"} == {"a", "b/<i>"}


def test_write_several_runs_of_a_model_shows_the_representative_run(tmp_path: Path) -> None:
    """A partial run, an older version and another protocol; the model name is no valid TeX."""
    parts = breakdown(TASKS["refcoco"], [box_row(place, 40, place / 10, None) for place in range(10)])
    other = breakdown(TASKS["refcoco"], [box_row(0, 40, 1.0, None)])
    whole = timed_run("m$\\foo$", "coco", 5.0)
    partial = replace(whole, status="partial", provenance={"date": "2099"})
    older = replace(whole, spec=replace(whole.spec, version=0))
    tuned = replace(whole, spec=replace(whole.spec, protocol="fine_tuned"))
    runs = [
        AnalysedRun(run, parts) for run, parts in ((partial, other), (older, other), (whole, parts), (tuned, other))
    ]
    figures.write(runs, tmp_path)
    counts = {line["model"]: line["n"] for line in numbers(tmp_path) if line["name"] == "IoU of 0.5 or more"}
    assert counts == {"m$\\foo$, zero-shot": "10", "m$\\foo$, fine-tuned": "1"}


def test_write_one_run_without_rows_gives_no_figure(tmp_path: Path) -> None:
    run = AnalysedRun(timed_run("a", "coco", 5.0), breakdown(TASKS["refcoco"], []))
    assert figures.write([run], tmp_path) == []  # accuracy versus speed needs two runs
    assert [path.name for path in tmp_path.iterdir()] == ["figures.csv"]


def test_throughputs_of_other_batch_sizes_share_a_panel_and_latencies_do_not(tmp_path: Path) -> None:
    small, large = timed_run("a", "coco", 5.0), timed_run("b", "coco", 500.0)
    large = replace(large, provenance={"model": {"device": "cpu", "batch size": 32}})
    files = figures.write([AnalysedRun(run, Breakdown()) for run in (small, large)], tmp_path)
    assert [figure.file for figure in files] == ["coco-throughput"]
    lines = numbers(tmp_path)
    assert {(line["task"], line["model"]) for line in lines} == {("refcoco val, cpu", "a"), ("refcoco val, cpu", "b")}


def test_colour_and_marker_of_many_models_are_their_own(tmp_path: Path) -> None:
    models = [f"model {place:02}" for place in range(40)]
    canvas = Canvas("coco", tmp_path, models)
    assert len({(canvas.style(model)["color"], canvas.marker(model)) for model in models}) == 40
