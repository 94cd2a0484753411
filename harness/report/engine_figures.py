"""The figures of an engine folder: the paper's figure 5, and the waterfall as bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data_engine.counts import ASPECTS, SIZES, Counts, Shapes
from harness.data_engine.waterfall import Waterfall
from harness.report.canvas import STYLE, FigureFile
from harness.report.speed import COLOURS
from harness.sinks import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FADED = "#bbbbbb"
BARS = 18  # bars in the figure of the waterfall; the table has all
KIND_NAMES = {"region": "region-text", "phrase": "text-phrase-region"}


def draw(counts: Counts, flow: Waterfall, folder: Path) -> list[FigureFile]:
    """Draws the figures that have data, as SVG and PNG."""
    from matplotlib import rc_context

    drawn = []
    with rc_context({**STYLE, "svg.hashsalt": "engine"}):
        if any(shapes.boxes for shapes in counts.shapes.values()):
            drawn.append(_boxes(counts, folder))
        if flow.flows:
            drawn.append(_bars(flow, folder))
    return drawn


def _boxes(counts: Counts, folder: Path) -> FigureFile:
    """Sizes and aspect ratios as lines of both kinds, and a map of the centres of each kind."""
    from matplotlib.figure import Figure

    shown = {kind: shapes for kind, shapes in counts.shapes.items() if shapes.boxes}
    figure = Figure(figsize=(6 + 2.4 * len(shown), 2.9), layout="constrained")
    sizes, aspects, *maps = figure.subplots(1, 2 + len(shown))
    for (kind, shapes), colour in zip(shown.items(), COLOURS, strict=False):
        name = f"{KIND_NAMES[kind]} ({shapes.boxes:,} boxes)"
        sizes.stairs(100 * shapes.sizes / shapes.boxes, SIZES, color=colour, label=name, linewidth=1.4)
        aspects.stairs(100 * shapes.aspects / shapes.boxes, ASPECTS, color=colour, linewidth=1.4)
    sizes.set(xlabel="√(area of box / area of image)", ylabel="boxes, %", title="size", xlim=(0, 1))
    aspects.set(xlabel="log₂(width / height)", ylabel="boxes, %", title="aspect ratio", xlim=(-4, 4))
    for axes, (kind, shapes) in zip(maps, shown.items(), strict=True):
        axes.imshow(100 * shapes.centres / shapes.boxes, cmap="viridis", extent=(0, 1, 1, 0), vmin=0)
        axes.set(
            xlabel="x / width",
            ylabel="y / height",
            title=f"centres, {KIND_NAMES[kind]}",
            xticks=(0, 0.5, 1),
            yticks=(0, 0.5, 1),
        )
    figure.legend(*sizes.get_legend_handles_labels(), ncols=2, frameon=False, loc="outside lower center")
    return _save(
        figure, folder, "boxes", "Boxes: size, aspect ratio and centres",
        "The paper's figure 5 has more small boxes in region-text, about uniform sizes in text-phrase-region, "
        "symmetric logarithms of aspect ratios, and centres near the middle.",
    )  # fmt: skip


def _bars(flow: Waterfall, folder: Path) -> FigureFile:
    """A bar for each kind and origin: kept, merged or superseded, and dropped, as shares of raw."""
    from matplotlib.figure import Figure

    flows = sorted(flow.flows, key=lambda each: (-each.raw, each.kind, each.origin))[:BARS]
    figure = Figure(figsize=(7.5, 1.3 + 0.34 * len(flows)), layout="constrained")
    axes = figure.subplots()
    for place, each in enumerate(flows):
        dropped = sum(n for status, _, n in each.reasons if status == "dropped")
        parts = (("kept", each.kept), ("merged or superseded", each.raw - each.kept - dropped), ("dropped", dropped))
        left = 0.0
        for (name, n), colour in zip(parts, (COLOURS[0], COLOURS[2], FADED), strict=True):
            width = 100 * n / each.raw
            axes.barh(place, width, left=left, color=colour, label=name if place == 0 else None, height=0.7)
            left += width
        axes.text(101, place, f"{each.kept:,} of {each.raw:,}", va="center", fontsize=7)
    axes.set_yticks(range(len(flows)), [label(f"{each.kind}, {each.origin}") for each in flows], fontsize=7)
    axes.invert_yaxis()
    axes.spines["bottom"].set_bounds(0, 100)
    axes.set(xlim=(0, 122), xlabel="of raw annotations, %", xticks=range(0, 101, 20))
    figure.legend(*axes.get_legend_handles_labels(), ncols=3, frameon=False, loc="outside lower center")
    caption = "What became of the annotations of each kind and origin; the number kept and the number given."
    return _save(figure, folder, "waterfall", "From raw to kept", caption)


def _save(figure: Figure, folder: Path, name: str, title: str, caption: str) -> FigureFile:
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
    return FigureFile(name, title, caption)


def plotted(counts: Counts, flow: Waterfall) -> Iterator[Sequence[object]]:
    """The rows of `figures.csv`: every number of both figures, as counts."""
    yield "figure", "kind", "name", "from", "to", "count"
    for kind, shapes in counts.shapes.items():
        yield from _histograms(kind, shapes)
    for each in flow.flows:
        yield "waterfall", each.kind, f"{each.origin}: raw", "", "", each.raw
        yield "waterfall", each.kind, f"{each.origin}: kept", "", "", each.kept
        for status, rule, n in each.reasons:
            yield "waterfall", each.kind, f"{each.origin}: {status} by {rule}", "", "", n


def _histograms(kind: str, shapes: Shapes) -> Iterator[Sequence[object]]:
    for name, edges, bins in (("size", SIZES, shapes.sizes), ("log2 aspect ratio", ASPECTS, shapes.aspects)):
        for low, high, n in zip(edges[:-1], edges[1:], bins, strict=True):
            yield "boxes", kind, name, f"{low:.4g}", f"{high:.4g}", int(n)
    for row, cells in enumerate(shapes.centres):
        for column, n in enumerate(cells):
            yield "boxes", kind, f"centre, row {row}", column, column + 1, int(n)
