"""The records of `bench` as text, tables and figures; every expected number is computed by hand."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.axes import Axes

from harness.report import speed
from tests.speeds import PEER, STAGES, record


def test_describe_record_has_settings_latency_and_stages() -> None:
    text = speed.describe(record(**STAGES, meter={"peak memory MiB": 900.4, "joules": 128.0}))
    assert text.splitlines()[0] == (
        "florence2-b single_stream · 32 drawn · batch 4, 3 beams, float32, 768x768, 20 new tokens · A, 2 cores"
    )
    assert "  VALID" in text.splitlines()
    assert "p50        250 ms [200 ms, 1.5 s]" in text
    assert "64 queries in 30.0 s, peak memory 900 MiB, level default" in text
    assert "2 J per query" in text  # 128 J, 64 queries
    assert "open           4 ms\n" in text  # without a floor
    assert "vision          2 s  roofline floor 1.5 s (arithmetic), 75% of the ceiling" in text


def test_describe_invalid_record_has_reasons_and_rates_tried() -> None:
    text = speed.describe(record(valid=False, reasons=["the device is shared", "too few"]))
    assert "  INVALID: the device is shared; too few" in text.splitlines()
    rates = [
        {"rate": 16.13, "percent": 99.0, "latency": 0.34, "holds": True},
        {"rate": 19.2, "percent": 99.0, "latency": 0.71, "holds": False},
    ]
    text = speed.describe(record(**{"rates tried": rates}, settings={"target s": 0.5, "rate": None}))
    assert "latency target 0.5 s" in text
    assert "16.1 queries/s: p99 0.34 s, sustained" in text
    assert "19.2 queries/s: p99 0.71 s, not sustained" in text


@pytest.mark.parametrize(("result", "expected"), [
    (PEER, "2.50 times as fast [2.25, 3.00]: 1 s versus 2.5 s for 4 queries, 7 rounds, 100% of predictions equal"),
    (
        {**PEER, "ratio": {"value": 2.5, "low": None, "high": None, "n": 3}, "reasons": ["too few", "shared"]},
        "2.50 times as fast: 1 s versus 2.5 s for 4 queries, 7 rounds, 100% of predictions equal; "
        "INVALID: too few; shared",
    ),
    ({"cannot run": "no compiler"}, "cannot run here (no compiler)"),
])  # fmt: skip
def test_versus_peer_has_ratio_times_and_reasons(result: dict[str, Any], expected: str) -> None:
    assert speed.versus(result) == expected


def test_describe_versus_a_runtime_has_settings_distance_and_parts() -> None:
    near = {"agreement": 0.345, "places": 160, "tower error": 0.22}
    runtime = {
        "version": "1.32.0", "precision": "int8", "threads": 2, "hints": {"spinning": "0"},
        "ours versus float32": {"agreement": 1.0, "places": 160, "tower error": 0.0}, "theirs versus float32": near,
    }  # fmt: skip
    ratio = {"value": 1.25, "low": 1.2, "high": 1.5, "n": 7}
    vision = {"part": "vision", "ratio": ratio, "least": 1.1, "most": 1.6, "ours": 2.0, "theirs": 2.5}
    few = {**vision, "part": "text encoder", "ratio": {**ratio, "low": None, "high": None}}
    result = {**PEER, "name": "onnxruntime", "runtime": runtime, "parts": [vision, few]}
    lines = [line.strip() for line in speed.describe(record(against={"onnxruntime": result})).splitlines()]
    assert lines[-5:] == [
        "1.32.0, int8, 2 threads, spinning=0",
        "ours versus float32: 100.0% of 160 tokens agree, error of the vision tower 0",
        "theirs versus float32: 34.5% of 160 tokens agree, error of the vision tower 0.22",
        "vision                    1.25 times [1.20, 1.50]: 2 s (ours), 2.5 s (theirs)",
        "text encoder              1.25 times: 2 s (ours), 2.5 s (theirs)",
    ]


def rows(text: str, heading: str) -> list[list[str]]:
    """The rows of the Markdown table below a line that begins with `heading`."""
    lines = text[text.index(heading) :].splitlines()
    table = [line for line in lines[: lines.index("", 2)] if line.startswith("|")] if "" in lines[2:] else lines
    cells = csv.reader((line.strip("| ") for line in table if line.startswith("|")), delimiter="|")
    return [[cell.strip() for cell in row] for row in cells][2:]


def test_markdown_has_one_table_per_device_by_model_and_batch_size() -> None:
    records = [
        record(settings={"batch size": 16}, **{"latency s": {}}, scenario="offline"),
        record(device="B | C", valid=False, reasons=["shared"], throughput={"images/s": 0.123456, "tokens/s": 3.0}),
        record(settings={"batch size": 4}, **{"latency s": {}}, scenario="offline", against={"transformers": PEER}),
    ]
    text = speed.markdown(records)
    first = rows(text, "## A, 2 cores")
    assert [row[2].split(",")[0] for row in first] == ["batch 4", "batch 16"]
    assert first[0][3:] == ["offline (default)", "–", "–", "2.5", "52", "900", "VALID", "0.1"]
    [other] = rows(text, "## B")
    assert other[3:] == ["single_stream (default)", "250 ms", "–", "0.1235", "3", "900", "INVALID: shared", "0.1"]
    assert "| transformers | 2.50 times as fast [2.25, 3.00]" in text
    unchecked = speed.markdown([record(meter={"peak memory MiB": 900.4, "not checked": "heat"})])
    assert rows(unchecked, "## A, 2 cores")[0][-2:] == ["VALID (not checked: heat)", "0.1"]
    assert "There are no measurements yet" in speed.markdown([])


def test_render_same_records_in_another_order_gives_the_same_files(tmp_path: Path) -> None:
    records = [record(**STAGES, settings={"batch size": size}) for size in (1, 2, 4)]
    for folder, ordered in (("one", records), ("other", records[::-1])):
        speed.render(ordered, tmp_path / folder)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {
        "speed.md",
        *(f"{name}.{kind}" for name in ("stages", "roofline", "scaling") for kind in ("svg", "png")),
    }
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name


def test_render_bar_has_stage_times_per_image_and_the_roofline_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Per image of a batch of two: open 2 ms, vision 1 s, ten steps of 20 ms give 100 ms; floors 750 ms and 25 ms."""
    drawn: list[tuple[str | None, float, float]] = []

    def barh(self: Axes, y: float, width: float, left: float = 0.0, **more: Any) -> None:
        drawn.append((more.get("label"), width, left))

    monkeypatch.setattr(Axes, "barh", barh)
    speed.render([record(**STAGES)], tmp_path)
    assert [bar for bar in drawn if bar[1]] == [
        ("open", pytest.approx(2.0), 0.0),
        ("vision", pytest.approx(1000.0), pytest.approx(2.0)),
        ("decode", pytest.approx(100.0), pytest.approx(1002.0)),
        ("roofline floor", pytest.approx(775.0), 0.0),
    ]


def test_render_roofline_has_each_stage_at_its_intensity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vision: 300 operations per byte, 1.5e11 per second.  A decoding step: 2 per byte, 5e9 per second."""
    points: list[tuple[float, float]] = []
    plot = Axes.plot

    def record_plot(self: Axes, *arguments: Any, **more: Any) -> Any:
        if len(arguments) == 3 and isinstance(arguments[0], float):
            points.append((arguments[0], arguments[1]))
        return plot(self, *arguments, **more)

    monkeypatch.setattr(Axes, "plot", record_plot)
    speed.render([record(**STAGES)], tmp_path)
    assert points == [(pytest.approx(2.0), pytest.approx(5e9)), (pytest.approx(300.0), pytest.approx(1.5e11))]


def test_render_offline_sets_of_several_sizes_have_their_own_panel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plotted: list[tuple[tuple[float, ...], tuple[float, ...], str | None]] = []
    plot = Axes.plot

    def record_plot(self: Axes, *arguments: Any, **more: Any) -> Any:
        if arguments[-1] == "s-":
            plotted.append((*arguments[:2], more["label"]))
        return plot(self, *arguments, **more)

    monkeypatch.setattr(Axes, "plot", record_plot)
    records = [
        record(set=f"{images} drawn", throughput={"images/s": rate, "tokens/s": 1.0}, scenario="offline")
        for images, rate in ((128, 9.0), (32, 8.0))
    ]
    other = record(set="64 drawn"), record(set="64 drawn", scenario="offline", settings={"new tokens": 100})
    speed.render([*records, *other], tmp_path)  # single_stream and other output lengths are not in the panel
    assert plotted == [((32, 128), (8.0, 9.0), "florence2-b · batch 4")]


def test_render_invalid_points_are_hollow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hollow: list[tuple[Any, ...]] = []
    plot = Axes.plot

    def record_plot(self: Axes, *arguments: Any, **more: Any) -> Any:
        if more.get("markerfacecolor") == "white":
            hollow.append((*arguments[:2], more.get("label")))
        return plot(self, *arguments, **more)

    monkeypatch.setattr(Axes, "plot", record_plot)
    speed.render([record()], tmp_path)
    assert not hollow
    speed.render([record(), record(valid=False, reasons=["a trend"], settings={"batch size": 16})], tmp_path)
    assert hollow == [(16, 2.5, None), (2.5, 250.0, None), ([], [], "hollow: INVALID")]


def test_render_legend_names_devices_if_there_are_several(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    def legend(records: list[dict[str, Any]]) -> str:
        entries: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Figure, "legend", lambda self, handles, labels, **more: entries.extend(labels))
            speed.render(records, tmp_path)
        return " ".join(entries)

    assert not re.search("A, 2 cores", legend([record()]))
    both = legend([record(), record(device="B")])
    assert "A, 2 cores" in both
    assert "B" in both


@pytest.mark.filterwarnings("ignore:Glyph")
def test_render_of_hostile_names_parses_no_mathematics_and_writes_valid_files(tmp_path: Path) -> None:
    hostile = "_$\\frac{\x1b[2J\u202e<script>|\r\n::error::"
    records = [record(model=hostile, device=hostile, set="32 drawn", **STAGES), record(model=hostile)]
    assert speed.describe(records[0]).replace("\n", "").isprintable()
    speed.render(records, tmp_path)
    text = (tmp_path / "speed.md").read_text()
    assert "<script>" not in text and text.replace("\n", "").isprintable()
    drawn = sorted(tmp_path.glob("*.svg"))
    assert len(drawn) == 3
    for path in drawn:
        ElementTree.fromstring(path.read_bytes())
