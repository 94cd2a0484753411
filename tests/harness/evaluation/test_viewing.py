"""The runs behind the viewer, on the embedded benchmark: whole, in progress, without answers, and changing."""

from __future__ import annotations

import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

import harness
from harness import store
from harness.core import Run
from harness.errors import DataError
from harness.evaluation import viewing
from harness.evaluation.viewing import Live
from harness.store import RunFolder
from harness.viewer import contents


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, RunFolder, Run]:
    """A folder of results with one finished run of the whole-image floor on five images."""
    out = tmp_path / "results"
    harness.evaluate("refcoco", "whole-image", data="miniature", limit=5, out=out)
    [(folder, run)] = store.runs(out)
    return out, folder, run


def test_finished_run_has_its_samples_and_pictures(kept: tuple[Path, RunFolder, Run]) -> None:
    out, folder, run = kept
    live = Live(out)
    [item] = live.listed()
    assert (item.run, item.state, item.folder) == (run, "partial", str(folder.path))
    shown, problem = live.shown(run.id)
    assert problem == "" and len(shown.rows) == run.counts["samples"]
    hits = [row.score.values["iou"] >= 0.5 for row in shown.rows]
    assert 100 * sum(hits) / len(hits) == pytest.approx(run.metrics["Acc@0.5"].value)
    image = contents.payload(live, f"details/{run.id}/0", live=True)[0]["image"]
    with Image.open(BytesIO(live.image(image, 320))) as picture:
        assert max(picture.size) <= 320
    with pytest.raises(KeyError):
        live.image("none.jpg", 320)


def test_record_without_answers_says_how_to_make_them(kept: tuple[Path, RunFolder, Run]) -> None:
    out, folder, run = kept
    (folder.path / "answers.jsonl").unlink()
    live = Live(out)
    assert [item.state for item in live.listed()] == ["record"]
    shown, problem = live.shown(run.id)
    assert not shown.rows and "not here" in problem
    assert contents.payload(live, f"samples/{run.id}", live=True)["count"] == 0


def test_run_in_progress_shows_its_headline_so_far_and_then_the_rest(kept: tuple[Path, RunFolder, Run]) -> None:
    out, folder, run = kept
    record = (folder.path / "run.json").read_bytes()
    lines = (folder.path / "answers.jsonl").read_text().splitlines(keepends=True)
    folder.write_run(replace(run, status="running", metrics={}, counts={}))
    (folder.path / "answers.jsonl").write_text("".join(lines[:7]))
    live = Live(out)
    with folder.locked():
        before = live.stamp()
        [item] = live.listed()  # does not wait for the scores
        assert item.state == "running" and item.run.counts["answered"] == 7
        while not item.run.metrics:
            time.sleep(0.05)
            [item] = live.listed()
        assert item.run.counts["samples"] == len(lines) and live.stamp() != before
        shown, _ = live.shown(run.id)
        hits = [row.score.values["iou"] >= 0.5 for row in shown.rows]  # of the first seven
        assert item.run.metrics["Acc@0.5"].value == pytest.approx(100 * sum(hits) / 7) and len(hits) == 7
        (folder.path / "answers.jsonl").write_text("".join(lines))
        (folder.path / "run.json").write_bytes(record)
    assert live.stamp() != before
    assert [item.state for item in live.listed()] == ["partial"]
    assert len(live.shown(run.id)[0].rows) == len(lines)


def test_run_in_progress_without_answers_says_so(kept: tuple[Path, RunFolder, Run]) -> None:
    out, folder, run = kept
    folder.write_run(replace(run, status="running", metrics={}, counts={}))
    (folder.path / "answers.jsonl").write_text("")
    with folder.locked():
        live = Live(out)
        assert [item.state for item in live.listed()] == ["running"]
        assert live.shown(run.id)[1] == "no question is answered yet"


def test_interrupted_run_is_called_so(kept: tuple[Path, RunFolder, Run]) -> None:
    out, folder, run = kept
    folder.write_run(replace(run, status="running", metrics={}, counts={}))
    lines = (folder.path / "answers.jsonl").read_text().splitlines(keepends=True)
    (folder.path / "answers.jsonl").write_text("".join(lines[:7]))
    live = Live(out)
    assert [item.state for item in live.listed()] == ["interrupted"]
    assert "7 of" in live.shown(run.id)[1] and "resumes" in live.shown(run.id)[1]


def test_record_that_lies_is_marked(kept: tuple[Path, RunFolder, Run]) -> None:
    out, folder, run = kept
    estimate = replace(run.metrics["Acc@0.5"], value=99.0, high=99.5)
    folder.write_run(replace(run, metrics={**run.metrics, "Acc@0.5": estimate}))
    live = Live(out)
    assert [item.state for item in live.listed()] == ["edited"]
    shown, _ = live.shown(run.id)
    assert "says Acc@0.5 99" in shown.run.provenance["contradicted"]
    assert "edited" in contents.payload(live, f"run/{run.id}", live=True)["warnings"][0]


def test_run_that_appears_and_vanishes_while_viewed(kept: tuple[Path, RunFolder, Run]) -> None:
    out, _, run = kept
    live = Live(out)
    before = live.stamp()
    harness.evaluate("textvqa", "whole-image", data="miniature", limit=3, out=out)
    assert len(live.stamp()) == len(before) + 1 and before.items() <= live.stamp().items()
    new = next(item.run.id for item in live.listed() if item.run.id != run.id)
    assert live.shown(new)[0].rows
    [(folder, _)] = [each for each in store.runs(out) if each[1].id == new]
    folder.remove(out)
    assert [item.run.id for item in live.listed()] == [run.id] and live.stamp() == before
    with pytest.raises(KeyError):
        live.shown(new)


def test_memory_keeps_few_runs(kept: tuple[Path, RunFolder, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    out, _, run = kept
    harness.evaluate("textvqa", "whole-image", data="miniature", limit=3, out=out)
    monkeypatch.setattr(viewing, "KEPT", 1)
    live = Live(out)
    for item in live.listed():
        assert live.shown(item.run.id)[0].rows
    assert len(live._read) == 1 and live.shown(run.id)[0].rows


def test_stamp_of_a_run_in_a_renamed_folder_has_its_id(kept: tuple[Path, RunFolder, Run]) -> None:
    out, folder, run = kept
    folder.path.rename(folder.path.with_name("renamed"))
    live = Live(out)
    live.listed()
    assert list(live.stamp()) == [*live.extras.stamps(), run.id]


def test_copies_are_left_out_once_and_named(kept: tuple[Path, RunFolder, Run]) -> None:
    out, folder, run = kept
    copy = out / "copy"
    copy.mkdir()
    (copy / "run.json").write_bytes((folder.path / "run.json").read_bytes())
    runs, left = viewing.each_once(out)
    assert [each.path for each, _ in runs] == [folder.path]
    assert left == [f"left out: {copy} is a copy of run {run.id} in {folder.path}"]


def test_other_annotations_are_a_reason_and_no_crash(kept: tuple[Path, RunFolder, Run]) -> None:
    out, folder, run = kept
    folder.write_run(replace(run, spec=replace(run.spec, data_hash="0" * 64)))
    shown, problem = Live(out).shown(run.id)
    assert not shown.rows and "other annotations" in problem


def test_picture_of_a_missing_image_is_a_data_error(tmp_path: Path) -> None:
    live = Live(tmp_path)
    with pytest.raises(DataError, match=r"gone\.png"):
        live.image(live.picture(tmp_path, "gone.png"), 320)
