"""Several versions of the site as one, in the Chromium of the system."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

import harness
from tests.origin import Quiet
from website import build, versions

OLD, NEWEST = "0.1.0", harness.__version__


def a_site(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "index.html").write_text(name)


def test_versions_are_listed_by_number_newest_first(tmp_path: Path) -> None:
    for name in ("0.9.0", "0.10.0", "1.0.0", "report", "0.10.0rc1"):
        a_site(tmp_path, name)
    (tmp_path / "2.0.0").mkdir()  # without a page
    assert versions.join(tmp_path) == ["1.0.0", "0.10.0", "0.9.0"]
    assert json.loads((tmp_path / "versions.json").read_text()) == {
        "newest": "1.0.0", "versions": ["1.0.0", "0.10.0", "0.9.0"],
    }  # fmt: skip
    first = (tmp_path / "index.html").read_text()
    assert "url=1.0.0/index.html" in first and first.index("0.10.0/") < first.index("0.9.0/")


def test_folder_without_a_version_is_an_error(tmp_path: Path) -> None:
    a_site(tmp_path, "report")
    with pytest.raises(ValueError, match=r"has no site in a folder such as 0\.17\.0"):
        versions.join(tmp_path)


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@pytest.fixture(scope="module")
def published(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built site as the newest version, and a copy of it as an old one that lacks a page."""
    folder = tmp_path_factory.mktemp("published")
    for version in (NEWEST, OLD):
        shutil.copytree(site, folder / "pages" / version)
    for page in (folder / "pages" / OLD).rglob("*"):
        if page.name == "documentation_options.js":
            page.write_text(page.read_text().replace(NEWEST, OLD))
    (folder / "pages" / OLD / "peers.html").unlink()
    versions.join(folder / "pages")
    server = Quiet(("127.0.0.1", 0), partial(Handler, directory=str(folder / "pages")))
    thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.browser
def test_page_leads_to_the_same_page_of_another_version_or_to_its_first(published: str, browser: Any) -> None:
    page = browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(published)
    page.wait_for_url(f"**/{NEWEST}/index.html")
    page.goto(f"{published}/{NEWEST}/metrics.html")
    page.wait_for_selector("nav.versions select")
    assert page.locator("nav.versions option").all_inner_texts() == [f"{NEWEST} (newest)", OLD]
    assert page.locator(".older").count() == 0
    page.select_option("nav.versions select", OLD)
    page.wait_for_url(f"**/{OLD}/metrics.html")
    assert page.locator(".older").inner_text() == f"This page is of version {OLD}; the newest is version {NEWEST}."
    page.goto(f"{published}/{NEWEST}/peers.html")
    page.select_option("nav.versions select", OLD)
    page.wait_for_url(f"**/{OLD}/index.html")
    page.click(".older a")
    page.wait_for_url(f"**/{NEWEST}/index.html")
    assert not problems
    page.close()


@pytest.mark.browser
def test_version_is_text_without_javascript_and_from_disk(published: str, browser: Any, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{published}/{NEWEST}/index.html")
    assert page.locator("nav.versions").inner_text() == f"version {NEWEST}"
    context.close()
    shutil.copytree(build.ROOT / "website/static", tmp_path / "static")
    (tmp_path / "a.html").write_text(
        f'<nav class="versions">version {NEWEST}</nav><script>var DOCUMENTATION_OPTIONS = {{VERSION: "{NEWEST}"}};'
        '</script><script src="static/versions.js"></script>'
    )
    page = browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.goto((tmp_path / "a.html").as_uri())
    assert page.locator("nav.versions").inner_text() == f"version {NEWEST}" and not problems
    page.close()
