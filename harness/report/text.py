"""A run, and lists of things, as plain text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from harness.core import Estimate, Run

MINIATURE = "miniature is the embedded benchmark: these numbers are not comparable with published ones"
USUAL = ("samples", "images", "answered", "asked now")
# Of Markdown: an underscore within a word is none, nor are the brackets of an interval.
_INTERVAL = re.compile(r"\[[-+]?[\d.]+, [-+]?[\d.]+\](?![\[(])")
_MARKUP = re.compile(r"[\\|`*~\[\]]|(?<![^\W_])_|_(?![^\W_])")
UNDEFINED = "CIDEr of one image, AP of a size that no object has, a mean over data sets of which one is lacking"


def title(run: Run) -> str:
    """What was asked, on one line."""
    spec = run.spec
    limit = f", at most {spec.limit} images, drawn with seed {spec.seed}" if spec.limit is not None else ""
    return f"{spec.task} {spec.split} · {spec.model} · {spec.data} · {spec.protocol} ({run.status}{limit})"


def number(estimate: Estimate | None) -> str:
    """`81.2 [79.8, 82.5]`, or a dash where there is nothing to say."""
    if estimate is None or estimate.value is None:
        return "–"
    value = f"{estimate.value:.1f}"
    return value if estimate.low is None else f"{value} [{estimate.low:.1f}, {estimate.high:.1f}]"


def age(date: str, now: float) -> str:
    """How long before `now` (seconds since 1970) a date of `provenance` was: 5 min, 3 h, 12 d; '' for none."""
    try:
        then = datetime.fromisoformat(date).timestamp()
    except ValueError:
        return ""
    minutes = max(0, round((now - then) / 60))
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} d"


def describe(run: Run, folder: Path) -> str:
    """A run's result: the headline first, then every other metric, the counts, the speed, and where it is kept."""
    names = [run.headline, *(name for name in run.metrics if name != run.headline)]
    lines = [title(run)]
    width = max(map(len, names), default=0)
    lines += [f"  {name:<{width}}  {number(run.metrics[name])}" for name in names if name in run.metrics]
    if run.metrics:
        scale = " (CIDEr x 100)" if "CIDEr" in run.metrics else ""
        lines.append(f"  percent{scale}; [95 % interval, images resampled]")
        if any(estimate.value is None for estimate in run.metrics.values()):
            lines.append(f"  –: not defined here, as {UNDEFINED}")
    elif run.status in ("complete", "partial"):
        lines.append("  the benchmark keeps the answers of this split; `export` writes what is to be submitted")
    if run.status == "incomplete":
        failures = run.provenance.get("failures", {})
        first = next(iter(failures.values()), "")
        lines.append(f"  {run.counts.get('failed', 0)} questions failed, so there is no result; the first: {first}")
    lines.append(f"  {_counts(run)}")
    if policy := run.provenance.get("policy"):
        lines.append(f"  {policy}")
    if speed := _speed(run):
        lines.append(f"  {speed}")
    if run.spec.data == "miniature":
        lines.append(f"  {MINIATURE}")
    lines.append(f"  id {run.id}, kept in {folder}")
    return "\n".join(lines)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two spaces apart."""
    widths = [max(len(row[place]) for row in [header, *rows]) for place in range(len(header))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows])
    return "\n".join(line.rstrip() for line in lines)


def line(said: str) -> str:
    """On one line, and nothing in it that a terminal would obey."""
    return "".join(sign if sign.isprintable() else " " for sign in said)


def cell(said: str) -> str:
    """As it stands in a cell of a Markdown table: on one line, and nothing in it is markup."""
    plain = " ".join(line(said).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    parts, start = [], 0
    for found in _INTERVAL.finditer(plain):
        parts += [_MARKUP.sub(r"\\\g<0>", plain[start : found.start()]), found.group()]
        start = found.end()
    return "".join([*parts, _MARKUP.sub(r"\\\g<0>", plain[start:])])


def _counts(run: Run) -> str:
    counts = run.counts
    told = [
        f"{counts.get('answered', 0):,} of {counts.get('samples', 0):,} answered, {counts.get('images', 0):,} images"
    ]
    told += [f"{count:,} {name}" for name, count in counts.items() if count and name not in USUAL]
    return ", ".join(told)


def _speed(run: Run) -> str:
    timings = run.timings
    told = []
    if "answers/s" in timings:
        rates = ", ".join(f"{timings[f'{what}/s']:.1f} {what}/s" for what in ("answers", "images", "tokens"))
        told.append(f"{run.counts.get('asked now', 0):,} asked in {timings['seconds']:.1f} s: {rates}")
    if "latency of" in timings:
        told.append(f"{1000 * timings['p50 s']:.0f} ms (median) to {timings['latency of']}")
    if "peak memory MiB" in timings:
        told.append(f"peak memory {timings['peak memory MiB']:.0f} MiB")
    return "; ".join(told)
