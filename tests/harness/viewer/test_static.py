"""The pages as files."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path

import pytest

from harness.errors import DataError
from harness.report.page import Shown
from harness.viewer import static
from harness.viewer.given import Listed
from tests.harness.viewer.viewed import library, listed, picture, shown_of


def test_report_writes_index_data_and_pictures(tmp_path: Path) -> None:
    runs = library([shown_of("alpha", picture(tmp_path / "root"))])
    index = static.write(runs, tmp_path / "out")
    assert index.is_file() and index.name == "index.html"
    [image] = (tmp_path / "out/images").iterdir()  # all samples share one picture
    assert image.name in (tmp_path / "out/data/index/id-alpha/0.js").read_text()
    assert (tmp_path / "out/thumbs" / image.name).is_file()
    assert (tmp_path / "out/data/overview.js").read_text().startswith('harnessData("overview",')


def test_second_report_leaves_nothing_of_the_first_and_keeps_other_files(tmp_path: Path) -> None:
    root, out = picture(tmp_path / "root"), tmp_path / "out"
    static.write(library([shown_of("alpha", root)]), out)
    (out / "mine.txt").write_text("mine")
    static.write(library([shown_of("be", root)], pictures=0), out)
    assert not (out / "data/run/id-alpha.js").exists() and (out / "data/run/id-be.js").is_file()
    assert not (out / "images").exists() and (out / "mine.txt").is_file()


def test_folders_of_others_are_never_removed(tmp_path: Path) -> None:
    mine = tmp_path / "out/data/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(DataError, match="has data, which no report wrote; choose another folder with --to"):
        static.write(library([]), tmp_path / "out")
    assert mine.read_text() == "mine"
    static.write(library([]), tmp_path / "two")
    shutil.rmtree(tmp_path / "two/data")
    (tmp_path / "two/data").symlink_to(mine.parent)
    with pytest.raises(DataError, match="no report wrote"):
        static.write(library([]), tmp_path / "two")
    assert list(mine.parent.iterdir()) == [mine]


def test_missing_picture_is_logged_and_the_page_is_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    static.write(library([shown_of("alpha", tmp_path)]), tmp_path / "out")
    assert "1 pictures cannot be shown" in caplog.text and "x.png" in caplog.text
    assert (tmp_path / "out/data/details/id-alpha/0.js").is_file()


def test_runs_that_are_read_again_give_the_same_pages_and_at_most_two_stay_in_memory(tmp_path: Path) -> None:
    root, names = picture(tmp_path / "root"), ("alpha", "be", "gamma", "d")
    made: list[weakref.ref[Shown]] = []
    most = 0

    def read(run: str) -> tuple[Shown, str]:
        nonlocal most
        shown = shown_of(run.removeprefix("id-"), root)
        made.append(weakref.ref(shown))
        most = max(most, sum(each() is not None for each in made))
        return shown, ""

    again = static.Fixed((), 100, read)
    for name in names:
        again.add(listed(shown_of(name, root)), shown_of(name, root), "")
    static.write(library([shown_of(name, root) for name in names]), tmp_path / "kept")
    static.write(again, tmp_path / "again")
    for path in (path for path in (tmp_path / "kept").rglob("*") if path.is_file()):
        same = tmp_path / "again" / path.relative_to(tmp_path / "kept")
        assert same.read_bytes() == path.read_bytes(), same
    assert most == static.KEPT


def test_run_in_progress_is_not_read_again(tmp_path: Path) -> None:
    def read(run: str) -> tuple[Shown, str]:
        raise AssertionError(f"{run} would have other samples")

    shown = shown_of("alpha", picture(tmp_path))
    runs = static.Fixed([(Listed(shown.run, "running", ""), shown, "")], 4, read)
    assert runs.shown(shown.run.id) == (shown, "") and runs.count(shown.run.id) == 12


def test_pages_are_equal_when_written_again(tmp_path: Path) -> None:
    root = picture(tmp_path / "root")
    for name in ("one", "two"):
        static.write(library([shown_of("alpha", root), shown_of("be", root)]), tmp_path / name)
    one, two = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two")
    )
    assert one == two and len(one) > 15
