"""A comparison of two runs: lines for a terminal, and a page with pictures of what changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from harness.comparison import Change, Compared, Comparison, holm
from harness.core import Row, Run
from harness.errors import DataError
from harness.report import gallery, text
from harness.report.tables import template

SHOWN = 5  # changes each way, in a terminal
GAP = 8  # pixels between two pictures
HEAD = ("metric", "A", "B", "B less A [95 %]", "p", "seen from", "p from")
TOGETHER = ("task", "headline", "A", "B", "B less A [95 %]", "p", "p by Holm")


def describe(found: Sequence[Comparison], shown: int = SHOWN) -> str:
    """All of them; where they are several, their headlines together at the end, corrected."""
    parts = [_one(comparison, shown) for comparison in found]
    if len(found) > 1:
        parts.append(together(found))
    return "\n\n".join(parts)


def together(found: Sequence[Comparison]) -> str:
    """The headline of each, with its p-value as it is and as corrected for there being several."""
    return f"all together ({len(found)} headlines)\n" + text.table(TOGETHER, _together(found))


def _together(found: Sequence[Comparison]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for comparison, corrected in zip(found, corrections(found), strict=True):
        name = comparison.a.headline
        one = comparison.metrics.get(name)
        where = f"{comparison.a.spec.task} {comparison.a.spec.split}"
        numbers = ("–",) * 4 if one is None else (f"{one.a:.1f}", f"{one.b:.1f}", _change(one), _p(one.difference.p))
        rows.append((where, name, *numbers, _p(corrected)))
    return rows


def corrections(found: Sequence[Comparison]) -> list[float | None]:
    """Each headline's p-value by Holm; None where it has none."""
    values = [_headline_p(comparison) for comparison in found]
    corrected = iter(holm([value for value in values if value is not None]))
    return [None if value is None else next(corrected) for value in values]


def write(found: Sequence[Comparison], roots: Sequence[Path], to: Path, pictures: int) -> Path:
    """A page with the same numbers and, of each comparison, the largest changes drawn side by side; its path."""
    to.mkdir(parents=True, exist_ok=True)
    sections = []
    for number, (comparison, root) in enumerate(zip(found, roots, strict=True)):
        changes = [
            (way, _drawn(change, root, to, f"{number}-{way}-{place:02d}.jpg"))
            for way, some in (("worse", comparison.worse), ("better", comparison.better))
            for place, change in enumerate(some[: pictures // 2])
        ]
        sections.append(
            {
                "title": _title(comparison), "a": _named(comparison.a), "b": _named(comparison.b),
                "miniature": comparison.a.spec.data == "miniature", "rows": _rows(comparison),
                "changed": _changed(comparison), "parted": _parted(comparison), "changes": changes,
                "settings": [(name, *map(str, pair)) for name, pair in comparison.settings.items()],
            }
        )  # fmt: skip
    path = to / "compare.html"
    page = template("compare.html").render(
        found=sections, together=_together(found), head=HEAD, warning=text.MINIATURE
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")
    return path


def _drawn(change: Change, root: Path, to: Path, name: str) -> dict[str, str]:
    """A change as the page shows it; answers are marked without pictures, too: it is said why there is none."""
    question = change.a.sample.question
    told = {
        "file": name, "why": "", "sample": change.a.sample.id, "asked": question.text or question.kind,
        "scores": f"{100 * change.before:.0f} → {100 * change.after:.0f}",
        "before": _wrote(change.a), "after": _wrote(change.b),
    }  # fmt: skip
    try:
        beside(change, root).save(to / name, "JPEG", quality=88)
    except DataError as error:
        told |= {"file": "", "why": str(error)}
    return told


def _wrote(row: Row[Any]) -> str:
    return " ".join(row.answer.raw)[: gallery.LONGEST] or "(nothing)"


def beside(change: Change, root: Path) -> Image.Image:
    """A sample with its target and each run's answer: A's on the left."""
    left, right = (gallery.draw(row, root) for row in (change.a, change.b))
    both = Image.new("RGB", (left.width + GAP + right.width, max(left.height, right.height)), (255, 255, 255))
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    return both


def as_json(found: Sequence[Comparison]) -> list[dict[str, Any]]:
    """For other programs."""
    return [
        {
            "task": one.a.spec.task, "split": one.a.spec.split, "a": one.a.id, "b": one.b.id,
            "samples": one.samples, "images": one.images, "left out": one.left_out,
            "metrics": {
                name: {
                    "a": metric.a, "b": metric.b, "difference": metric.difference.value,
                    "low": metric.difference.low, "high": metric.difference.high, "p": metric.difference.p,
                    "p by Holm": corrected if name == one.a.headline else None,
                    "test": metric.test, "smallest detectable": metric.smallest,
                }
                for name, metric in one.metrics.items()
            },
            "worse": [change.a.sample.id for change in one.worse],
            "better": [change.a.sample.id for change in one.better],
            "other answers": one.other, "parted": one.parted,
            "settings": {name: list(pair) for name, pair in one.settings.items()},
        }
        for one, corrected in zip(found, corrections(found), strict=True)
    ]  # fmt: skip


def _one(found: Comparison, shown: int) -> str:
    """A comparison for people."""
    a, b = found.a, found.b
    lines = [_title(found), f"  A  {_named(a)}", f"  B  {_named(b)}"]
    table = text.table(HEAD, [(*row[:-1], row[-1].partition(",")[0].split(" of ")[0]) for row in _rows(found)])
    lines += [f"  {line}" for line in table.splitlines()]
    lines.append("  seen from: a smaller true difference would have been missed more often than once in five times")
    lines.append(f"  {_changed(found)}")
    for way, changes in (("worse", found.worse), ("better", found.better)):
        lines += [f"    {way}: {_told(change)}" for change in changes[:shown]]
        if shown and len(changes) > shown:
            lines.append(f"    ... and {len(changes) - shown:,} more {way}")
    lines.append(f"  {_parted(found)}")
    lines += [f"    {text.line(f'{name}: {one} | {other}')}" for name, (one, other) in found.settings.items()]
    if a.spec.data == "miniature":
        lines.append(f"  {text.MINIATURE}")
    return "\n".join(lines)


def _title(found: Comparison) -> str:
    spec = found.a.spec
    left_out = f", {found.left_out:,} that only one was asked are left out" if found.left_out else ""
    return f"{spec.task} {spec.split} · {spec.data} · {found.samples:,} samples, {found.images:,} images{left_out}"


def _rows(found: Comparison) -> list[tuple[str, ...]]:
    """A metric a row, under HEAD."""
    return [
        (
            name, f"{one.a:.1f}", f"{one.b:.1f}", _change(one), _p(one.difference.p),
            "–" if one.smallest is None else f"{one.smallest:.1f}", one.test,
        )
        for name, one in found.metrics.items()
    ]  # fmt: skip


def _changed(found: Comparison) -> str:
    alike = found.samples - len(found.worse) - len(found.better)
    return (
        f"by {found.scored_by or 'score'} of each sample, B is worse in {len(found.worse):,}, better in "
        f"{len(found.better):,}, alike in {alike:,}"
    )


def _parted(found: Comparison) -> str:
    return found.parted if found.parted.startswith("nowhere") else f"they part at {found.parted}"


def _named(run: Run) -> str:
    limit = f", at most {run.spec.limit} images" if run.spec.limit is not None else ""
    return text.line(f"{run.spec.model} · {run.spec.protocol} · {run.id}{limit}")


def _change(one: Compared) -> str:
    found = one.difference
    within = "" if found.low is None else f" [{found.low:+.1f}, {found.high:+.1f}]"
    return f"{found.value:+.1f}{within}"


def _p(value: float | None) -> str:
    """Of resamples and permutations, p is never 0: at the least that they can give, it is at most that."""
    return "–" if value is None else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def _headline_p(found: Comparison) -> float | None:
    one = found.metrics.get(found.a.headline)
    return None if one is None else one.difference.p


def _told(change: Change) -> str:
    """A change on one line."""
    question = change.a.sample.question
    asked = f"{question.text or question.kind}"[:60]
    wrote = " → ".join(" ".join(row.answer.raw)[:60] or "(nothing)" for row in (change.a, change.b))
    return text.line(f"{change.a.sample.id} ({asked}): {100 * change.before:.0f} → {100 * change.after:.0f}; {wrote}")
