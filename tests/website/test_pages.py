"""Pages of the site in Chromium: no violations of accessibility, no error, and every page fits a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser
CHECKED = ("index", "start", "compare", "scale", "search")  # lists, code, tables with empty headers; each takes seconds


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_have_no_accessibility_violations(site: Path, browser: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(color_scheme=scheme)
    tab = context.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    for name in CHECKED:
        tab.goto((site / f"{name}.html").as_uri())
        result = axe.run(tab, options={"preload": False})  # nothing may be fetched from a page on disk
        assert result.violations_count == 0, f"{name}: {result.generate_report()}"
    assert not problems
    context.close()


def test_pages_fit_a_phone(site: Path, browser: Any) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    tab = context.new_page()
    for page in site.glob("*.html"):
        tab.goto(page.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.name
    context.close()
