"""What goes wrong around the viewer and the report, in the Chromium of the system.

Hostile names, and pictures and data that are gone, are in test_viewer.py and test_page.py; ports and paths in the tests
of the server.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import store
from harness.evaluation.viewing import Live
from harness.viewer.server import Server
from tests.browser.test_page import report as report
from tests.browser.test_viewer import CHROMIUM, REQUIRED, opened
from tests.browser.test_viewer import browser as browser
from tests.harness.viewer.test_server import Served
from tests.harness.viewer.viewed import library, picture, shown_of

MANY = 100_000
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="Chromium is not installed"),
]


@contextmanager
def serving(runs: Any) -> Iterator[Server]:
    """A server of the viewer's pages, until the block ends."""
    with Server(runs, 0) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def results(tmp_path: Path) -> tuple[Path, Any, Any]:
    """A folder of results with one run: the folder, the run's folder and its record."""
    out = tmp_path / "results"
    harness.evaluate("refcoco", "whole-image", data="miniature", limit=3, out=out)
    [(folder, run)] = store.runs(out)
    return out, folder, run


def test_hundred_thousand_samples_are_listed_filtered_and_opened(browser: Any, tmp_path: Path) -> None:
    fixed = library([shown_of("alpha", picture(tmp_path / "data"), MANY)], MANY)
    runs = Served([(item, *fixed.shown(item.run.id)) for item in fixed.listed()], MANY)
    with serving(runs) as server, opened(browser) as tab:
        tab.set_default_timeout(120_000)  # a busy machine
        tab.goto(f"{server.url}#/samples/id-alpha")
        tab.locator(".card").first.wait_for()
        assert tab.locator(".count").text_content().startswith(f"{MANY:,} of {MANY:,} samples")
        tab.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        tab.locator(f"[aria-posinset='{MANY}']").first.wait_for()
        assert tab.locator(".card").count() < 80
        tab.get_by_label("Text").fill("thing 99998")
        tab.get_by_text(f"1 of {MANY:,} samples").wait_for()
        tab.locator(".card a").first.click()
        tab.get_by_role("heading", level=1, name="thing 99998").wait_for()


def test_record_that_is_edited_while_it_is_viewed_is_marked(browser: Any, results: tuple[Path, Any, Any]) -> None:
    out, folder, run = results
    with serving(Live(out)) as server, opened(browser) as tab:
        tab.set_default_timeout(90_000)
        tab.goto(f"{server.url}#/run/{run.id}")
        tab.locator("h1").wait_for()
        assert "was edited" not in tab.locator("main").text_content()
        lie = replace(run.metrics["Acc@0.5"], value=99.0, high=99.5)
        folder.write_run(replace(run, metrics={**run.metrics, "Acc@0.5": lie}))
        tab.get_by_text("The record was edited: its numbers are not those that were scored.").wait_for()
        assert "99.0" in tab.locator("main").text_content()


def test_run_that_is_removed_while_it_is_viewed_is_said(browser: Any, results: tuple[Path, Any, Any]) -> None:
    out, folder, run = results
    with serving(Live(out)) as server:
        context = browser.new_context()
        tab = context.new_page()
        tab.set_default_timeout(90_000)
        tab.goto(f"{server.url}#/run/{run.id}")
        tab.locator("h1").wait_for()
        folder.remove(out)
        tab.get_by_role("heading", level=1, name="This page cannot be shown").wait_for()
        harness.evaluate("textvqa", "whole-image", data="miniature", limit=2, out=out)
        tab.goto(f"{server.url}#/")
        tab.get_by_text("textvqa").first.wait_for()
        context.close()


def test_tables_of_the_report_read_without_javascript(browser: Any, report: Path) -> None:
    with opened(browser, java_script_enabled=False) as tab:
        tab.goto(report.as_uri())
        rows = tab.locator("table tbody tr").filter(has_text="refcoco")
        texts = rows.all_text_contents()
        assert all(any(name in text for text in texts) for name in ("alpha", "beta"))
        assert rows.first.is_visible() and "65" in rows.first.text_content()
        tab.goto((report.parent / "tables/index.html").as_uri())
        assert tab.locator("table tbody tr").first.is_visible()
