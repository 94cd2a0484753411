"""The page of an audit in the Chromium of the system: keys, downloaded verdicts, hostile texts, no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.data_engine import audit, audit_page, audit_verdicts
from harness.data_engine.audit import AuditSample
from tests.browser.test_page import CHROMIUM, REQUIRED
from tests.harness.data_engine import samples

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="Chromium is not installed"),
]
HOSTILE = "</script><img src=x onerror=alert(1)><b>bold</b>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api") if not REQUIRED else __import__("playwright.sync_api").sync_api
    with sync.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def sample(miniature: Path) -> AuditSample:
    """33 items on three images; the text of the first with a text is hostile."""
    drawn = audit.draw(lambda: samples.records(miniature, 3), samples.ORIGINS, sample=33, least=2)
    place = next(place for place, item in enumerate(drawn.items) if item.stratum.kind == "text")
    items = list(drawn.items)
    items[place] = replace(items[place], value={"kind": "text", "texts": [HOSTILE]})
    return AuditSample(0, (items[place], *items[:place], *items[place + 1 :]))


@pytest.fixture
def tab(browser: Any, sample: AuditSample, miniature: Path, tmp_path: Path) -> Iterator[Any]:
    """The page; a console error, a dialog or a request to anywhere fails the test."""
    audit_page.write_page(tmp_path / "page.html", sample, miniature)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("dialog", lambda dialog: (errors.append(f"alert: {dialog.message}"), dialog.dismiss()))
    opened.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    opened.goto((tmp_path / "page.html").as_uri())
    yield opened
    context.close()
    assert errors == []


def downloaded(tab: Any, folder: Path) -> Path:
    with tab.expect_download() as started:
        tab.get_by_role("button", name="Download verdicts").click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def test_keys_judge_and_the_download_is_read(tab: Any, sample: AuditSample, tmp_path: Path) -> None:
    tab.get_by_label("Your name").fill("Ann 1")  # the 1 is no verdict
    assert tab.locator("#count").text_content() == "0 of 33 judged"
    tab.locator("#question").click()
    for key in ("1", "2", "3", "2", "ArrowLeft", "1"):  # the fourth is corrected
        tab.keyboard.press(key)
    tab.get_by_role("button", name="2 wrong").click()
    tab.keyboard.press("ArrowRight")  # the sixth is left out
    tab.keyboard.press("3")
    path = downloaded(tab, tmp_path)
    assert path.name == "verdicts-Ann-1.jsonl"
    [(by, verdicts)] = audit_verdicts.read_verdicts(path, sample).items()
    assert by == "Ann 1"
    given = ["right", "wrong", "cannot tell", "right", "wrong", None, "cannot tell"]
    assert [verdicts.get(item.annotation) for item in sample.items] == given + [None] * 26
    assert tab.locator("#count").text_content() == "6 of 33 judged"


def test_verdicts_survive_a_reload_and_the_end_is_said(tab: Any, sample: AuditSample, tmp_path: Path) -> None:
    for _ in range(30):
        tab.keyboard.press("1")
    tab.reload()
    assert tab.locator("#count").text_content() == "30 of 33 judged"
    assert tab.locator("#question").text_content().startswith("31. ")
    for _ in range(5):
        tab.keyboard.press("2")
    assert tab.locator("#count").text_content() == "33 of 33 judged: download the verdicts"
    [verdicts] = audit_verdicts.read_verdicts(downloaded(tab, tmp_path), sample).values()
    assert list(verdicts.values()) == ["right"] * 30 + ["wrong"] * 3


def test_hostile_text_is_shown_as_text(tab: Any) -> None:
    assert tab.locator("#text").text_content() == HOSTILE
    assert tab.locator("#text b, #text img, body > img").count() == 0


def test_span_of_a_phrase_is_marked_and_boxes_are_drawn(tab: Any, sample: AuditSample) -> None:
    place = next(place for place, item in enumerate(sample.items) if item.stratum.kind == "phrase")
    for _ in range(place):
        tab.keyboard.press("ArrowRight")
    assert tab.locator("mark").text_content() == samples.PHRASE
    assert tab.locator("#text").text_content() == samples.TEXT
    assert tab.locator("#whole polygon").count() == 2 * 2  # two boxes, each with a light line below it
    assert tab.locator("#whole polygon").nth(1).get_attribute("points") == "0,0 40,0 40,40 0,40"
    width, height = sample.items[place].size
    assert tab.locator("#whole svg").get_attribute("viewBox") == f"0 0 {width} {height}"


def test_page_in_both_colour_schemes_has_no_violations(
    browser: Any, sample: AuditSample, miniature: Path, tmp_path: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    audit_page.write_page(tmp_path / "page.html", sample, miniature)
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 740}, bypass_csp=True)
        opened = context.new_page()
        opened.goto((tmp_path / "page.html").as_uri())
        assert opened.evaluate("document.documentElement.scrollWidth") <= 360
        found = axe.run(opened)
        assert found.violations_count == 0, found.generate_report()
        context.close()
