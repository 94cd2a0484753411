"""The built site, once for all tests of it, and a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from website import build

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REQUIRED = os.environ.get("BROWSER_TESTS") == "required"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    for name in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(name)
    return build.build(tmp_path_factory.mktemp("site")).parent


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """The Chromium of the system."""
    if CHROMIUM is None and not REQUIRED:
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
