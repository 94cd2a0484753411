"""A run, and tables of strings, as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from harness.core import Estimate, Run, RunSpec
from harness.sinks import block as block
from harness.sinks import cell as cell
from harness.sinks import line as line

Paint = Callable[[str, str], str]  # the name of a style, and a text without control characters, to that text in colour
WARNINGS = ("  suspect predictions: ", "  –: undefined")  # the beginnings of lines that warn
MINIATURE = "miniature is the embedded benchmark: its numbers are not comparable with published numbers"
SUMMARISED = ("samples", "images", "answered", "asked now")  # counts that a fixed sentence reports
UNDEFINED = "CIDEr of one image, AP of an object size without objects, a mean over data sets if one is missing"


def unpainted(style: str, text: str) -> str:
    """The text without colour."""
    return text


def title(run: Run) -> str:
    """The task, split, model, data, protocol and status of a run, on one line."""
    limit = f", sample of at most {run.spec.limit} images, seed {run.spec.seed}" if run.spec.limit is not None else ""
    return line(f"{named(run.spec)} ({run.status}{limit})")


def named(spec: RunSpec) -> str:
    """The task, split, model, data and protocol of a run."""
    return f"{spec.task} {spec.split} · {spec.model} · {spec.data} · {spec.protocol}"


def number(estimate: Estimate | None) -> str:
    """`81.2 [79.8, 82.5]`, with one decimal; a dash if the estimate is missing or undefined."""
    if estimate is None or estimate.value is None:
        return "–"
    value = f"{estimate.value:.1f}"
    return value if estimate.low is None else f"{value} [{estimate.low:.1f}, {estimate.high:.1f}]"


def aligned(estimates: Sequence[Estimate | None]) -> list[str]:
    """Each estimate as by `number`, padded so that the decimal points of a column are below each other."""
    parts = [number(estimate).replace("[", "").replace("]", "").replace(",", "").split() for estimate in estimates]
    widths = [max((len(part[place]) for part in parts if place < len(part)), default=0) for place in range(3)]
    shown = []
    for part in parts:
        value, *bounds = (text.rjust(width) for text, width in zip(part, widths, strict=False))
        shown.append(f"{value} [{', '.join(bounds)}]" if bounds else value)
    return shown


def matrix(models: Sequence[str], runs: Sequence[Run]) -> str:
    """The headlines of runs, tasks by models; a run that is missing leaves its cell empty."""
    found = {(run.spec.model, run.spec.task, run.spec.split): run for run in runs}
    found |= {(str(run.provenance.get("entry")), run.spec.task, run.spec.split): run for run in runs}  # of a cascade
    cells = []
    for task, split in dict.fromkeys((run.spec.task, run.spec.split) for run in runs):
        here = [found.get((model, task, split)) for model in models]
        [metric] = {run.headline for run in here if run is not None}
        numbers = [number(run.metrics.get(metric)) if run is not None else "" for run in here]
        cells.append((task, split, metric, *numbers))
    return table(("task", "split", "metric", *models), cells)


def age(date: str, now: float) -> str:
    """The time from an ISO date to `now` (seconds since 1970): 5 min, 3 h, 12 d; "" if the date cannot be parsed."""
    try:
        then = datetime.fromisoformat(date).timestamp()
    except (ValueError, OverflowError):
        return ""
    minutes = max(0, round((now - then) / 60))
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} d"


def describe(run: Run, folder: Path, paint: Paint = unpainted) -> str:
    """The result of a run: the headline, the other metrics, the counts, the speed, the id and the folder."""
    names = [name for name in (run.headline, *run.metrics) if name in run.metrics]
    names = list(dict.fromkeys(names))
    lines = [title(run)]
    width = max(map(len, (run.headline, *names)))
    numbers = aligned([run.metrics[name] for name in names])
    lines += [f"  {name:<{width}}  {shown}" for name, shown in zip(names, numbers, strict=True)]
    if run.metrics:
        scale = " (CIDEr x 100)" if "CIDEr" in run.metrics else ""
        lines.append(f"  percent{scale}; [95 % interval, images resampled]")
        if any(estimate.value is None for estimate in run.metrics.values()):
            lines.append(f"  –: undefined for these samples, for example {UNDEFINED}")
    elif shard := run.provenance.get("shard"):
        lines.append(f"  shard {shard}: asked, not scored; `merge` joins the shards into the run and scores it")
    elif run.status in ("complete", "partial"):
        lines.append("  the targets of this split are not published; `export` writes the submission file")
    if suspect := suspicion(run):
        lines.append(f"  {suspect}")
    if run.status == "incomplete":
        failures = run.provenance.get("failures", {})
        first = next(iter(failures.values()), "")
        lines.append(f"  {run.counts.get('failed', 0)} questions failed, so there is no result; first failure: {first}")
    lines.append(f"  {_counts(run)}")
    if policy := run.provenance.get("policy"):
        lines.append(f"  {policy}")
    for said in ("remarks", "notes"):
        lines += [f"  {line(str(sentence))}" for sentence in run.provenance.get(said, ())]
    if speed := _speed(run):
        lines.append(f"  {speed}")
    if size := _size(run):
        lines.append(f"  {size}")
    if run.spec.data == "miniature":
        lines.append(f"  {MINIATURE}")
    lines.append(f"  id {run.id}, stored in {folder}")
    styles = {0: "title", len(lines) - 1: "faint"} | ({1: "headline"} if names[:1] == [run.headline] else {})
    styles |= {place: "warning" for place, text in enumerate(lines) if text.startswith(WARNINGS)}
    return "\n".join(paint(styles.get(place, ""), line(text)) for place, text in enumerate(lines))


def suspicion(run: Run) -> str:
    """What is suspect about the predictions that were scored (`harness.data.sanity`); "" if nothing is."""
    sanity = run.provenance.get("sanity")
    suspect = sanity.get("suspect") if isinstance(sanity, Mapping) else None
    return f"suspect predictions: {suspect}" if suspect else ""


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], style: Callable[[int, int], str] | None = None,
    paint: Paint = unpainted,
) -> str:  # fmt: skip
    """Left-aligned columns, each as wide as its widest cell and two spaces apart.

    `style(row, column)` is the style of a cell that `paint` paints; the header has the style "title".
    """
    shown = [[line(each) for each in row] for row in (header, *rows)]
    widths = [max(len(row[place]) for row in shown) for place in range(len(header))]
    lines = []
    for number, row in enumerate(shown):
        cells = [each.ljust(width) for each, width in zip(row[:-1], widths, strict=False)] + row[-1:]
        while cells and not cells[-1].strip():
            cells.pop()
        cells[-1:] = [cell.rstrip() for cell in cells[-1:]]
        styles = ["title" if number == 0 else style(number - 1, place) if style else "" for place in range(len(cells))]
        lines.append("  ".join(paint(name, cell) for name, cell in zip(styles, cells, strict=True)))
    return "\n".join(lines)


def _counts(run: Run) -> str:
    counts = run.counts
    parts = [
        f"{counts.get('answered', 0):,} of {counts.get('samples', 0):,} answered, {counts.get('images', 0):,} images"
    ]
    parts += [f"{count:,} {name}" for name, count in counts.items() if count and name not in SUMMARISED]
    return ", ".join(parts)


def _size(run: Run) -> str:
    """The parameters of the model and the operations of a query, where the record has them."""
    cost, parameters = run.provenance.get("cost", {}), run.provenance.get("model", {}).get("parameters")
    parts = [f"{parameters:,} parameters"] if isinstance(parameters, int) else []
    if "GFLOPs" in cost:
        parts.append(f"{cost['GFLOPs']:.4g} GFLOPs ({cost.get('of', '')})")
    return "; ".join(parts)


def _speed(run: Run) -> str:
    timings = run.timings
    parts = []
    if "answers/s" in timings:
        rates = ", ".join(f"{timings[f'{unit}/s']:.1f} {unit}/s" for unit in ("answers", "images", "tokens"))
        parts.append(f"{run.counts.get('asked now', 0):,} queries in {timings['seconds']:.1f} s: {rates}")
    if "latency of" in timings:
        parts.append(f"median latency {1000 * timings['p50 s']:.0f} ms ({timings['latency of']})")
    if "peak memory MiB" in timings:
        on_gpu = f", {timings['peak GPU memory MiB']:.0f} MiB on a GPU" if "peak GPU memory MiB" in timings else ""
        parts.append(f"peak memory {timings['peak memory MiB']:.0f} MiB{on_gpu}")
    return "; ".join(parts)
