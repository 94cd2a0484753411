"""dataset.toml: read again as it was written, and a stranger's with every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.own import dataset as files
from harness.data.own.dataset import Dataset, Origin
from harness.errors import DataError

TEXT = """name = "mine"
format = "csv"
images = "photos"
[tasks]
detect = ["val", "train"]
[source]
path = "t.csv"
sha256 = "0"
"""


def _folder(tmp_path: Path, text: str = TEXT, link: str | None = "../photos") -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "shop.files").mkdir()
    if link is not None:
        (tmp_path / "shop.files/images").symlink_to(link)
    (tmp_path / "shop.toml").write_text(text)
    return tmp_path / "shop.toml"


@pytest.mark.parametrize("name", ["photos", 'with "quotes" and \\', "größe 😀", "a\tb\x7f"])
def test_written_file_is_read_again(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "shop.files").mkdir()
    (tmp_path / "shop.files/images").symlink_to(f"../{name}")
    made = Dataset("mine", "csv", name, {"caption": ["val"]}, Origin(f"{name}/t.csv", "00"))
    (tmp_path / "shop.toml").write_text(files.encoded(made), encoding="utf-8")
    assert files.read(tmp_path / "shop.toml") == made


@pytest.mark.parametrize(("before", "after", "message"), [
    ('name = "mine"', "name = 3", r"Expected `str`, got `int` - at `\$.name`"),
    ('name = "mine"', 'nam = "mine"', "unknown field `nam`|missing required field `name`"),
    ('name = "mine"', 'name = "a/b"', "shop.toml: name = 'a/b': a name has up to 50 letters"),
    ('name = "mine"', 'name = "miniature"', "all and miniature have another meaning"),
    ('"csv"', '"pickle"', "format = 'pickle'; there are coco, csv, jsonl, labelme, voc, yolo"),
    ("detect =", "paint =", r"\[tasks\] has 'paint'; there are detect, find, caption"),
    ('["val", "train"]', '["../../val"]', r"detect has the split '../../val'; a split is a name"),
    ('["val", "train"]', '["train"]', "detect has a split twice, or none to evaluate"),
    ('["val", "train"]', '["val", "val"]', "detect has a split twice"),
    ('["val", "train"]', '"val"', r"Expected `array`, got `str` - at `\$.tasks"),
    ('detect = ["val", "train"]', "", r"\[tasks\] is empty"),
    ('"photos"', '"../photos"', "images = '../photos' leaves the folder of the file; name it absolutely"),
    ('"photos"', '"photos/../../x"', "leaves the folder of the file"),
    ('"photos"', '"/etc"', "is not a link to the images in /etc; run `python -m harness data new` again"),
    ("[source]", "[source", "shop.toml is no dataset.toml"),
    ('sha256 = "0"', "", r"missing required field `sha256` - at `\$.source`"),
])  # fmt: skip
def test_stranger_s_file_is_refused_with_its_key(before: str, after: str, message: str, tmp_path: Path) -> None:
    assert before in TEXT
    path = _folder(tmp_path, TEXT.replace(before, after))
    with pytest.raises(DataError, match=message) as refused:
        files.read(path)
    assert "\n" not in str(refused.value)


def test_absolute_images_need_the_link_that_leads_there(tmp_path: Path) -> None:
    """A file from elsewhere cannot point the harness at a folder: the link is made by `data new` alone."""
    text = TEXT.replace('"photos"', f'"{tmp_path}/photos"')
    path = _folder(tmp_path, text, link=None)
    with pytest.raises(DataError, match="is not a link to the images"):
        files.read(path)
    (tmp_path / "shop.files/images").symlink_to(tmp_path / "photos")
    assert files.read(path).name == "mine"


def test_missing_and_huge_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.toml cannot be read: No such file or directory; `data new` writes it"):
        files.read(tmp_path / "none.toml")
    (tmp_path / "huge.toml").write_text("#" * (files.MOST_BYTES + 1))
    with pytest.raises(DataError, match=r"a dataset.toml is small"):
        files.read(tmp_path / "huge.toml")


def test_file_is_read_by_a_path_with_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _folder(tmp_path)
    monkeypatch.chdir(tmp_path / "photos")
    assert files.read(Path("..") / path.name) == files.read(path)


def test_change_of_the_source_is_said(tmp_path: Path) -> None:
    path = _folder(tmp_path)
    (tmp_path / "t.csv").write_text("one")
    read = files.read(path)
    read.source.sha256 = files.digest("csv", tmp_path / "t.csv", tmp_path / "photos")
    assert files.changed(read, path) == ""
    (tmp_path / "t.csv").write_text("two")
    assert files.changed(read, path).endswith(
        "has changed; the data set is as `data new --format csv` made it: run that again"
    )
    (tmp_path / "t.csv").unlink()
    assert files.changed(read, path).endswith("is not there any more")


def test_source_without_an_end_is_not_read(tmp_path: Path) -> None:
    path = _folder(tmp_path, TEXT.replace('"t.csv"', '"/dev/zero"'))
    assert files.changed(files.read(path), path).endswith("cannot be compared: /dev/zero is not a file")


def test_digest_of_a_folder_covers_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("one")
    first = files.digest("labelme", tmp_path, tmp_path)
    (tmp_path / "photo.jpg").write_text("no annotation")
    assert files.digest("labelme", tmp_path, tmp_path) == first
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    assert files.digest("labelme", tmp_path, tmp_path) != first


def test_paths_are_stated_relatively_below_the_file_only(tmp_path: Path) -> None:
    path = tmp_path / "mine/shop.toml"
    assert files.stated(tmp_path / "mine/photos", path) == "photos"
    assert files.stated(tmp_path / "mine", path) == "."
    assert files.stated(tmp_path / "photos", path) == str(tmp_path / "photos")
    assert files.resolved("photos/./a", path, "images") == tmp_path / "mine/photos/a"
