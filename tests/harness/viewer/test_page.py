"""index.html: complete without JavaScript, and nothing in it is markup of data."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.errors import ResourceError
from harness.viewer import contents, page
from tests.harness.viewer.viewed import library, picture, renamed, shown_of

APP = Path(page.__file__).with_name("app")


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(root: Path, **changes: str) -> Tags:
    runs = library([renamed(shown_of("alpha", picture(root)), **changes), shown_of("be", root)])
    tags = Tags()
    tags.feed(page.index(contents.payload(runs, "overview", live=False)))
    return tags


def test_index_has_the_leaderboard_as_a_table(tmp_path: Path) -> None:
    tags = parsed(tmp_path)
    cells = [name for name, _ in tags.tags if name in ("table", "th", "td")]
    assert cells.count("table") == 1 and "alpha (zero_shot)" in tags.text
    assert "65.0 [60.0, 70.0]" in tags.text and "62.0 [57.0, 67.0]" in tags.text  # 60 plus the length of the name
    assert {"lang": "en"} in [attributes for name, attributes in tags.tags if name == "html"]


def test_index_runs_only_files_beside_it_under_a_strict_policy(tmp_path: Path) -> None:
    tags = parsed(tmp_path)
    scripts = [attributes for name, attributes in tags.tags if name == "script"]
    assert [script["src"] for script in scripts] == ["app/app.js", f"app/{page.D3}"]
    assert not [
        name for name, attributes in tags.tags if any(key.startswith("on") or key == "style" for key in attributes)
    ]
    [policy] = [meta["content"] for name, meta in tags.tags if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == page.POLICY and "unsafe" not in policy and "default-src 'none'" in policy


def test_hostile_names_are_text(tmp_path: Path) -> None:
    hostile = "</table><script>alert(1)</script><img src=x onerror=alert(2)>"
    tags = parsed(tmp_path, model=hostile, data=hostile, split=hostile)
    assert "alert(1)" in tags.text
    assert not [attributes for name, attributes in tags.tags if name == "img" or "onerror" in attributes]
    assert all(attributes.get("src") for name, attributes in tags.tags if name == "script")


def test_files_are_all_of_the_folder_and_d3() -> None:
    parts = {path.name for path in APP.iterdir()} - {"index.html"}
    assert parts == {*page.SCRIPTS, *page.STYLES, page.ICON}
    assert set(page.files()) == {"app.js", "app.css", page.ICON, page.D3}
    assert page.files()["app.js"].count(b'"use strict";') == len(page.SCRIPTS)
    assert b"d3js.org" in page.files()[page.D3][:200]


def test_scripts_make_no_markup_from_text() -> None:
    """No property or function that parses HTML, and none that runs text as a program."""
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.html\(|setTimeout\(['\"]"
    )
    for name in page.SCRIPTS:
        source = (APP / name).read_text(encoding="utf-8")
        assert not re.search(forbidden, source), name
        assert len(source.splitlines()) < 300, name
        assert "http://" not in source.replace("http://www.w3.org/2000/svg", "") and "https://" not in source, name


def test_missing_mpld3_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match="pip install mpld3"):
        page.files()
