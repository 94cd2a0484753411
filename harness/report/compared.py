"""A comparison of two runs: lines for a terminal, and a folder with pictures of what changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from harness.comparison import Change, Compared, Comparison, holm
from harness.core import Run
from harness.errors import DataError
from harness.report import gallery, text

SHOWN = 5  # changes each way, in a terminal
GAP = 8  # pixels between two pictures


def describe(found: Sequence[Comparison], shown: int = SHOWN) -> str:
    """All of them; where they are several, their headlines together at the end, corrected."""
    parts = [_one(comparison, shown) for comparison in found]
    if len(found) > 1:
        parts.append(together(found))
    return "\n\n".join(parts)


def together(found: Sequence[Comparison]) -> str:
    """The headline of each, with its p-value as it is and as corrected for there being several."""
    rows = []
    for comparison, corrected in zip(found, corrections(found), strict=True):
        name = comparison.a.headline
        one = comparison.metrics.get(name)
        where = f"{comparison.a.spec.task} {comparison.a.spec.split}"
        if one is None:
            rows.append((where, name, "–", "–", "–", "–", "–"))
            continue
        rows.append(
            (where, name, f"{one.a:.1f}", f"{one.b:.1f}", _change(one), _p(one.difference.p), _p(corrected))
        )  # fmt: skip
    header = ("task", "headline", "A", "B", "B less A [95 %]", "p", "p by Holm")
    return f"all together ({len(found)} headlines)\n" + text.table(header, rows)


def corrections(found: Sequence[Comparison]) -> list[float | None]:
    """Each headline's p-value by Holm; None where it has none."""
    values = [_headline_p(comparison) for comparison in found]
    corrected = iter(holm([value for value in values if value is not None]))
    return [None if value is None else next(corrected) for value in values]


def write(found: Sequence[Comparison], roots: Sequence[Path], to: Path, pictures: int) -> Path:
    """A page in Markdown with the same lines and, of each comparison, the largest changes drawn side by side."""
    to.mkdir(parents=True, exist_ok=True)
    lines = ["# Two runs compared", ""]
    for number, (comparison, root) in enumerate(zip(found, roots, strict=True)):
        lines += ["```", _one(comparison, 0).replace("```", "'''"), "```", ""]
        for way, changes in (("worse", comparison.worse), ("better", comparison.better)):
            for place, change in enumerate(changes[: pictures // 2]):
                name = f"{number}-{way}-{place:02d}.jpg"
                try:
                    beside(change, root).save(to / name, "JPEG", quality=88)
                    lines += [f"![{way}]({name})", ""]
                except DataError as error:  # answers are marked without pictures, too
                    lines += [_plain(f"no picture: {error}"), ""]
                lines += [_plain(_told(change)), ""]
    if len(found) > 1:
        lines += ["```", together(found), "```", ""]
    path = to / "compare.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


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
    left_out = f", {found.left_out:,} that only one was asked are left out" if found.left_out else ""
    lines = [
        f"{a.spec.task} {a.spec.split} · {a.spec.data} · {found.samples:,} samples, {found.images:,} images{left_out}",
        f"  A  {_named(a)}",
        f"  B  {_named(b)}",
    ]
    rows = [
        (
            f"  {name}", f"{one.a:.1f}", f"{one.b:.1f}", _change(one), _p(one.difference.p),
            "–" if one.smallest is None else f"{one.smallest:.1f}", one.test.partition(",")[0].split(" of ")[0],
        )
        for name, one in found.metrics.items()
    ]  # fmt: skip
    lines += text.table(("  metric", "A", "B", "B less A [95 %]", "p", "seen from", "p from"), rows).splitlines()
    lines.append("  seen from: a smaller true difference would have been missed more often than once in five times")
    alike = found.samples - len(found.worse) - len(found.better)
    lines.append(
        f"  by {found.scored_by or 'score'} of each sample, B is worse in {len(found.worse):,}, better in "
        f"{len(found.better):,}, alike in {alike:,}"
    )
    for way, changes in (("worse", found.worse), ("better", found.better)):
        lines += [f"    {way}: {_told(change)}" for change in changes[:shown]]
        if shown and len(changes) > shown:
            lines.append(f"    ... and {len(changes) - shown:,} more {way}")
    lines.append(f"  they part at {found.parted}" if not found.parted.startswith("nowhere") else f"  {found.parted}")
    lines += [f"    {_line(f'{name}: {one} | {other}')}" for name, (one, other) in found.settings.items()]
    if a.spec.data == "miniature":
        lines.append(f"  {text.MINIATURE}")
    return "\n".join(lines)


def _named(run: Run) -> str:
    limit = f", at most {run.spec.limit} images" if run.spec.limit is not None else ""
    return _line(f"{run.spec.model} · {run.spec.protocol} · {run.id}{limit}")


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
    return _line(f"{change.a.sample.id} ({asked}): {100 * change.before:.0f} → {100 * change.after:.0f}; {wrote}")


def _line(said: str) -> str:
    """On one line, and nothing in it that a terminal would obey."""
    return "".join(sign if sign.isprintable() else " " for sign in said)


def _plain(line: str) -> str:
    """Nothing that a model wrote is markup."""
    kept = " ".join(_line(line).split())
    for sign in "\\`*_{}[]<>()#+!|~":
        kept = kept.replace(sign, f"\\{sign}")
    return kept.replace("&", "&amp;")
