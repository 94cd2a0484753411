"""The screenshots of the viewer in README and docs/viewer.md.

    python docs/figures/screenshots.py [--results DIR]

Two checkpoints, a floor and a ceiling on six tasks of the embedded benchmark, evaluated in DIR; runs that are there are
kept.  Needs Chromium, and some minutes for the first time.  The files have 256 colours.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from PIL import Image

import harness
from harness.core import Run
from harness.evaluation.viewing import Live
from harness.viewer.server import Server

FOLDER = Path(__file__).parent
MODELS = ("florence2-nano", "florence2-nano-ft", "whole-image", "oracle-quantised")
TASKS = ("coco_caption", "coco_detection", "flickr30k", "refcoco", "refcoco_res", "textvqa")
SHOWN = "florence2-nano-ft"  # the model of the page of a sample
SAMPLE = "200039"  # five objects, of which two are missed
WHOLE = {"viewer-overview": "figure svg circle", "viewer-sample": ".tokens .loc", "viewer-compare": "figure svg circle"}
SIZE = {"width": 1200, "height": 760}


def runs(results: Path) -> list[Run]:
    """The runs of all models and tasks."""
    return [
        harness.evaluate(task, model, data="miniature", out=results, **_options(model))
        for task in TASKS
        for model in MODELS
    ]


def _options(model: str) -> dict[str, Any]:
    return {"logprobs": True} if model.startswith("florence2") else {}


def addresses(made: Sequence[Run]) -> dict[str, str]:
    """The page of each screenshot, by the name of its file."""
    run = next(run for run in made if (run.spec.task, run.spec.model) == ("coco_detection", SHOWN))
    compared = {"a": "florence2-nano zero_shot", "b": "florence2-nano-ft fine_tuned", "task": "miniature refcoco val"}
    return {
        "viewer-overview": "#/",
        "viewer-sample": f"#/sample/{run.id}/{quote(SAMPLE, safe='')}",
        "viewer-compare": f"#/compare?{urlencode(compared)}",
    }


def take(url: str, pages: dict[str, str], folder: Path) -> None:
    """Writes a PNG file of each page into a folder."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        tab = browser.new_page(viewport=SIZE, color_scheme="light")
        for name, address in pages.items():
            tab.goto("about:blank")
            tab.goto(url + address, wait_until="domcontentloaded")
            tab.locator(WHOLE[name]).first.wait_for(timeout=600_000)
            tab.get_by_text("comparing …").first.wait_for(state="detached", timeout=600_000)
            tab.wait_for_timeout(2000)
            if name == "viewer-sample":
                tab.locator(".tokens .loc").nth(2).hover()
            with Image.open(io.BytesIO(tab.screenshot())) as image:
                colours = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
            colours.save(folder / f"{name}.png", optimize=True)
        browser.close()


def main() -> None:
    """Makes the runs, the pages and the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = asked.results or Path(scratch)
        made = runs(results)
        with Server(Live(results), 0) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            take(server.url, addresses(made), FOLDER)
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    main()
