"""The benchmark of the viewer: its made-up runs are whole, and at a small size it prints its figures."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import viewer
from harness.geometry.boxes import iou
from harness.viewer import contents


def test_made_up_runs_share_samples_whose_scores_are_their_overlaps(tmp_path: Path) -> None:
    library = viewer.Generated(7, 30, tmp_path)
    assert len(library.listed()) == 7
    for name in contents.names(library):
        assert contents.payload(library, name, live=False)
    for row in library.shown("run0")[0].rows:
        [box], [truth] = row.answer.value.boxes, row.sample.target.boxes  # type: ignore[union-attr]
        width, both = truth[2] - truth[0], max(0.0, truth[2] - truth[0] - abs(box[0] - truth[0]))
        assert iou(box, truth) == pytest.approx(both / (2 * width - both))
        assert row.score.values["iou"] == pytest.approx(both / (2 * width - both))


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
@pytest.mark.parametrize("disk", [[], ["--disk"]])
def test_benchmark_prints_its_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, disk: list[str]
) -> None:
    monkeypatch.setattr(viewer, "ROUNDS", 1)
    monkeypatch.setattr(sys, "argv", ["viewer.py", "--runs", "5", "--samples", "4400", *disk])
    viewer.main()
    figures = json.loads(capsys.readouterr().out)
    assert figures["runs"] == 5 and min(figures["first view"]) > 0
    assert figures["busiest task"][2] >= figures["busiest task"][0] > 0
    assert len(figures["long tasks per scroll"]) == 1 and figures["from"] == ("disk" if disk else "server")
