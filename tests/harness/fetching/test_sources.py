"""The table of sources: its form, and what members and paths a source has."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DataError
from harness.fetching import sources
from harness.fetching.sources import Source


@pytest.mark.parametrize(
    ("members", "member", "target"),
    [
        ({"refcoco/refs(unc).p": "refer/refs(unc).p"}, "refcoco/refs(unc).p", "refer/refs(unc).p"),
        ({"refcoco/refs(unc).p": "refer/refs(unc).p"}, "old/refcoco/refs(unc).p", ""),
        ({"**/val.json": "v/val.json"}, "val.json", "v/val.json"),
        ({"**/val.json": "v/val.json"}, "Annotations/val.json", "v/val.json"),
        ({"**/val.json": "v/val.json"}, "Annotations/train_val.json", ""),
        ({"**/*.jpg": "coco/val2014/"}, "val2014/COCO_1.jpg", "coco/val2014/COCO_1.jpg"),
        ({"**/*.jpg": "coco/val2014/"}, "__MACOSX/val2014/._COCO_1.jpg", ""),
        ({"**/*.jpg": "coco/val2014/"}, "val2014/._COCO_1.jpg", ""),
        ({"A/**": "odinw/A/"}, "A/large/test/x.jpg", "odinw/A/large/test/x.jpg"),
        ({"A/**": "odinw/A/"}, "A/", ""),
        ({"A/**": "odinw/A/"}, "AB/x.jpg", ""),
    ],
)
def test_target_of_a_member(members: dict[str, str], member: str, target: str) -> None:
    source = Source(name="a", kind="zip", urls=("https://a/b.zip",), licence="", tried=False, members=members)
    assert source.target(member) == target


def test_source_covers_files_folders_and_what_is_below_a_folder() -> None:
    members = {"A/**": "odinw/A/", "x.json": "coco/x.json"}
    source = Source(name="a", kind="zip", urls=("https://a/b.zip",), licence="", tried=False, members=members)
    assert all(source.covers(path) for path in ("odinw/A", "odinw/A/valid", "odinw/A/valid/y.json", "coco/x.json"))
    assert not any(source.covers(path) for path in ("odinw", "odinw/AB", "coco", "coco/x.jso"))


FILE = """
[[source]]
name = "{each} of x"
each = ["a", "b"]
kind = "file"
urls = ["https://x/{each}.json"]
path = "x/{each}.json"
licence = "CC0"
tried = true
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "table.toml"
    path.write_text(text)
    return path


def test_each_makes_one_source_for_every_name(tmp_path: Path) -> None:
    first, second = sources.read(write(tmp_path, FILE))
    assert (first.name, first.urls, first.path) == ("a of x", ("https://x/a.json",), "x/a.json")
    assert (second.name, second.urls, second.path) == ("b of x", ("https://x/b.json",), "x/b.json")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "file"', 'kind = "rar"', "Invalid enum value 'rar'"),
        ('kind = "file"', 'kind = "zip"', "has `members` and not both"),
        ('path = "x/{each}.json"', 'path = "../{each}.json"', "leads out of the root"),
        ('path = "x/{each}.json"', 'path = "/{each}.json"', "leads out of the root"),
        ('"https://x/{each}.json"', '"file:///etc/{each}"', "not an address of http"),
        ('"{each} of x"', '"x"', "two sources have this name"),
        ("tried = true", 'tried = true\nsha256 = "12"', "sha256"),
        ("tried = true", "tried = true\nsize = 3", "unknown field `size`"),
        ("tried = true", "", "missing required field `tried`"),
        ("tried = true", 'tried = true\nby_hand = "ask"', "`by_hand` with `place`"),
        ("tried = true", "tried = ", "cannot be read"),
    ],
)
def test_malformed_entry_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=r"table\.toml") as error:
        sources.read(write(tmp_path, FILE.replace(old, new)))
    assert message in str(error.value)


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.toml is not there"):
        sources.read(tmp_path / "none.toml")


def test_sizes_are_in_decimal_units() -> None:
    sizes = [sources.size(count) for count in (None, 12, 1500, 53_993_993, 13_510_573_713)]
    assert sizes == ["?", "12 B", "1.5 kB", "54.0 MB", "13.5 GB"]
