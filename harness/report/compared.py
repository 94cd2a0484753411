"""A comparison of two runs as text for a terminal, as JSON, and as a page with images of the largest changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from harness.comparison import Change, Compared, Comparison, holm
from harness.core import Row, Run
from harness.errors import DataError
from harness.report import gallery, text
from harness.report.tables import template

SHOWN = 5  # changes in each direction, in a terminal
GAP = 8  # pixels between the two images of a change
HEAD = ("metric", "A", "B", "B - A [95 % interval]", "p", "detectable", "test")
TOGETHER = ("task", "headline", "A", "B", "B - A [95 % interval]", "p", "p (Holm)")
DETECTABLE = (
    "detectable: minimum detectable difference at this sample size "
    "(a true difference of this size is detected in four of five comparisons)"
)


def describe(comparisons: Sequence[Comparison], shown: int = SHOWN) -> str:
    """All comparisons as text, with `shown` changes in each direction; several end with a table of all headlines."""
    parts = [_describe_one(comparison, shown) for comparison in comparisons]
    if len(comparisons) > 1:
        parts.append(together(comparisons))
    return text.block("\n\n".join(parts))


def together(comparisons: Sequence[Comparison]) -> str:
    """A table of all headlines, with p-values as computed and as corrected by Holm."""
    return f"all {len(comparisons)} headlines\n" + text.table(TOGETHER, _headline_rows(comparisons))


def _headline_rows(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for comparison, corrected in zip(comparisons, corrections(comparisons), strict=True):
        name = comparison.a.headline
        metric = comparison.metrics.get(name)
        task = f"{comparison.a.spec.task} {comparison.a.spec.split}"
        numbers = ("–",) * 4 if metric is None else _numbers(metric)
        rows.append((task, name, *numbers, _p(corrected)))
    return rows


def corrections(comparisons: Sequence[Comparison]) -> list[float | None]:
    """The p-value of each headline, corrected by Holm over all of them; None if a headline has no p-value."""
    values = [_headline_p(comparison) for comparison in comparisons]
    corrected = iter(holm([value for value in values if value is not None]))
    return [None if value is None else next(corrected) for value in values]


def write(comparisons: Sequence[Comparison], roots: Sequence[Path], to: Path, pictures: int) -> Path:
    """Writes a page with the same numbers and at most `pictures` images of changes per comparison; the page's path.

    `roots` has the data root of each comparison.
    """
    to.mkdir(parents=True, exist_ok=True)
    sections = []
    for number, (comparison, root) in enumerate(zip(comparisons, roots, strict=True)):
        changes = [
            (direction, _change_entry(change, root, to, f"{number}-{direction}-{place:02d}.jpg"))
            for direction, group in (("worse", comparison.worse), ("better", comparison.better))
            for place, change in enumerate(group[: pictures // 2])
        ]
        sections.append(
            {
                "title": _title(comparison), "a": _run_line(comparison.a), "b": _run_line(comparison.b),
                "miniature": comparison.a.spec.data == "miniature", "rows": _rows(comparison),
                "counts": _change_counts(comparison), "divergence": _divergence(comparison), "changes": changes,
                "settings": [(name, *map(str, pair)) for name, pair in comparison.settings.items()],
            }
        )  # fmt: skip
    path = to / "compare.html"
    page = template("compare.html").render(
        sections=sections, together=_headline_rows(comparisons), head=HEAD, together_head=TOGETHER,
        detectable=DETECTABLE, warning=text.MINIATURE,
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")
    return path


def _change_entry(change: Change, root: Path, to: Path, name: str) -> dict[str, str]:
    """A change as the page shows it, with its image drawn; `problem` is the reason if there is no image."""
    question = change.a.sample.question
    entry = {
        "file": name, "problem": "", "sample": change.a.sample.id, "question": question.text or question.kind,
        "scores": _scores(change), "a": _output(change.a), "b": _output(change.b),
    }  # fmt: skip
    try:
        side_by_side(change, root).save(to / name, "JPEG", quality=88)
    except DataError as error:
        entry |= {"file": "", "problem": str(error)}
    return entry


def _output(row: Row[Any]) -> str:
    return " ".join(row.answer.raw)[: gallery.LONGEST] or "(empty)"


def side_by_side(change: Change, root: Path) -> Image.Image:
    """The image of a sample twice, each with the target: the answer of A on the left, of B on the right."""
    left, right = (gallery.draw(row, root) for row in (change.a, change.b))
    both = Image.new("RGB", (left.width + GAP + right.width, max(left.height, right.height)), (255, 255, 255))
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    return both


def as_json(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The comparisons as JSON values; numbers are unrounded."""
    return [
        {
            "task": comparison.a.spec.task, "split": comparison.a.spec.split,
            "a": comparison.a.id, "b": comparison.b.id,
            "samples": comparison.samples, "images": comparison.images, "left out": comparison.left_out,
            "metrics": {
                name: {
                    "a": metric.a, "b": metric.b, "difference": metric.difference.value,
                    "low": metric.difference.low, "high": metric.difference.high, "p": metric.difference.p,
                    "p by Holm": corrected if name == comparison.a.headline else None,
                    "test": metric.test, "smallest detectable": metric.smallest,
                }
                for name, metric in comparison.metrics.items()
            },
            "worse": [change.a.sample.id for change in comparison.worse],
            "better": [change.a.sample.id for change in comparison.better],
            "other answers": comparison.other, "parted": comparison.parted,
            "settings": {name: list(pair) for name, pair in comparison.settings.items()},
        }
        for comparison, corrected in zip(comparisons, corrections(comparisons), strict=True)
    ]  # fmt: skip


def _describe_one(comparison: Comparison, shown: int) -> str:
    a, b = comparison.a, comparison.b
    lines = [_title(comparison), f"  A  {_run_line(a)}", f"  B  {_run_line(b)}"]
    rows = [(*row[:-1], row[-1].partition(",")[0].split(" of ")[0]) for row in _rows(comparison)]
    lines += [f"  {line}" for line in text.table(HEAD, rows).splitlines()]
    lines.append(f"  {DETECTABLE}")
    lines.append(f"  {_change_counts(comparison)}")
    for direction, changes in (("worse", comparison.worse), ("better", comparison.better)):
        lines += [f"    {direction}: {change_line(change)}" for change in changes[:shown]]
        if shown and len(changes) > shown:
            lines.append(f"    ... and {len(changes) - shown:,} more {direction}")
    lines.append(f"  {_divergence(comparison)}")
    lines += [f"    {text.line(each)}" for each in _settings(comparison.settings)]
    if a.spec.data == "miniature":
        lines.append(f"  {text.MINIATURE}")
    return "\n".join(lines)


def _settings(settings: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    """A line for each setting that both records have and that differs, and one for those that only one has."""
    for name, pair in settings.items():
        if None not in pair:
            yield f"{name}: {pair[0]} | {pair[1]}"
    for side, other in ((0, 1), (1, 0)):
        alone: dict[str, dict[str, None]] = {}
        for name, pair in settings.items():
            if pair[other] is None:
                of, _, rest = name.partition(": ")
                alone.setdefault(of, {})[rest.partition(": ")[0]] = None
        for of, names in alone.items():
            listed = f" ({', '.join(names)})" if any(names) else ""
            yield f"only {'AB'[side]} records: {of}{listed}"


def _title(comparison: Comparison) -> str:
    spec = comparison.a.spec
    left_out = f"; {comparison.left_out:,} samples of only one run are left out" if comparison.left_out else ""
    counts = f"{comparison.samples:,} samples, {comparison.images:,} images"
    return text.line(f"{spec.task} {spec.split} · {spec.data} · {counts}{left_out}")


def _rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """One row per metric, under HEAD."""
    return [
        (name, *_numbers(metric), "–" if metric.smallest is None else f"{metric.smallest:.1f}", metric.test)
        for name, metric in comparison.metrics.items()
    ]


def _numbers(metric: Compared) -> tuple[str, str, str, str]:
    """The values of A and B, their difference, and its p-value."""
    return f"{metric.a:.1f}", f"{metric.b:.1f}", _difference(metric), _p(metric.difference.p)


def _change_counts(comparison: Comparison) -> str:
    equal = comparison.samples - len(comparison.worse) - len(comparison.better)
    return (
        f"{comparison.scored_by or 'score'} per sample: B is worse in {len(comparison.worse):,}, better in "
        f"{len(comparison.better):,}, equal in {equal:,}"
    )


def _divergence(comparison: Comparison) -> str:
    return f"first divergence: {comparison.parted}"


def _run_line(run: Run) -> str:
    limit = f", at most {run.spec.limit} images" if run.spec.limit is not None else ""
    return text.line(f"{run.spec.model} · {run.spec.protocol} · {run.id}{limit}")


def _difference(metric: Compared) -> str:
    difference = metric.difference
    interval = "" if difference.low is None else f" [{difference.low:+.1f}, {difference.high:+.1f}]"
    return f"{difference.value:+.1f}{interval}"


def _p(value: float | None) -> str:
    """The p-value with two to four decimals.  Resamples and permutations bound it from below, so it is never 0."""
    return "–" if value is None else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def _headline_p(comparison: Comparison) -> float | None:
    metric = comparison.metrics.get(comparison.a.headline)
    return None if metric is None else metric.difference.p


def _scores(change: Change) -> str:
    return f"{100 * change.before:.0f} → {100 * change.after:.0f}"


def change_line(change: Change) -> str:
    """A change on one line: the sample, its question, both scores in percent, and both outputs."""
    question = change.a.sample.question
    outputs = " → ".join(" ".join(row.answer.raw)[:60] or "(empty)" for row in (change.a, change.b))
    asked = f"{question.text or question.kind}"[:60]
    return text.line(f"{change.a.sample.id} ({asked}): {_scores(change)}; {outputs}")
