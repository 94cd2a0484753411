"""The cost of a run by its size: questions, slots, beams and answer length; and the share that is not the model.

    python benchmarks/scaling.py --out OUT [--questions 500,1500,5000,15000,50000]
        [--only questions|everything|model|overhead]

questions   `python -m harness run --task refcoco` with florence2-nano-ft, over generated scenes in RefCOCO's file
            format, each size in a process of its own: seconds, CPU seconds and peak memory, with a line a + b n
everything  peak memory of `run --task all --split all` over the embedded benchmark, with 3 and with 27 images a split
model       the engine with random weights of the base size: slots, beams and new tokens, varied one at a time
overhead    the seconds of a run in this process by cause: the model (checkpoint, tokenizer, engine), waiting for
            images to be opened, and the rest

Results are printed and written to OUT/scaling.json after each part.  Times are meaningful on an idle machine only.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pickle
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.__main__ import main as harness  # before torch: it sets how threads wait

# isort: split

import numpy as np
import torch
from matplotlib.figure import Figure

import baselines.florence2
from harness.florence2.config import BASE, with_text
from harness.florence2.decoding.engine import Engine
from harness.florence2.decoding.search import Decoding
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import Tokenizer
from harness.provenance import provenance
from harness.speed.scenarios import ask
from harness.speed.systems import Ours, drawn, random_model, rounds_of
from tasks.miniature.refcoco import Picture, annotate
from tasks.miniature.render import jpeg, rendered_scene

COMMAND = ("run", "--task", "refcoco", "--split", "val", "--model", "florence2-nano-ft", "--json")
IMAGES = Path("coco/train2014")
# A small process in between: the peak memory of a process includes that of the process that started it.
STARTER = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
if done.returncode == 0:
    usage = {"CPU seconds": used.ru_utime + used.ru_stime, "peak MiB": used.ru_maxrss / 1024}
    print(json.dumps([json.loads(done.stdout), usage]))
sys.exit(done.returncode)
"""


def main() -> None:
    """Measures the parts, and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of scaling.json")
    parser.add_argument("--questions", default="500,1500,5000,15000,50000", help="numbers of questions, with commas")
    parser.add_argument("--only", choices=("questions", "everything", "model", "overhead"), help="one part (all)")
    options = parser.parse_args()
    parts: dict[str, Callable[[], Any]] = {
        "overhead": lambda: [overhead(count) for count in (1500, 5000)],
        "questions": lambda: questions([int(count) for count in options.questions.split(",")]),
        "everything": lambda: [everything(limit) for limit in (3, 27)],
        "model": model,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "scaling.json"
    record = json.loads(path.read_text()) if path.is_file() else {}
    record["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}"
    record["provenance"] = provenance(["python benchmarks/scaling.py", *sys.argv[1:]])
    for name, part in parts.items():
        if options.only in (None, name):
            record[name] = part()
            print(name, json.dumps(record[name], indent=1), flush=True)
            path.write_text(json.dumps(record, indent=1) + "\n")
    if "questions" in record:
        draw(record["questions"], path.with_suffix(".svg"))


def questions(counts: Sequence[int]) -> dict[str, Any]:
    """Measures seconds, CPU seconds and peak MiB of whole runs, and fits a line a + b n to each."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = []
        for count, data in zip(counts, roots(root, counts), strict=True):
            rows.append(whole_run(data, root / f"results{count}"))
            print(json.dumps(rows[-1]), flush=True)
    n = np.array([row["questions"] for row in rows], dtype=float)
    lines = {}
    for name in ("seconds", "CPU seconds", "peak MiB"):
        values = np.array([row[name] for row in rows])
        slope, start = np.polyfit(n, values, 1, w=1 / values)  # weights for relative errors
        rest = values - (start + slope * n)
        lines[name] = {
            "at the start": start, "a question": slope, "largest part unexplained": float(np.abs(rest / values).max())
        }  # fmt: skip
    return {"rows": rows, "a + b n": lines}


def draw(record: Mapping[str, Any], to: Path) -> None:
    """Draws seconds and memory over questions, with the fitted lines."""
    n = np.array([row["questions"] for row in record["rows"]], dtype=float)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, names in zip(figure.subplots(1, 2), (("seconds", "CPU seconds"), ("peak MiB",)), strict=True):
        for name, colour, marker in zip(names, ("#0072B2", "#D55E00"), "os", strict=False):
            line = record["a + b n"][name]
            axes.plot(n, [row[name] for row in record["rows"]], marker, color=colour, label=name)
            axes.plot(n, line["at the start"] + line["a question"] * n, color=colour, linewidth=1)
        axes.set_xscale("log")
        axes.set_xlabel("questions")
        axes.set_ylim(0, 1.1 * max(row[name] for row in record["rows"] for name in names))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(to, metadata={"Date": None})


def roots(root: Path, counts: Sequence[int]) -> Iterator[Path]:
    """Yields a data root per count of questions, completed to whole scenes; each has the images of the last."""
    images = root / "images"
    images.mkdir()
    shown: list[Picture] = []
    for count in counts:
        data = root / f"data{count}"
        (data / IMAGES.parent).mkdir(parents=True)
        (data / IMAGES).symlink_to(images)
        while True:
            missing = count - (sentences(data, shown) if shown else 0)
            if missing <= 0:
                break
            # A scene has about ten sentences.  Twelve are assumed, so that the count is not exceeded by much.
            for _ in range(max(1, missing // 12)):
                seed = 1_000_000 + len(shown)
                scene = rendered_scene(seed)
                picture = Picture(1000 + len(shown), "val", scene)
                (images / picture.file_name).write_bytes(jpeg(scene))
                shown.append(picture)
        yield data


def sentences(data: Path, shown: Sequence[Picture]) -> int:
    """Writes the annotations of these images; returns the number of sentences that refer to an object."""
    shutil.rmtree(data / "refer", ignore_errors=True)
    annotate(data, shown)
    refs = pickle.loads((data / "refer/refcoco/refs(unc).p").read_bytes())
    return sum(len(ref["sentences"]) for ref in refs)


def whole_run(data: Path, out: Path) -> dict[str, Any]:
    """Runs the command in a process of its own."""
    return process(*COMMAND, "--data", str(data), "--out", str(out))


def everything(limit: int) -> dict[str, Any]:
    """Runs all tasks of the embedded benchmark, with `limit` images of each split."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--task", "all", "--split", "all", "--limit", str(limit), "--model", "florence2-nano-ft", "--json")
        return process("run", *options, "--no-meteor", "--out", folder)  # METEOR's Java needs more memory than the run


def process(*arguments: str) -> dict[str, Any]:
    """Runs a command of the harness in a process of its own; returns its questions, seconds and peak memory."""
    start = time.perf_counter()
    command = [sys.executable, "-c", STARTER, sys.executable, "-m", "harness", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1], check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed with exit status {done.returncode}")
    printed, used = json.loads(done.stdout)
    runs = printed if isinstance(printed, list) else [printed]
    return {
        "questions": sum(run["counts"]["samples"] for run in runs),
        "images": sum(run["counts"]["images"] for run in runs), "seconds": time.perf_counter() - start,
        "CPU seconds": used["CPU seconds"], "peak MiB": used["peak MiB"],
        "asking s": sum(run["timings"]["seconds"] for run in runs),
    }  # fmt: skip


@torch.no_grad()
def model() -> dict[str, Any]:
    """Measures seconds per image of base at 768 pixels, in float32 on a CPU."""
    network = random_model(with_text(BASE, vocab=51328))
    usual = {"slots": 2, "beams": 3, "new tokens": 20}
    swept = {"slots": (1, 2, 4, 8), "beams": (1, 2, 3, 5), "new tokens": (10, 20, 50, 100)}
    record: dict[str, Any] = {"usual": usual}
    queries = drawn(8, 768, 51328)
    every = range(len(queries))
    for name, values in swept.items():
        record[name] = {}
        for value in values:
            setting = {**usual, name: value}
            tokens = setting["new tokens"]
            decoding = Decoding(beams=setting["beams"], max_new_tokens=tokens, min_new_tokens=tokens)
            system = Ours(network, Preprocess(768, 768), decoding, queries, setting["slots"])
            times, _ = rounds_of({"ours": lambda system=system: ask(system, every)}, 3, time.perf_counter)
            record[name][value] = statistics.median(times["ours"]) / len(queries)
            print(name, value, record[name][value], flush=True)
    return record


def overhead(count: int) -> dict[str, Any]:
    """Measures the seconds of a run in this process: in the model, waiting for images, and the rest."""
    parts: dict[str, Sequence[tuple[Any, str]]] = {
        "checkpoint": [(baselines.florence2, "load_parts")],
        "tokenizer": [(Tokenizer, "encode"), (Tokenizer, "items")],
        "engine": [(Engine, "step")],
        "waiting for pictures": [(Future, "result")],
    }
    spent = dict.fromkeys(parts, 0.0)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timing(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent[name] += time.perf_counter() - start

        return timing

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as patches:
        [data] = roots(Path(folder), [count])
        whole_run(data, Path(folder) / "before")  # so that files and libraries are in the page cache
        for name, functions in parts.items():
            for owner, function in functions:
                patches.enter_context(patch.object(owner, function, timed(name, getattr(owner, function))))
        patches.enter_context(contextlib.redirect_stdout(io.StringIO()))
        start = time.perf_counter()
        status = harness([*COMMAND, "--data", str(data), "--out", str(Path(folder) / "results")])
        seconds = time.perf_counter() - start
    if status:
        raise RuntimeError(f"the run failed with exit status {status}")
    rest = seconds - sum(spent.values())
    return {"questions": count, "seconds": seconds, **spent, "rest": rest, "rest, percent": 100 * rest / seconds}


if __name__ == "__main__":
    main()
