"""`data check` and `data pack` by the functions that they call."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness import images
from harness.evaluation import checking
from harness.evaluation.checking import Checked

ANNOTATIONS = "vizwiz/Annotations/val.json"


def lines(root: Path, task: str = "vizwiz", *, decode: bool = False) -> list[Checked]:
    """The lines of the only split of a task that the root is checked for."""
    [(title, checked)] = checking.check_each(task, None, str(root), decode=decode)
    assert title.startswith(task)
    return list(checked)


@pytest.fixture
def root(miniature: Path, tmp_path: Path) -> Path:
    """A data root with the files of VizWiz alone."""
    shutil.copytree(miniature / "vizwiz", tmp_path / "root/vizwiz")
    return tmp_path / "root"


def test_whole_split_has_no_problem_and_its_counts_differ_from_the_published(root: Path) -> None:
    checked = lines(root)
    assert [line.state for line in checked] == ["there", "there", "differs"]
    assert not any(line.problems for line in checked)
    questions = len(json.loads((root / ANNOTATIONS).read_text()))
    assert f"{questions:,} samples (published: 4,319)" in checked[-1].message


def test_missing_annotations_end_the_check_of_a_split(root: Path) -> None:
    (root / ANNOTATIONS).unlink()
    checked = lines(root)
    assert [(line.state, line.problems) for line in checked] == [("missing", 1), ("there", 0)]
    assert "from " in checked[0].message


def test_damaged_annotations_are_one_problem(root: Path) -> None:
    (root / ANNOTATIONS).write_text("{")
    assert [(line.state, line.problems) for line in lines(root)][-1] == ("wrong", 1)


def test_missing_and_unreadable_images_are_counted_by_name(root: Path) -> None:
    first, second, *_ = sorted((root / "vizwiz/val").iterdir())
    first.unlink()
    second.write_bytes(b"no image")
    plain, decoded = lines(root), lines(root, decode=True)
    assert [(line.state, line.problems) for line in plain[3:]] == [("missing", 1)]  # the content is not looked at
    assert [(line.state, line.problems) for line in decoded[3:]] == [("missing", 1), ("unreadable", 1)]
    assert first.name in decoded[3].message and second.name in decoded[4].message


def test_packed_images_are_compared_with_their_digest(root: Path) -> None:
    count = len(list((root / "vizwiz/val").iterdir()))
    [packed] = checking.pack_each("vizwiz", None, str(root))
    assert (packed.written, packed.already) == (count, 0)
    shutil.rmtree(root / "vizwiz/val")
    assert f"{count:,} images" in next(line for line in lines(root, decode=True) if line.state == "packed").message
    images.release(images.store_path(root, "vizwiz/val"))
    store = root / "vizwiz/val.lmdb/data.mdb"
    content = bytearray(store.read_bytes())
    content[len(content) // 2] ^= 1
    store.write_bytes(content)
    assert any(line.problems for line in lines(root, decode=True))
