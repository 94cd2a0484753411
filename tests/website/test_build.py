"""The site is built without a warning, and a link that leads nowhere is one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from harness.cli import application
from website import build

GENERATED = ("commands", "api", "tables")
pytest.importorskip("sphinx")
pytest.importorskip("furo")
pytest.importorskip("myst_parser")


def test_site_has_a_page_for_every_page_of_the_documentation(site: Path) -> None:
    pages = {path.stem for path in build.DOCS.glob("*.md")} - {"README"} | {
        *GENERATED,
        "contributing",
        "security",
        "index",
    }
    assert pages <= {path.stem for path in site.glob("*.html")}
    first = (site / "index.html").read_text()
    assert all(f'href="{page}.html"' in first for page in pages - {"index"})


def test_first_page_has_the_lists_of_the_index_with_their_titles(site: Path) -> None:
    first = (site / "index.html").read_text()
    titles = re.findall(r"^## (.+)$", (build.DOCS / "README.md").read_text(), re.M)
    places = [first.index(f'<span class="caption-text">{title}</span>') for title in titles]
    assert len(titles) >= 4 and places == sorted(places)
    assert first.index('href="security.html"') > 0


def test_pages_of_the_root_are_linked_within_the_site(site: Path) -> None:
    assert 'href="contributing.html"' in (site / "design.html").read_text()
    assert 'href="tasks.html"' in (site / "contributing.html").read_text()


def test_search_finds_words_of_every_page(site: Path) -> None:
    index = json.loads(re.fullmatch(r"Search\.setIndex\((.*)\)", (site / "searchindex.js").read_text(), re.S)[1])  # type: ignore[index]
    assert {"troubleshooting", "commands", "tables"} <= set(index["docnames"])
    assert any(word.startswith("bootstrap") for word in index["terms"])


def test_pages_load_nothing_from_other_machines(site: Path) -> None:
    for page in site.glob("*.html"):
        loaded = re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text())
        assert not loaded, (page.name, loaded)


def test_link_that_leads_nowhere_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path / "repository/docs"
    shutil.copytree(build.DOCS, docs)
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "baselines", "benchmarks", "reports", "website"):
        (docs.parent / name).symlink_to(build.ROOT / name)
    monkeypatch.setattr(build, "GENERATED", {})
    monkeypatch.setattr(build, "DOCS", docs)
    monkeypatch.setattr(build, "ROOT", docs.parent)
    page = docs / "python.md"
    whole = page.read_text()
    page.write_text(f"{whole}\n[text](tasks.md#no-such-heading)\n")
    with pytest.raises(build.BuildError, match="no-such-heading"):
        build.build(tmp_path / "out")
    page.write_text(f"{whole}\n[text](../no/such/file.md)\n")
    with pytest.raises(build.BuildError, match=r"docs/python\.md: \.\./no/such/file\.md leads nowhere"):
        build.build(tmp_path / "out")


def test_every_command_is_in_the_reference() -> None:
    names = {name for name in application() if not name.startswith("-")}
    headings = set(re.findall(r"^## ([a-z]+)", build.GENERATED["commands.md"][1](), re.M))
    assert names - {"data"} <= headings
