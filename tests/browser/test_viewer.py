"""The viewer in the Chromium of the system: every page from disk, the live server, and hostile data.

The tests are skipped without Chromium, unless BROWSER_TESTS=required (as in `.ci/run`).
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import harness
from harness import comparison, store
from harness.core import Question, Sample
from harness.evaluation.viewing import Live
from harness.report.page import Shown
from harness.report.tables import Table
from harness.viewer import static
from harness.viewer.extras import Collected
from harness.viewer.given import Listed
from harness.viewer.server import Server
from tests.harness.report.test_engine import REPORT
from tests.harness.viewer.test_extras import study
from tests.harness.viewer.viewed import library, picture, renamed, shown_of
from tests.speeds import PEER, record

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REQUIRED = os.environ.get("BROWSER_TESTS") == "required"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="Chromium is not installed"),
]
PAGES = {
    "Results": "#/",
    "refcoco val": "#/task/coco/refcoco/val",
    "alpha": "#/run/id-alpha",
    "Samples": "#/samples/id-alpha",
    "thing 2": "#/sample/id-alpha/s2?with=id-beta",
    "Compare two models": "#/compare",
    "Speed": "#/speed",
    "Studies": "#/studies",
    "Paper tables": "#/tables",
    "Data engine": "#/engine",
    "Missing runs": "#/missing",
    "Tags and notes": "#/notes",
}
TABLE = Table("t", "A table", ["model", "value"], [["theirs", "1.0"], ["alpha (ours)", "2.0"]], our_rows=1)
EXTRAS = Collected([record(against={"transformers": PEER})], [study(20.6)], [TABLE], [REPORT])
HOSTILE = (
    "\x1b[2J\x07\u202e]]></script><script>alert(1)</script><img src=x onerror=alert(2)>\"' onload=alert(3) "
    "javascript:alert(4) ${alert(5)} =cmd() &amp; \u2028\x9b\ud800 %00 #/../ ?with="
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api") if not REQUIRED else __import__("playwright.sync_api").sync_api
    with sync.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the pages of two runs, on disk."""
    folder = tmp_path_factory.mktemp("viewer")
    root = picture(folder / "data")
    third = renamed(shown_of("gamma", root), split="testA")
    runs = library([shown_of("alpha", root), shown_of("beta", root), third])
    runs.extras = EXTRAS
    return static.write(runs, folder / "out").as_uri()


@contextmanager
def opened(browser: Any, **options: Any) -> Iterator[Any]:
    """A browser page in a context of its own; an error in the console, a dialog or a request to a network fails."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    tab = context.new_page()
    errors: list[str] = []
    tab.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("dialog", lambda dialog: (errors.append(f"alert: {dialog.message}"), dialog.dismiss()))
    allowed = ("file:", "data:", "blob:", "http://127.0.0.1:")
    tab.on("request", lambda request: None if request.url.startswith(allowed) else errors.append(request.url))
    tab.set_default_timeout(30_000)
    yield tab
    context.close()
    assert errors == []


def show(tab: Any, pages: str, address: str, heading: str) -> None:
    tab.goto("about:blank")
    tab.goto(pages + address)
    tab.locator(".page").get_by_role("heading", level=1, name=heading).wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_have_no_errors_and_no_accessibility_violations(browser: Any, pages: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # The checker adds a script and styles to the page, which the page's own policy forbids.
    with opened(browser, color_scheme=scheme, bypass_csp=True) as tab:
        for heading, address in PAGES.items():
            show(tab, pages, address, heading)
            result = axe.run(tab, options={"preload": False})  # nothing may be fetched from a page on disk
            assert result.violations_count == 0, f"{address}: {result.generate_report()}"
            assert tab.title().endswith("Florence-2 harness")


def test_pages_fit_a_phone_and_load_under_the_policy(browser: Any, pages: str) -> None:
    with opened(browser, viewport={"width": 390, "height": 844}) as tab:
        for heading, address in PAGES.items():
            show(tab, pages, address, heading)
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), address


def test_pages_print_whole_in_light_colours_without_controls(browser: Any, pages: str) -> None:
    """A4 in landscape has 297 mm, so 273 mm within margins of 12 mm, or 1031 pixels of 1/96 inch."""
    with opened(browser, viewport={"width": 1031, "height": 700}, color_scheme="dark") as tab:
        tab.emulate_media(media="print")
        for heading, address in PAGES.items():
            show(tab, pages, address, heading)
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
            assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
            assert tab.locator("button:visible, select:visible, input:visible").count() == 0, address
        show(tab, pages, "#/samples/id-alpha", "Samples")
        tab.locator(".card").first.wait_for()
        assert tab.locator(".card").evaluate_all("cards => new Set(cards.map(c => c.offsetTop)).size") > 1
        assert tab.locator(".card").first.evaluate("card => getComputedStyle(card).position") == "static"


def test_policy_refuses_markup_and_programs_from_text(browser: Any, pages: str) -> None:
    context = browser.new_context()
    tab = context.new_page()
    show(tab, pages, "#/", "Results")
    for attempt in (
        "document.body.innerHTML = '<b>x</b>'",
        "document.createElement('script').src = 'data/other.js'",
        "setTimeout('window.ran = 1')",
    ):
        said = tab.evaluate(f"(() => {{ try {{ {attempt}; }} catch (error) {{ return error.name; }} }})()")
        assert said == "TypeError", attempt  # Trusted Types
    style = "Object.assign(document.createElement('style'), { textContent: 'h1 { color: red }' })"
    tab.evaluate(f"document.body.append({style})")
    assert tab.evaluate("getComputedStyle(document.querySelector('h1')).color") != "rgb(255, 0, 0)"
    context.close()


def test_leaderboard_filters_and_keeps_them_in_the_address(browser: Any, pages: str) -> None:
    with opened(browser) as tab:
        show(tab, pages, "#/", "Results")
        rows = tab.locator("table.board tbody tr:not(.published)")
        assert rows.count() == 2 and tab.locator("table.board thead th").count() == 4
        assert "65.0" in rows.first.text_content()  # alpha: 60 plus the length of the name
        assert rows.locator("b").count() == 0  # 60 to 70 and 59 to 69 overlap
        tab.get_by_label("Split").select_option("testA")
        assert rows.count() == 1 and "gamma" in tab.locator("table.board thead").text_content()
        address = tab.url
        assert "split=testA" in address
        tab.goto("about:blank")
        tab.goto(address)
        tab.get_by_role("heading", level=1).wait_for()
        assert rows.count() == 1
        tab.get_by_label("Task", exact=True).first.fill("nothing")
        assert "No task fits" in tab.locator("main").text_content()


def test_pair_on_the_task_page_is_the_paired_difference(browser: Any, pages: str) -> None:
    runs = {name: shown_of(name, Path()) for name in ("alpha", "beta")}
    hits = {name: sum(row.score.values["hit"] for row in run.rows) / 12 for name, run in runs.items()}
    with opened(browser) as tab:
        show(tab, pages, "#/task/coco/refcoco/val", "refcoco val")
        tab.locator(".verdict").wait_for()
        difference = 100 * (hits["beta"] - hits["alpha"])  # alpha is A: its headline is higher
        sign = "+" if difference > 0 else "−" if difference < 0 else "±"
        assert tab.locator(".verdict").text_content().startswith(f"{sign}{abs(difference):.1f}")
        tab.get_by_label("B", exact=True).select_option("id-alpha")
        tab.get_by_text("Choose two runs.").wait_for()
        assert tab.locator("figure.chart svg[role=img]").count() >= 3


def saved(tab: Any, button: Any) -> list[list[str]]:
    """The rows of the CSV file that a button saves."""
    with tab.expect_download() as download:
        button.click()
    return list(csv.reader(Path(download.value.path()).read_text().splitlines()))


def test_compare_page_lists_differences_and_links_samples_that_change(browser: Any, tmp_path: Path) -> None:
    """Of 13 samples, six of `abc` and seven of `beta` are right."""
    root = picture(tmp_path / "data")
    runs = [shown_of(name, root, 13) for name in ("abc", "beta")]
    pages = static.write(library(runs), tmp_path / "out").as_uri()
    scores = {run.run.spec.model: [row.score.values["hit"] for row in run.rows] for run in runs}
    pairs = list(zip(scores["abc"], scores["beta"], strict=True))
    assert [sum(each) for each in scores.values()] == [6, 7]
    with opened(browser, accept_downloads=True) as tab:
        show(tab, pages, "#/compare?a=abc+zero_shot&b=beta+zero_shot", "Compare two models")
        cells = tab.locator("table[class=plain] tbody tr").first.locator("th, td")
        tab.get_by_text("Differences on coco").or_(cells.nth(8)).first.wait_for()
        until(tab, "!document.body.textContent.includes('comparing …')")
        assert cells.nth(4).text_content() == "+7.7"  # 1 of 13
        count = tab.locator(".count").text_content()
        worse, better = (sum(a > b for a, b in pairs), sum(a < b for a, b in pairs))
        assert count.startswith(
            f"B is worse in {worse}, better in {better}, equal in {13 - worse - better} of 13 samples"
        )
        assert worse and better
        rows = saved(tab, tab.get_by_role("button", name="All changes as CSV"))
        assert len(rows) == 1 + worse + better
        for row in rows[1:]:
            assert (float(row[2]), float(row[3])) == pairs[int(row[0].removeprefix("s"))]
        tab.get_by_label("Show").select_option("better")
        assert tab.get_by_role("region", name="Samples that change").locator("tbody tr").count() == better
        tab.get_by_role("region", name="Samples that change").locator("tbody a").first.click()
        tab.locator(".panel").nth(1).wait_for()  # both models beside each other
        tab.go_back()
        tab.get_by_role("link", name="Swap").click()
        until(tab, "location.hash.includes('a=beta')")
        until(tab, "document.querySelector('table.plain') && !document.body.textContent.includes('comparing …')")
        assert cells.nth(4).text_content() == "−7.7"


def test_choice_on_a_page_keeps_the_focus(browser: Any, pages: str) -> None:
    with opened(browser) as tab:
        show(tab, pages, "#/compare?a=alpha+zero_shot&b=beta+zero_shot", "Compare two models")
        tab.get_by_label("B", exact=True).focus()
        tab.keyboard.press("ArrowDown")
        until(tab, "location.hash.includes('b=gamma')")
        until(tab, "document.activeElement.matches('select') && document.activeElement.value === 'gamma zero_shot'")
        tab.get_by_role("link", name="Swap").click()
        until(tab, "location.hash.includes('a=gamma') && document.activeElement.id === 'page'")


def test_holm_on_the_page_is_that_of_compare(browser: Any, pages: str) -> None:
    with opened(browser) as tab:
        show(tab, pages, "#/", "Results")
        values = np.random.default_rng(0).random(9).tolist()
        found = tab.evaluate("values => H.holm(values)", [*values[:4], None, *values[4:]])
        assert found.pop(4) is None
        assert found == pytest.approx(comparison.holm(values))


def test_published_figures_have_rows_of_their_own(browser: Any, pages: str) -> None:
    with opened(browser, accept_downloads=True) as tab:
        show(tab, pages, "#/studies", "Studies")
        ours, theirs = tab.get_by_role("region", name="Differences of test").locator("tbody tr").all()
        assert "small models" in ours.text_content() and "+10.0" in ours.text_content()
        assert "the paper" in theirs.text_content() and "+2.0" in theirs.text_content()
        assert "agrees" in theirs.text_content() and "published" in theirs.get_attribute("class")
        rows = saved(tab, tab.get_by_role("button", name="Study as CSV"))
        sources = {row[6]: row[12] for row in rows if row[2] == "rich"}
        assert float(sources["small models"]) == 10 and float(sources["paper"]) == pytest.approx(2.0)
        show(tab, pages, "#/tables", "Paper tables")
        assert [row.get_attribute("class") for row in tab.locator("tbody tr").all()] == [None, "ours first"]
        rows = saved(tab, tab.get_by_role("button", name="CSV"))
        assert [row[-1] for row in rows] == ["source", "published", "this harness"]
        show(tab, pages, "#/speed", "Speed")
        assert "2.50 ×2.25 to 3.00" in tab.get_by_role("region", name="Comparisons on A, 2 cores").text_content()
        assert "A, 2 cores" in tab.locator("h2").first.text_content()


def test_pages_without_results_give_the_command(browser: Any, tmp_path: Path) -> None:
    pages = static.write(library([]), tmp_path / "out").as_uri()
    said = {
        "#/": "harness run", "#/compare": "harness run", "#/speed": "harness bench", "#/studies": "harness ablate",
        "#/engine": "--engine ENGINE",
    }  # fmt: skip
    with opened(browser, viewport={"width": 390, "height": 844}) as tab:
        for address, command in said.items():
            tab.goto("about:blank")
            tab.goto(pages + address)
            tab.locator(".page .command code").first.wait_for()
            assert command in tab.locator(".page .command").first.text_content()
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), address


def test_records_without_predictions_are_shown_without_errors(browser: Any, tmp_path: Path) -> None:
    records = [Shown(shown_of(name, tmp_path).run, None, (), Path()) for name in ("alpha", "beta")]
    listed = [(Listed(item.run, "record", ""), item, "the predictions are not here") for item in records]
    pages = static.write(static.Fixed(listed, 9), tmp_path / "out").as_uri()
    with opened(browser) as tab:
        show(tab, pages, "#/task/coco/refcoco/val", "refcoco val")
        tab.get_by_text("Not compared: the predictions of alpha and beta are not here.").wait_for()
        show(tab, pages, "#/compare", "Compare two models")
        tab.get_by_text("Not compared: the predictions of alpha are not here.").wait_for()
        for address, heading in (("#/run/id-beta", "beta"), ("#/samples/id-beta", "Samples")):
            show(tab, pages, address, heading)
            assert "the predictions are not here" in tab.locator("main").text_content()


def test_grid_filters_and_sample_pages_turn_by_key(browser: Any, pages: str) -> None:
    with opened(browser) as tab:
        show(tab, pages, "#/samples/id-alpha", "Samples")
        count = tab.locator(".count")
        assert count.text_content().startswith("12 of 12 samples, 3 unparsable")  # 0, 5 and 10
        tab.get_by_label("Error type").select_option("background")
        assert count.text_content().startswith("3 of 12")  # 1, 4, 7 and 10 are wrong; 10 is unparsable, so it is missed
        assert "IoU above 0.1" in tab.locator(".explain").text_content()
        assert tab.locator(".card").count() == 3
        assert tab.locator(".card svg polygon").count() == 6  # a target and a prediction each
        tab.locator(".card a").first.click()
        tab.get_by_role("heading", level=1, name="thing 1").wait_for()
        assert "1 of 3" in tab.locator(".turn").text_content()
        tab.keyboard.press("ArrowRight")
        tab.get_by_role("heading", level=1, name="thing 4").wait_for()
        address = tab.url
        tab.keyboard.press("Escape")
        tab.locator(".card").first.wait_for()
        assert tab.get_by_label("Error type").input_value() == "background"
        show(tab, "", address, "thing 4")  # its own address, opened anew: all samples in order of the data
        assert "5 of 12" in tab.locator(".turn").text_content()


def test_prompts_as_sent_are_on_the_pages_of_run_and_sample(browser: Any, pages: str) -> None:
    with opened(browser) as tab:
        show(tab, pages, "#/sample/id-alpha/s2", "thing 2")
        assert tab.locator(".raw .prompt").text_content() == "Prompt Where is thing 2?"
        show(tab, pages, "#/run/id-alpha", "alpha")
        assert tab.locator(".example .prompt").text_content() == "Where is thing 0?"


def test_tokens_are_shaded_by_their_log_probabilities(browser: Any, pages: str) -> None:
    """`car` has -0.5, and the four location tokens -1 to -2.5; the end has -3."""
    with opened(browser, accept_downloads=True) as tab:
        show(tab, pages, "#/sample/id-alpha/s2", "thing 2")
        shaded = tab.locator(".tokens .shaded")
        assert shaded.count() == 6
        assert "probability 0.607, log-probability -0.50" in shaded.first.get_attribute("title")
        assert "left, confidence 0.88; probability 0.368" in shaded.nth(1).get_attribute("title")
        doubt = [float(each.evaluate("e => e.style.getPropertyValue('--doubt')").rstrip("%")) for each in shaded.all()]
        assert doubt == [round(40 * (1 - math.exp(-0.5 * (place + 1)))) for place in range(6)]
        tab.locator("details summary").click()
        rows = saved(tab, tab.locator("details").get_by_role("button", name="CSV"))
        assert [float(row[1]) for row in rows[1:]] == [-0.5, -1, -1.5, -2, -2.5, -3]
        tab.get_by_label("Shade tokens").uncheck()
        assert tab.locator(".raw.unshaded").count() == 1
        with_colour = shaded.first.evaluate("e => getComputedStyle(e).backgroundColor")
        assert with_colour == "rgba(0, 0, 0, 0)"


def test_location_tokens_and_shapes_light_each_other(browser: Any, pages: str) -> None:
    with opened(browser) as tab:
        show(tab, pages, "#/sample/id-alpha/s2", "thing 2")
        tab.locator(".tokens .loc").nth(2).hover()
        line = tab.locator(".point line")
        edge = [float(line.get_attribute(name)) for name in ("x1", "y1", "x2", "y2")]
        assert edge == [60.08, 2.0, 60.08, 60.08]  # the third token of a box is its right edge
        assert "lit" in tab.locator(".shape.answer").get_attribute("class")
        assert tab.locator(".tokens .lit").count() == 5  # the label and four tokens
        tab.locator("h1").hover()
        assert tab.locator(".tokens .lit").count() == 0 and line.count() == 0
        box = tab.locator(".shape.answer").bounding_box()
        tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert tab.locator(".tokens .lit").count() == 5
        tab.locator(".tokens [tabindex]").first.focus()  # and by keyboard
        assert tab.locator(".tokens .at").count() == 1


def test_confidence_switches_and_zoom_change_what_is_shown(browser: Any, pages: str) -> None:
    with opened(browser) as tab:
        show(tab, pages, "#/sample/id-alpha/s2", "thing 2")
        said = tab.locator(".matched")
        assert "1 of 1 box shown" in said.text_content() and "1 correct, 0 wrong, 0 missed" in said.text_content()
        tab.get_by_label("Least confidence").fill("0.89")  # the box has 0.88
        assert "0 of 1 box shown" in said.text_content() and "0 correct, 0 wrong, 1 missed" in said.text_content()
        tab.get_by_label("Least confidence").fill("0.5")
        assert tab.locator(".shape.answer:not(.off)").count() == 1
        tab.keyboard.press("Tab")
        tab.locator("h1").click()
        tab.keyboard.press("p")
        tab.keyboard.press("t")
        assert tab.locator(".shape.off").count() == 2
        width = tab.locator(".world").bounding_box()["width"]
        tab.locator(".stage").focus()
        tab.keyboard.press("+")
        assert tab.locator(".world").bounding_box()["width"] == pytest.approx(1.5 * width, rel=0.01)
        tab.keyboard.press("0")
        assert tab.locator(".world").bounding_box()["width"] == pytest.approx(width, rel=0.01)


def test_notes_stay_in_the_browser_and_are_exported(browser: Any, pages: str) -> None:
    with opened(browser, accept_downloads=True) as tab:
        show(tab, pages, "#/sample/id-alpha/s3", "thing 3")
        tab.get_by_label("Tags, with commas").fill("odd, =1+1")
        tab.get_by_label("Note", exact=True).fill('look again, "twice"')
        tab.get_by_label("Note", exact=True).blur()
        show(tab, pages, "#/notes", "Tags and notes")
        with tab.expect_download() as download:
            tab.get_by_role("button", name="Save as JSON").click()
        [note] = json.loads(Path(download.value.path()).read_text())
        assert (note["sample"], note["tags"], note["note"]) == ("s3", ["odd", "=1+1"], 'look again, "twice"')
        with tab.expect_download() as download:
            tab.get_by_role("button", name="Save as CSV").click()
        line = Path(download.value.path()).read_text().splitlines()[1]
        assert line.startswith('coco,refcoco,val,s3,odd =1+1,"look again, ""twice""",id-alpha,')
        show(tab, pages, "#/samples/id-alpha", "Samples")
        tab.get_by_label("Tag", exact=True).select_option("odd")
        assert tab.locator(".count").text_content().startswith("1 of 12")


def test_disagreement_with_another_run_filters_and_sorts(browser: Any, pages: str) -> None:
    with opened(browser) as tab:
        show(tab, pages, "#/samples/id-alpha?versus=id-beta&disagree=worse&order=data", "Samples")
        scores = [[row.score.values["hit"] for row in shown_of(name, Path()).rows] for name in ("alpha", "beta")]
        worse = sum(a < b for a, b in zip(*scores, strict=True))
        tab.get_by_text(f"{worse} of 12 samples").wait_for()
        assert worse > 0 and "vs 100" in tab.locator(".card").first.text_content()


def test_first_page_reads_without_javascript(browser: Any, pages: str) -> None:
    with opened(browser, java_script_enabled=False) as tab:
        tab.goto(pages)
        cells = tab.locator("table tbody tr").first.locator("th, td").all_text_contents()
        assert cells == ["refcoco", "val", "Acc@0.5", "65.0 [60.0, 70.0]", "64.0 [59.0, 69.0]", ""]


def test_hostile_data_is_text_on_every_page(browser: Any, tmp_path: Path) -> None:
    """Names of models, data, splits and samples, questions, outputs, labels and provenance."""
    root = picture(tmp_path / "data")
    items: list[Shown] = []
    for name in ("alpha", "beta"):
        shown = renamed(shown_of(name, root, text=HOSTILE), model=f"{HOSTILE}{name}", data=HOSTILE, split=HOSTILE)
        rows = []
        for row in shown.rows:
            question = Question("x.png", row.sample.question.size, "refer", text=HOSTILE)
            sample = Sample(f"{HOSTILE}{row.sample.id}", question, row.sample.target, row.sample.cluster, (HOSTILE,))
            value = replace(row.answer.value, labels=(HOSTILE,)) if row.answer.value else None
            rows.append(replace(row, sample=sample, answer=replace(row.answer, raw=(HOSTILE,), value=value)))
        provenance = {"date": HOSTILE, "command": HOSTILE, "model": {"device": HOSTILE, "prompts": {HOSTILE: HOSTILE}}}
        metrics = {**shown.run.metrics, HOSTILE: shown.run.metrics["Acc@0.5"]}
        run = replace(shown.run, provenance=provenance | {"remarks": [HOSTILE]}, metrics=metrics)
        items.append(replace(shown, run=run, rows=tuple(rows)))
    runs = library(items)
    strange = replace(study(20.6), name=HOSTILE, question=HOSTILE, paper_summary=HOSTILE, claims=[(HOSTILE,) * 3])
    table = Table(HOSTILE, HOSTILE, [HOSTILE] * 2, [[HOSTILE] * 2], notes=[HOSTILE])
    nothing = {**PEER, "ratio": {"value": 0.0, "low": 0.0, "high": 0.0}}  # on a logarithmic axis
    measured = record(
        device=HOSTILE, model=HOSTILE, against={HOSTILE: PEER, "0": nothing, f"{HOSTILE}2": {"cannot run": HOSTILE}}
    )
    runs.extras = Collected([measured], [strange], [table], [replace(REPORT, name=HOSTILE)])
    pages = static.write(runs, tmp_path / "out").as_uri()
    with opened(browser) as tab:
        for address in ("#/compare", "#/speed", "#/studies", "#/tables", "#/engine"):
            tab.goto("about:blank")
            tab.goto(pages + address)
            tab.locator(".page h1").wait_for()
            tab.wait_for_timeout(300)
            assert "<script>alert(1)</script>" in tab.locator("main").text_content(), address
        tab.goto("about:blank")
        tab.goto(pages)
        for selector in ("table.board tbody th a", "a[href^='#/samples/']", ".card a", ".turn button:not([disabled])"):
            tab.locator(selector).first.click()
            tab.locator("h1").wait_for()
            tab.wait_for_timeout(200)
            assert "<script>alert(1)</script>" in tab.locator("main").text_content(), selector
        tab.get_by_label("Tags, with commas").fill(HOSTILE.replace(",", ""))
        tab.get_by_label("Tags, with commas").blur()
        for address in ("#/run/id-alpha", "#/missing", "#/notes", f"#/{HOSTILE}", "#/sample/id-alpha/%zz"):
            tab.evaluate("address => { location.hash = address; }", address)
            tab.wait_for_timeout(300)
            assert tab.locator("h1").count() == 1
        assert tab.locator("script:not([src])").count() == 0 and tab.locator("img[src='x']").count() == 0


def test_masks_are_decoded_as_pycocotools_decodes_them(browser: Any, pages: str) -> None:
    with opened(browser) as tab:
        show(tab, pages, "#/", "Results")
        random = np.random.default_rng(0)
        for height, width in ((1, 1), (5, 9), (40, 33)):
            inside = np.asfortranarray(random.random((height, width)) < 0.5, np.uint8)
            inside[: height // 2] = 1
            counts = coco_mask.encode(inside)["counts"].decode()
            alpha = tab.evaluate(
                """([points, counts]) => {
                    const canvas = H.mask({ points, counts }, H.TARGET_MASK);
                    const data = canvas.getContext('2d').getImageData(0, 0, ...points).data;
                    return Array.from(data).filter((_, place) => place % 4 === 3);
                }""",
                [[width, height], counts],
            )
            assert np.array_equal(np.array(alpha).reshape(height, width) > 0, inside.astype(bool))
        assert tab.evaluate("H.mask({ points: [1e9, 1e9], counts: '0' }, 1)") is None
        assert tab.evaluate("H.runs('ooooooooooooooooooooo')") == []


def test_boxes_are_matched_one_to_one(browser: Any, pages: str) -> None:
    """Two targets; the confident box takes the first, its copy is extra, and the second target is missed."""
    box = {"kind": "box", "points": [0, 0, 10, 10], "label": "cat"}
    other = {"kind": "box", "points": [50, 50, 60, 60], "label": "dog"}
    with opened(browser) as tab:
        show(tab, pages, "#/", "Results")
        answer = [{**box, "score": 0.9}, {**box, "score": 0.5, "label": "CAT"}]
        found = tab.evaluate("([target, answer]) => H.matched(target, answer, true)", [[box, other], answer])
        assert found == {"right": 1, "extra": 1, "missed": 1}
        renamed_box = [{**box, "label": "a small cat"}]
        for named, right in (("true", 0), ("false", 1)):  # free text need not agree
            matched = tab.evaluate(f"([t, a]) => H.matched(t, a, {named})", [[box], renamed_box])
            assert matched["right"] == right
        crowd = {**other, "crowd": True}
        assert tab.evaluate("([t, a]) => H.matched(t, a, true)", [[crowd], [other]]) == {
            "right": 0,
            "extra": 0,
            "missed": 0,
        }
        assert tab.evaluate("H.iou([0, 0, 10, 10], [5, 0, 15, 10])") == pytest.approx(50 / 150)


def test_grid_of_many_samples_has_few_cards(browser: Any, tmp_path: Path) -> None:
    pages = static.write(library([shown_of("alpha", picture(tmp_path / "data"), 6000)], 0), tmp_path / "out").as_uri()
    with opened(browser) as tab:
        show(tab, pages, "#/samples/id-alpha", "Samples")
        tab.locator(".card").first.wait_for()
        assert tab.locator(".count").text_content().startswith("6,000 of 6,000")
        tab.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        tab.get_by_text("thing 5999", exact=True).or_(tab.locator("[aria-posinset='6000']")).first.wait_for()
        assert tab.locator(".card").count() < 80
        tab.get_by_label("Text").fill("thing 5998")
        tab.get_by_text("1 of 6,000 samples").wait_for()
        assert tab.locator(".card").count() == 1 and "no picture" in tab.locator(".card").text_content()


def test_missing_data_and_pictures_are_said(browser: Any, tmp_path: Path) -> None:
    index = static.write(library([shown_of("alpha", picture(tmp_path / "data"))]), tmp_path / "out")
    for image in (tmp_path / "out").glob("*s/*.jpg"):
        image.write_bytes(b"not a picture")
    (tmp_path / "out/data/charts/id-alpha.js").unlink()
    context = browser.new_context()
    tab = context.new_page()
    show(tab, index.as_uri(), "#/sample/id-alpha/s2", "thing 2")
    tab.get_by_text("The picture is gone or cannot be decoded.").wait_for()
    show(tab, index.as_uri(), "#/samples/id-alpha", "Samples")
    tab.get_by_text("picture is gone").first.wait_for()
    show(tab, index.as_uri(), "#/task/coco/refcoco/val", "This page cannot be shown")
    assert "there is no data/charts/id-alpha.js" in tab.locator("main").text_content()
    context.close()


def until(tab: Any, condition: str) -> None:
    """Waits until a condition holds; `wait_for_function` evaluates it by means that the pages' policy forbids."""
    end = time.monotonic() + 90
    while not tab.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.1)


def test_measurement_that_appears_is_shown_by_itself(browser: Any, tmp_path: Path) -> None:
    with Server(Live(tmp_path), 0) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
        thread.start()
        with opened(browser) as tab:
            tab.set_default_timeout(90_000)  # a busy machine
            tab.goto(f"{server.url}#/speed")
            tab.get_by_text("There are no measurements").wait_for()
            store.keep_speed(tmp_path, "A", "one", record(against={"transformers": PEER}))
            tab.get_by_role("region", name="Comparisons on A, 2 cores").wait_for()
            until(tab, "document.querySelectorAll('figure.chart .dot').length === 1")
        server.shutdown()


def test_run_in_progress_updates_by_itself(browser: Any, tmp_path: Path) -> None:
    out = tmp_path / "results"
    harness.evaluate("refcoco", "whole-image", data="miniature", limit=5, out=out)
    [(folder, run)] = store.runs(out)
    record, lines = (folder.path / name for name in ("run.json", "answers.jsonl"))
    finished, answers = record.read_bytes(), lines.read_text().splitlines(keepends=True)
    folder.write_run(replace(run, status="running", metrics={}, counts={}))
    lines.write_text("".join(answers[:7]))
    lock = folder.locked()
    lock.__enter__()
    with Server(Live(out), 0) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
        thread.start()
        with opened(browser) as tab:
            tab.set_default_timeout(90_000)  # a busy machine
            tab.goto(server.url)
            tab.get_by_text(f"7 of {len(answers)} answered").wait_for()
            tab.get_by_label("Task", exact=True).first.fill("ref")
            lines.write_text("".join(answers[:20]))
            tab.get_by_text(f"20 of {len(answers)} answered").wait_for()
            assert tab.get_by_label("Task", exact=True).first.input_value() == "ref"
            tab.keyboard.type("coco")  # the update has not taken the focus
            assert tab.get_by_label("Task", exact=True).first.input_value() == "refcoco"
            tab.get_by_text("Acc@0.5 so far").wait_for()
            lines.write_text("".join(answers))
            record.write_bytes(finished)
            lock.__exit__(None, None, None)
            tab.locator("section.progress").wait_for(state="detached")
            tab.goto(f"{server.url}#/samples/{run.id}")
            tab.get_by_text(f"{len(answers)} of {len(answers)} samples").wait_for()
            until(tab, "document.querySelector('.thumb img')?.naturalWidth > 0")
        server.shutdown()
        thread.join()
