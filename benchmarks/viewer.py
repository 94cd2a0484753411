"""The viewer in Chromium with many runs: first view, scrolling, turning, filters, weight.

    python benchmarks/viewer.py [--runs 100] [--samples 5000] [--disk]

Runs of RefCOCO with made-up boxes over drawn pictures, five models to a split, are served by the viewer's own server;
with --disk, the pages are written as files first and opened from disk.  Chromium is that of the system.

first view      from the start of navigation until the leaderboard is painted, in milliseconds
samples         from a click until the grid shows its first card
filter          from the last key of a text until the grid has changed
turn            from a key until the next sample is shown
long tasks      tasks of the page's thread above 50 ms while the grid scrolls from top to bottom in 60 steps
busiest task    the most processor time of the page's thread in one of these tasks, from Chromium's trace

Processor time is not lengthened by other processes; all other times are meaningful on an idle machine only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from PIL import Image

from harness.core import Answer, Boxes, Estimate, ImageRef, Question, Row, Run, RunSpec, Sample, Score, Size
from harness.florence2.locations import write_boxes
from harness.report.page import Shown
from harness.viewer import pictures, static
from harness.viewer.extras import NOTHING, Extras
from harness.viewer.given import Listed
from harness.viewer.server import Server
from tasks import TASKS

PICTURES, MODELS, ROUNDS, STEPS = 50, 5, 5, 60
SIZE = Size(320, 240)
SHOWN = """new MutationObserver((_, watch) => {
    if (!document.querySelector('table.board td')) return;
    watch.disconnect();
    requestAnimationFrame(() => setTimeout(() => { window.shown = performance.now(); }));
}).observe(document, { childList: true, subtree: true });"""
SCROLL = """async steps => {
    const long = [];
    const watch = new PerformanceObserver(list => long.push(...list.getEntries().map(each => each.duration)));
    watch.observe({ type: 'longtask' });
    const end = document.documentElement.scrollHeight - innerHeight;
    for (let step = 1; step <= steps; step += 1) {
        scrollTo(0, (end * step) / steps);
        await new Promise(done => requestAnimationFrame(() => setTimeout(done, 30)));
    }
    watch.disconnect();
    return long;
}"""


def rows(count: int, root: Path) -> tuple[Row[Any], ...]:
    """Samples with a target and one or two predicted boxes each; the pictures are drawn into `root`."""
    random = np.random.default_rng(0)
    for number in range(PICTURES):
        noise = random.integers(0, 255, (12, 16, 3), np.uint8)
        Image.fromarray(noise).resize(SIZE).save(root / f"{number}.jpg")
    made = []
    for number in range(count):
        left, top = random.uniform(0, 160), random.uniform(0, 120)
        box = (left, top, left + random.uniform(20, 150), top + random.uniform(20, 110))
        shift = random.uniform(-20, 20)  # to the side
        found = (box[0] + shift, box[1], box[2] + shift, box[3])
        value = Boxes((found,), ("thing",), (float(random.random()),), (1.0,))
        question = Question(f"{number % PICTURES}.jpg", SIZE, "refer", text=f"the thing of number {number}")
        width, both = box[2] - box[0], max(0.0, box[2] - box[0] - abs(shift))
        overlap = both / (2 * width - both)
        sample = Sample(f"{number:06d}", question, Boxes((box,), ("",)), f"i{number // 3}")
        answer = Answer((write_boxes(value, SIZE),), value, tokens=6, seconds=0.1)
        made.append(Row(sample, answer, Score({"iou": overlap})))
    return tuple(made)


class Generated:
    """Many runs that share their samples, as a library of the viewer."""

    def __init__(self, runs: int, samples: int, root: Path) -> None:
        """Draws the pictures into `root`."""
        self.extras: Extras = NOTHING
        shared = rows(samples, root)
        parts = None
        self.pictures: dict[str, tuple[Path, ImageRef]] = {}
        self.runs: dict[str, tuple[Listed, Shown]] = {}
        for number in range(runs):
            run = _run(number, samples)
            shown = Shown(run, TASKS["refcoco"], shared, root)
            parts = shown.parts if parts is None else parts
            vars(shown)["parts"] = parts  # equal for all, and slow to compute
            self.runs[run.id] = Listed(run, "complete", ""), shown

    def listed(self) -> Sequence[Listed]:
        """Every run."""
        return [listed for listed, _ in self.runs.values()]

    def shown(self, run: str) -> tuple[Shown, str]:
        """A run with the shared samples."""
        return self.runs[run][1], ""

    def stamp(self) -> dict[str, str]:
        """Nothing changes."""
        return dict.fromkeys(self.runs, "1")

    def picture(self, root: Path, image: ImageRef) -> str:
        """The file name of an image."""
        name = pictures.name_of(root, image)
        self.pictures[name] = (root, image)
        return name

    def image(self, name: str, side: int) -> bytes:
        """The JPEG file of a picture."""
        return pictures.jpeg(*self.pictures[name], side)


def _run(number: int, samples: int) -> Run:
    spec = RunSpec(
        data="made-up", data_hash="0", task="refcoco", version=TASKS["refcoco"].version, split=f"s{number // MODELS}",
        model=f"model-{number % MODELS}", fingerprint="f",
    )  # fmt: skip
    value = 40.0 + 37 * number % 50
    return Run(
        schema=2, id=f"run{number}", spec=spec, status="complete", headline="Acc@0.5",
        metrics={"Acc@0.5": Estimate(value, value - 2, value + 2, samples)},
        counts={"answered": samples, "samples": samples, "images": samples // 3},
    )  # fmt: skip


@contextmanager
def address(library: Generated, folder: Path, disk: bool) -> Iterator[str]:
    """The address of the pages, on disk or of a server."""
    if disk:
        for row in library.runs["run0"][1].rows:
            library.picture(library.runs["run0"][1].root, row.sample.question.image)
        yield static.write(library, folder / "pages").as_uri()  # type: ignore[arg-type]
        return
    with Server(library, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


def measured(url: str) -> dict[str, Any]:
    """The figures of the docstring, in milliseconds: the median of some rounds, with the least and the most."""
    from playwright.sync_api import sync_playwright

    times: dict[str, list[float]] = {"first paint": [], "first view": [], "samples": [], "filter": [], "turn": []}
    long: list[list[float]] = []
    busiest: list[float] = []
    weight = 0
    with sync_playwright() as started:
        path, options = shutil.which("chromium"), ["--no-sandbox", "--disable-gpu"]
        browser = started.chromium.launch(executable_path=path, args=options)
        for _ in range(ROUNDS):
            tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            tab.add_init_script(SHOWN)
            tab.goto(url)
            tab.wait_for_function("window.shown")
            times["first view"].append(tab.evaluate("window.shown"))
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            times["first paint"].append(tab.evaluate(paint))
            sizes = "performance.getEntriesByType('resource').reduce((sum, each) => sum + each.transferSize, 0)"
            weight = tab.evaluate(sizes)
            start = time.perf_counter()
            tab.evaluate("location.hash = '#/samples/run0'")
            tab.wait_for_selector(".card img")
            times["samples"].append(1000 * (time.perf_counter() - start))
            browser.start_tracing(page=tab, categories=["toplevel"])
            long.append(tab.evaluate(SCROLL, STEPS))
            busiest.append(max(_tasks(browser.stop_tracing())))
            start = time.perf_counter()
            tab.get_by_label("Text").fill("number 4321")
            tab.wait_for_selector("[aria-setsize='1']")
            times["filter"].append(1000 * (time.perf_counter() - start))
            tab.evaluate("H.current = null; location.hash = '#/sample/run0/000001'")
            tab.wait_for_selector("h1:has-text('number 1')")
            start = time.perf_counter()
            tab.keyboard.press("ArrowRight")
            tab.wait_for_selector("h1:has-text('number 2')")
            times["turn"].append(1000 * (time.perf_counter() - start))
            tab.context.close()
        browser.close()
    figures: dict[str, Any] = {
        name: [round(each) for each in (statistics.median(of), min(of), max(of))] for name, of in times.items()
    }
    figures["long tasks per scroll"] = [len(each) for each in long]
    figures["busiest task"] = [round(each, 1) for each in (statistics.median(busiest), min(busiest), max(busiest))]
    figures["longest task"] = round(max((duration for each in long for duration in each), default=0))
    return figures | {"first page kB": round(weight / 1000)}


def _tasks(trace: bytes) -> list[float]:
    """The milliseconds of processor time of each task of the page's threads in a trace of Chromium."""
    events = json.loads(trace)["traceEvents"]
    threads = [each for each in events if each["name"] == "thread_name"]
    pages = {(each["pid"], each["tid"]) for each in threads if each["args"]["name"] == "CrRendererMain"}
    return [
        each["tdur"] / 1000
        for each in events
        if each["name"] == "ThreadControllerImpl::RunTask" and (each["pid"], each["tid"]) in pages and "tdur" in each
    ]


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--disk", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        root.mkdir()
        start = time.perf_counter()
        with address(Generated(asked.runs, asked.samples, root), Path(folder), asked.disk) as url:
            made = round(time.perf_counter() - start, 1)
            figures = {"runs": asked.runs, "samples of each": asked.samples, "from": "disk" if asked.disk else "server"}
            print(json.dumps({**figures, "seconds to make": made, **measured(url)}, indent=2))


if __name__ == "__main__":
    main()
