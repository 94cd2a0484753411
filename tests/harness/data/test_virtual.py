"""Data roots that are made from parquet files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness import images
from harness.data import virtual
from harness.data.parquet import Place
from harness.data.virtual import Content, cache_folder, key_of, make_root, open_root
from harness.errors import ResourceError

CONTENT = Content({"refer/x/instances.json": b"{}"}, {"coco/train2014/a.jpg": Place(0, 0, 1)})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_root_has_its_files_and_its_folder_of_images(cache: Path) -> None:
    root = make_root("one", lambda: CONTENT)
    assert root == cache / "florence2-harness/parquet/one" == cache_folder() / "one"
    assert (root / "refer/x/instances.json").read_bytes() == b"{}"
    assert [path.name for path in (root / "coco/train2014").iterdir()] == ["in-parquet.txt"]
    assert [path.name for path in root.parent.iterdir()] == ["one"]


def test_root_is_made_once() -> None:
    calls = []
    for _ in range(2):
        make_root("one", lambda: calls.append(1) or CONTENT)
    assert calls == [1]


def test_failed_root_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path, content: Content) -> None:
        (folder / "half").write_text("written")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(virtual, "_write", broken)
    with pytest.raises(ResourceError, match="No space left on device"):
        make_root("one", lambda: CONTENT)
    assert list(cache_folder().iterdir()) == []


def test_root_that_another_process_made_meanwhile_is_used() -> None:
    def slower() -> Content:
        make_root("one", lambda: CONTENT)
        return CONTENT

    assert (make_root("one", slower) / "images.json").is_file()
    assert [path.name for path in cache_folder().iterdir()] == ["one"]


def test_key_of_differs_with_any_part() -> None:
    assert len({key_of(parts) for parts in (["a", "b"], ["ab"], ["a", "b", ""], ["b", "a"])}) == 4


def test_open_root_makes_images_readable_under_the_root(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    cells = pa.array([{"bytes": b"first"}, {"bytes": b"second"}], pa.struct([("bytes", pa.binary())]))
    pq.write_table(pa.table({"image": cells}), path)
    root = make_root("one", lambda: CONTENT)
    open_root(root, [path], "image")
    assert images.read_bytes(root, "coco/train2014/a.jpg") == b"second"


def test_open_root_again_keeps_what_is_open_unless_the_files_moved(tmp_path: Path) -> None:
    """A copy of the folder has the same root, and the first folder may be gone."""
    root = make_root("one", lambda: CONTENT)
    open_root(root, [tmp_path / "a.parquet"], "image")
    first = images.mounted(root)
    open_root(root, [tmp_path / "a.parquet"], "image")
    assert images.mounted(root) is first
    open_root(root, [tmp_path / "b.parquet"], "image")
    assert images.mounted(root) is not first
