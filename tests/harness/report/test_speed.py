"""What is said and drawn of `bench`'s records, each number placed by hand."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from harness.report import speed

ESTIMATE = {"value": 0.25, "low": 0.2, "high": 1.5, "n": 64}


def record(**more: Any) -> dict[str, Any]:
    settings = {
        "task": "", "batch size": 4, "beams": 3, "dtype": "float32", "resolution": "768x768", "new tokens": 20,
        "threads": 2, "rate": None, "target s": None, **more.pop("settings", {}),
    }  # fmt: skip
    return {
        "device": "A, 2 cores", "model": "florence2-b", "weights": "random", "set": "32 drawn", "settings": settings,
        "scenario": "single_stream", "level": "default", "valid": True, "reasons": [], "queries": 64, "seconds": 30.04,
        "latency s": {"p50": ESTIMATE}, "throughput": {"images/s": 2.5, "tokens/s": 52.0}, "rates tried": [],
        "meter": {"peak memory MiB": 900.4}, "against": {},
        "provenance": {"harness": "0.1"}, **more,
    }  # fmt: skip


STAGES = {
    "stages": {
        "batch": 2,
        "steps": 10,
        "lines": [
            {"stage": "open", "seconds": 0.004},
            {
                "stage": "vision", "seconds": 2.0, "floor s": 1.5, "bound": "arithmetic", "of the ceiling": 0.75,
                "operations": 3e11, "bytes": 1e9,
            },
            {
                "stage": "decode", "seconds": 0.02, "floor s": 0.005, "bound": "memory", "of the ceiling": 0.25,
                "operations": 1e8, "bytes": 5e7,
            },
        ],
    },
    "ceilings": {"operations": 2e11, "bytes": 1e10},
}  # fmt: skip
BESIDE = {
    "name": "transformers", "ratio": {"value": 2.5, "low": 2.25, "high": 3.0, "n": 7}, "least": 2.25, "most": 3.0,
    "ours": 1.0, "theirs": 2.5, "rounds": 7, "queries": 4, "equal": 1.0, "reasons": [],
}  # fmt: skip


def test_a_record_in_words() -> None:
    told = speed.describe(record(**STAGES, meter={"peak memory MiB": 900.4, "joules": 128.0}))
    assert told.splitlines()[0] == (
        "florence2-b single_stream · 32 drawn · batch 4, 3 beams, float32, 768x768, 20 new tokens · A, 2 cores"
    )
    assert "  VALID" in told.splitlines()
    assert "p50        250 ms [200 ms, 1.5 s]" in told
    assert "64 queries in 30.0 s, peak memory 900 MiB, level default" in told
    assert "2 J an answer" in told  # 128 J, 64 answers
    assert "open           4 ms\n" in told  # without a floor
    assert "vision          2 s  floor 1.5 s (arithmetic), 75% of the ceiling" in told


def test_what_speaks_against_it_is_beside_it() -> None:
    told = speed.describe(record(valid=False, reasons=["the device is shared", "too few"]))
    assert "  INVALID: the device is shared; too few" in told.splitlines()
    rates = [
        {"rate": 16.13, "percent": 99.0, "latency": 0.34, "holds": True},
        {"rate": 19.2, "percent": 99.0, "latency": 0.71, "holds": False},
    ]
    told = speed.describe(record(**{"rates tried": rates}, settings={"target s": 0.5, "rate": None}))
    assert "within 0.5 s" in told
    assert "16.1 a second: p99 0.34 s, holds" in told
    assert "19.2 a second: p99 0.71 s, does not hold" in told


@pytest.mark.parametrize(("found", "said"), [
    (BESIDE, "2.50 times [2.25, 3.00], 1 s to 2.5 s for 4, 7 rounds, 100% of answers equal"),
    (
        {**BESIDE, "ratio": {"value": 2.5, "low": None, "high": None, "n": 3}, "reasons": ["too few", "shared"]},
        "2.50 times, 1 s to 2.5 s for 4, 7 rounds, 100% of answers equal; INVALID: too few; shared",
    ),
    ({"cannot run": "no compiler"}, "it cannot run here (no compiler)"),
])  # fmt: skip
def test_a_peer_in_words(found: dict[str, Any], said: str) -> None:
    assert speed.beside(found) == said


def rows(text: str, heading: str) -> list[list[str]]:
    """The rows of the Markdown table below a line that begins so."""
    lines = text[text.index(heading) :].splitlines()
    table = [line for line in lines[: lines.index("", 2)] if line.startswith("|")] if "" in lines[2:] else lines
    cells = csv.reader((line.strip("| ") for line in table if line.startswith("|")), delimiter="|")
    return [[cell.strip() for cell in row] for row in cells][2:]


def test_a_table_a_device_by_model_and_batch() -> None:
    records = [
        record(settings={"batch size": 16}, **{"latency s": {}}, scenario="offline"),
        record(device="B | C", valid=False, reasons=["shared"], throughput={"images/s": 0.123456, "tokens/s": 3.0}),
        record(settings={"batch size": 4}, **{"latency s": {}}, scenario="offline", against={"transformers": BESIDE}),
    ]
    told = speed.markdown(records)
    first = rows(told, "## A, 2 cores")
    assert [row[2].split(",")[0] for row in first] == ["batch 4", "batch 16"]
    assert first[0][3:] == ["offline (default)", "–", "–", "2.5", "52", "900", "VALID", "0.1"]
    [other] = rows(told, "## B")
    assert other[3:] == ["single_stream (default)", "250 ms", "–", "0.1235", "3", "900", "INVALID: shared", "0.1"]
    assert "| transformers | 2.50 times [2.25, 3.00]" in told
    unsure = speed.markdown([record(meter={"peak memory MiB": 900.4, "not checked": "heat"})])
    assert rows(unsure, "## A, 2 cores")[0][-2:] == ["VALID (not checked: heat)", "0.1"]
    assert "Nothing was measured yet" in speed.markdown([])


def test_the_same_records_are_the_same_files_in_any_order(tmp_path: Path) -> None:
    records = [record(**STAGES, settings={"batch size": size}) for size in (1, 2, 4)]
    for folder, given in (("one", records), ("other", records[::-1])):
        speed.render(given, tmp_path / folder)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {
        "speed.md",
        *(f"{name}.{kind}" for name in ("stages", "roofline", "scaling") for kind in ("svg", "png")),
    }
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name


def test_a_bar_is_the_stages_of_an_image_and_its_outline_their_floors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a batch of two: opening 2 ms, the tower 1 s, ten steps of 20 ms are 100 ms; floors 750 ms and 25 ms."""
    drawn: list[tuple[str | None, float, float]] = []

    def barh(self: Axes, y: float, width: float, left: float = 0.0, **more: Any) -> None:
        drawn.append((more.get("label"), width, left))

    monkeypatch.setattr(Axes, "barh", barh)
    speed.render([record(**STAGES)], tmp_path)
    assert [one for one in drawn if one[1]] == [
        ("open", pytest.approx(2.0), 0.0),
        ("vision", pytest.approx(1000.0), pytest.approx(2.0)),
        ("decode", pytest.approx(100.0), pytest.approx(1002.0)),
        ("floor", pytest.approx(775.0), 0.0),
    ]


def test_a_roofline_has_each_stage_at_its_intensity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tower: 300 operations a byte, 1.5e11 a second; a step: 2 a byte, 5e9 a second, under 2e10."""
    points: list[tuple[float, float]] = []
    plot = Axes.plot

    def noted(self: Axes, *given: Any, **more: Any) -> Any:
        if len(given) == 3 and isinstance(given[0], float):
            points.append((given[0], given[1]))
        return plot(self, *given, **more)

    monkeypatch.setattr(Axes, "plot", noted)
    speed.render([record(**STAGES)], tmp_path)
    assert points == [(pytest.approx(2.0), pytest.approx(5e9)), (pytest.approx(300.0), pytest.approx(1.5e11))]


def test_sets_of_several_sizes_have_a_panel_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plotted: list[tuple[tuple[float, ...], tuple[float, ...], str | None]] = []
    plot = Axes.plot

    def noted(self: Axes, *given: Any, **more: Any) -> Any:
        if given[-1] == "s-":
            plotted.append((*given[:2], more["label"]))
        return plot(self, *given, **more)

    monkeypatch.setattr(Axes, "plot", noted)
    records = [
        record(set=f"{images} drawn", throughput={"images/s": rate, "tokens/s": 1.0}, scenario="offline")
        for images, rate in ((128, 9.0), (32, 8.0))
    ]
    other = record(set="64 drawn"), record(set="64 drawn", scenario="offline", settings={"new tokens": 100})
    speed.render([*records, *other], tmp_path)  # one at a time, and answers of another length, are no point of it
    assert plotted == [((32, 128), (8.0, 9.0), "florence2-b · batch 4")]


def test_points_that_do_not_count_are_hollow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hollow: list[tuple[Any, ...]] = []
    plot = Axes.plot

    def noted(self: Axes, *given: Any, **more: Any) -> Any:
        if more.get("markerfacecolor") == "white":
            hollow.append((*given[:2], more.get("label")))
        return plot(self, *given, **more)

    monkeypatch.setattr(Axes, "plot", noted)
    speed.render([record()], tmp_path)
    assert not hollow
    speed.render([record(), record(valid=False, reasons=["a trend"], settings={"batch size": 16})], tmp_path)
    assert hollow == [(16, 2.5, None), (2.5, 250.0, None), ([], [], "hollow: INVALID")]


def test_devices_are_told_apart_where_there_are_several(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    def legend(records: list[dict[str, Any]]) -> str:
        found: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Figure, "legend", lambda self, handles, labels, **more: found.extend(labels))
            speed.render(records, tmp_path)
        return " ".join(found)

    assert not re.search("A, 2 cores", legend([record()]))
    both = legend([record(), record(device="B")])
    assert "A, 2 cores" in both
    assert "B" in both
