"""The command `compare`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.store import SCHEMA
from tests.harness.conftest import Call as InFolder


def test_compare_whole_image_with_oracle_prints_and_writes_a_page(call: InFolder, tmp_path: Path) -> None:
    """Floor and ceiling of one task: two runs by their model's names, a page with pictures, and JSON."""
    for model in ("whole-image", "oracle-quantised"):
        asked = ("run", "--task", "refcoco", "--model", model, "--data", "miniature", "--limit", "4", "--json")
        assert call(*asked)[0] == 0
    status, out, said = call("compare", "whole-image", "oracle-quantised", "--to", "page", "--pictures", "4")
    assert status == 0, said
    assert "refcoco val · miniature" in out and "iou per sample: B is worse in 0, better in" in out
    assert "Acc@0.5" in out and "permutation" in out
    assert len(list((tmp_path / "page").glob("*.jpg"))) == 2
    assert "0-better-00.jpg" in (tmp_path / "page/compare.html").read_text()
    status, out, _ = call("compare", "whole-image", "oracle-quantised", "--json")
    [record] = json.loads(out)
    assert record["metrics"]["Acc@0.5"]["b"] == pytest.approx(100)
    assert record["metrics"]["Acc@0.5"]["p"] < 1
    for arguments, complaint in (
        (("whole-image", "nothing"), "no run has the id or folder 'nothing'"),
        ((tmp_path, "oracle-quantised"), "several runs of refcoco val"),
        (("", "oracle-quantised"), "an empty name; give a run"),
    ):
        status, _, said = call("compare", *arguments)
        assert status == 2 and complaint in said


def test_compare_refuses_run_of_older_task_version(call: InFolder, tmp_path: Path) -> None:
    assert call("run", "--task", "refcoco", "--model", "whole-image", "--data", "miniature", "--limit", "2")[0] == 0
    [record] = (tmp_path / "results").rglob("run.json")
    stored = json.loads(record.read_text())
    assert stored["schema"] == SCHEMA
    stored["spec"]["version"] -= 1
    record.write_text(json.dumps(stored))
    status, _, said = call("compare", record.parent, record.parent)
    assert status == 3 and "scores its answers again" in said
