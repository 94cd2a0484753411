"""The report of an engine folder: what is kept beside the paper's figures, and what became of the rest.

    counts, elements      the paper's tables 2 and 3 beside ours
    waterfall, reasons    from raw to kept by kind and origin; what was dropped, by rule
    agreement, witnesses  how far origins confirm each other
    cost                  a million images at the rates of this folder
    rounds, churn         which rounds were promoted, and what each changed
    boxes.svg             the paper's figure 5: sizes, aspect ratios and centres of boxes
    waterfall.svg         the waterfall as bars

Every number of a figure is in `figures.csv` too.  The same data give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.data_engine.costs import Cost
from harness.data_engine.counts import ELEMENTS, PAPER_ELEMENTS, PAPER_IMAGES, PAPER_ROWS, Counts, Row
from harness.data_engine.round_states import RoundState
from harness.data_engine.waterfall import Waterfall
from harness.report import engine_figures, engine_rounds
from harness.report.tables import Table, comma_separated, markdown, template
from harness.sinks import csv_text

NONE = "–"
LENGTH_NAMES = {"brief": "brief", "detailed": "detailed", "more_detailed": "more detailed", "category": "category"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """What is shown of an engine folder.

    `name` is its heading.  `parser` names what counted the semantic elements; "" if nothing did.
    """

    name: str
    counts: Counts
    waterfall: Waterfall
    costs: Sequence[Cost] = ()
    parser: str = ""
    rounds: Sequence[RoundState] = ()


def write(report: EngineReport, folder: Path) -> Path:
    """Writes each table as .md and .csv, each figure as .svg and .png, `figures.csv` and a page; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = tables(report)
    for table in shown:
        (folder / f"{table.key}.md").write_text(markdown(table), encoding="utf-8")
        (folder / f"{table.key}.csv").write_text(comma_separated(table), encoding="utf-8")
    numbers = engine_figures.plotted(report.counts, report.waterfall)
    (folder / "figures.csv").write_text(csv_text(list(numbers)), encoding="utf-8")
    drawn = engine_figures.draw(report.counts, report.waterfall, folder)
    page = folder / "index.html"
    page.write_text(template("engine.html").render(name=report.name, tables=shown, figures=drawn), encoding="utf-8")
    return page


# ---------------------------------------------------------------------------- tables


def tables(report: EngineReport) -> list[Table]:
    """The tables of a report; one without rows is left out."""
    shown = [
        _counts(report.counts), _elements(report), _waterfall(report.waterfall), _reasons(report.waterfall),
        _agreement(report.waterfall), _witnesses(report.waterfall), _cost(report.costs),
        *engine_rounds.tables(report.rounds),
    ]  # fmt: skip
    return [table for table in shown if table.rows]


def _counts(counts: Counts) -> Table:
    head = [
        "annotation", "text", "annotated", "paper", "tokens", "paper", "regions", "paper", "regions each", "paper",
        "tokens a region", "paper",
    ]  # fmt: skip
    ours = {(row.kind, row.text): row for row in counts.rows}
    rows = []
    for theirs in PAPER_ROWS:
        row = ours[theirs.kind, theirs.text]
        rows.append([
            theirs.kind, LENGTH_NAMES[theirs.text], _many(row.annotated), _many(theirs.annotated),
            *_pair(row, theirs, "tokens"), _many(row.regions), _many(theirs.regions),
            *_pair(row, theirs, "regions_each"), *_pair(row, theirs, "region_tokens"),
        ])  # fmt: skip
    each = f"{counts.annotations / counts.images:.1f}" if counts.images else NONE
    notes = [
        f"{counts.images:,} images with {counts.annotations:,} annotations ({each} an image); the paper has "
        f"{PAPER_IMAGES / 1e6:.0f} M images and 5.4 B annotations (43 an image)",
        f"tokens: {counts.tokeniser}; the paper does not name its tokeniser",
        "annotated: texts, or images for region-text; the row region-text brief has the text that was chosen for each "
        "region, which may be its category, as in the paper",
    ]
    return Table("counts", "Annotations beside the paper's (its table 2)", head, rows, 2, notes)


def _pair(row: Row, theirs: Row, name: str) -> list[str]:
    return [_decimal(getattr(row, name)), _decimal(getattr(theirs, name))]


def _elements(report: EngineReport) -> Table:
    found = report.counts.elements
    head = ["mean of a text", *(cell for each in found for cell in (LENGTH_NAMES[each.length], "paper"))]
    rows = [
        [
            name.replace("_", " "),
            *(
                cell
                for each, theirs in zip(found, PAPER_ELEMENTS[name], strict=True)
                for cell in (_decimal(each.means.get(name)), _decimal(theirs))
            ),
        ]
        for name in ELEMENTS
        if any(each.measured for each in found)
    ]
    notes = [f"{LENGTH_NAMES[each.length]}: {each.measured:,} of {each.texts:,} texts were parsed" for each in found]
    notes += [f"parser: {report.parser}"] if report.parser else []
    notes += [
        "complexity: degree in the dependency tree, averaged over the objects or actions of a text (0 without any), "
        "then over texts; the paper publishes neither its rules on tags nor how it averages"
    ]
    return Table("elements", "Semantic elements beside the paper's (its table 3)", head, rows, 1, notes)


def _waterfall(flow: Waterfall) -> Table:
    head = ["kind", "origin", "raw", "kept", "kept, %", "dropped", "merged", "superseded"]
    rows = []
    for each in flow.flows:
        by_status = {status: sum(n for s, _, n in each.reasons if s == status) for status in head[5:]}
        share = f"{100 * each.kept / each.raw:.1f}"
        rows.append(
            [each.kind, each.origin, f"{each.raw:,}", f"{each.kept:,}", share, *(f"{n:,}" for n in by_status.values())]
        )
    notes = [f"{flow.images:,} images; {sum(flow.dropped_images.values()):,} of them were dropped"]
    notes += [f"images dropped by {stage}: {n:,}" for stage, n in flow.dropped_images.items()]
    return Table("waterfall", "From raw to kept", head, rows, 2, notes)


def _reasons(flow: Waterfall) -> Table:
    rows = [
        [each.kind, each.origin, status, rule, f"{n:,}", f"{100 * n / each.raw:.1f}"]
        for each in flow.flows
        for status, rule, n in each.reasons
    ]
    return Table(
        "reasons", "What is not kept, by rule", ["kind", "origin", "status", "rule", "count", "of raw, %"], rows, 4
    )


def _agreement(flow: Waterfall) -> Table:
    rows = [
        [
            each.one, each.other, f"{each.images:,}", f"{each.regions:,}",
            *(f"{100 * n / each.regions:.1f}" if each.regions else NONE for n in (each.located, each.same)),
        ]
        for each in flow.agreements
    ]  # fmt: skip
    notes = [
        "raw regions, on images where both origins gave some; located: IoU of 0.5 or more; same: of that label too"
    ]
    head = ["regions of", "confirmed by", "images", "regions", "located, %", "same, %"]
    return Table("agreement", "Agreement of origins", head, rows, 2, notes)


def _witnesses(flow: Waterfall) -> Table:
    total = sum(flow.witnesses.values())
    rows = [[str(witnesses), f"{n:,}", f"{100 * n / total:.1f}"] for witnesses, n in flow.witnesses.items()]
    return Table("witnesses", "Kept regions by the number of origins that say them", ["origins", "regions", "%"], rows)


def _cost(costs: Sequence[Cost]) -> Table:
    rows = [
        [each.kind, each.origin, f"{each.images:,}", f"{each.questions:,}", f"{each.seconds:,.1f}",
         _decimal(each.images_per_second), _decimal(each.days_per_million),
         _decimal(each.days_per_million, PAPER_IMAGES / 1e6), each.device or NONE]
        for each in costs
    ]  # fmt: skip
    head = [
        "kind", "origin", "images", "questions", "seconds", "images/s", "days a million", "days for the paper's 126 M",
        "device",
    ]  # fmt: skip
    total = sum(each.days_per_million or 0.0 for each in costs)
    notes = [
        f"all kinds together: {total:,.2f} days of one device for a million images",
        "seconds are of the clock, from the first question of a shard to its last answer, on each device of a cluster; "
        "those of runs that were killed are not counted",
    ]
    return Table("cost", "Cost of asking, in days of one device", head, rows, 2, notes)


def _decimal(value: float | None, times: float = 1.0) -> str:
    return NONE if value is None else f"{value * times:,.2f}"


def _many(value: float | None) -> str:
    """A count; in millions from a million on, as the paper writes it."""
    return NONE if value is None else f"{value / 1e6:,.0f} M" if value >= 1e6 else f"{value:,.0f}"
