"""What the stages `outlines` and `choice` are worth, on the embedded scenes, whose truth is known.

    python -m benchmarks.engine_stages [--to ENGINE] [--scenes 120]

The recipe `nano` annotates the scenes: boxes, texts of regions and outlines are of simulated specialists with declared
noise; clip-nano compares texts with crops.  No stage reads the noise, and no setting was chosen on these scenes.

outlines  right: an IoU of 0.75 with the outline of the thing in the box that was asked about
texts     of regions, right: they name that thing and its colour, and nothing else
names     of kept regions: the label, or the text that the choice left, names the thing

Intervals are by image.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.core import Boxes, Estimate, Polygons, Size
from harness.data_engine.choose import label_of
from harness.data_engine.records import Annotation, Record
from harness.data_engine.shards import Engine
from harness.data_engine.texts import text_of
from harness.evaluation.engine import annotate
from harness.geometry import masks
from harness.geometry.boxes import iou
from harness.statistics import interval
from tasks import miniature
from tasks.miniature.engine_world import Thing, Truth, truths_of

RIGHT = 0.75  # IoU of outlines
SAME = 0.5  # IoU of a region with its thing

Table = NDArray[np.float64]  # (images, 4): how many are right and kept, right, kept, and all


def names(words: str, thing: Thing) -> bool:
    """Whether a text names the category of a thing."""
    return any(word in (thing.category, f"{thing.category}s") for word in words.split())


def is_outline(value: object, thing: Thing, size: Size) -> bool:
    """Whether an outline is that of a thing."""
    if not isinstance(value, Polygons):
        return False
    both, either = masks.overlap(masks.rasterise(value, size), masks.rasterise(Polygons(thing.rings), size))
    return both >= RIGHT * either > 0


def judged(record: Record, truth: Truth) -> Iterator[tuple[str, bool, bool]]:
    """Of each outline, text of a region, and name of a kept region: what it is, and whether it is right and kept."""
    regions = {each.id: each for each in record.annotations if each.kind == "region"}
    kept = {each.id for each in record.kept()}

    def thing_of(region: Annotation) -> Thing | None:
        box = region.value.boxes[0] if isinstance(region.value, Boxes) else (0.0, 0.0, 0.0, 0.0)
        thing = max(truth.things, key=lambda thing: iou(thing.box, box))
        return thing if iou(thing.box, box) >= SAME else None

    chosen = {}
    for each in record.annotations:
        region = next((regions[parent] for parent in each.parents if parent in regions), None)
        if region is None or each.kind not in ("outline", "text"):
            continue
        thing = thing_of(region)
        if each.kind == "outline":
            right = thing is not None and is_outline(each.value, thing, truth.size)
            yield "outlines", right, each.id in kept
            continue
        said = text_of(each)
        if each.length == "brief":
            right = thing is not None and names(said, thing) and thing.colour in said.split() and " and " not in said
            yield "texts", right, each.id in kept
        if each.id in kept:
            chosen[region.id] = said
    for region in record.kept("region"):
        thing = thing_of(region)
        yield "labels", thing is not None and names(label_of(region), thing), True
        yield "names", thing is not None and names(chosen.get(region.id, label_of(region)), thing), True


def counted(engine: Engine, truths: Mapping[str, Truth]) -> dict[str, Table]:
    """The counts of each image."""
    tables: dict[str, list[list[int]]] = {}
    for place, record in enumerate(engine.records()):
        for what, right, kept in judged(record, truths[record.image.reference]):
            rows = tables.setdefault(what, [[0] * 4 for _ in range(engine.count)])
            for column, holds in enumerate((right and kept, right, kept, True)):
                rows[place][column] += holds
    return {what: np.array(rows, np.float64) for what, rows in tables.items()}


def share(table: Table, part: Callable[[Table], Table], whole: Callable[[Table], Table]) -> Estimate:
    """A share in percent, with its interval by image."""
    return interval(
        lambda w: float(100 * (w @ part(table)) / max(1e-9, w @ whole(table))), len(table), n=len(table), seed=0
    )


def told(tables: Mapping[str, Table]) -> Iterator[tuple[str, Estimate]]:
    """Every number by name."""
    for what in ("outlines", "texts"):
        table = tables[what]
        yield f"{what}: right, of all", share(table, lambda t: t[:, 1], lambda t: t[:, 3])
        yield f"{what}: right, of the kept", share(table, lambda t: t[:, 0], lambda t: t[:, 2])
        yield f"{what}: kept, of the right", share(table, lambda t: t[:, 0], lambda t: t[:, 1])
        yield (
            f"{what}: wrong, of the not kept",
            share(table, lambda t: t[:, 3] - t[:, 2] - t[:, 1] + t[:, 0], lambda t: t[:, 3] - t[:, 2]),
        )
    for what in ("labels", "names"):
        yield f"{what} of regions: right", share(tables[what], lambda t: t[:, 1], lambda t: t[:, 3])


def main() -> None:
    """Annotates, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, help="folder of the engine, made or resumed [default: a temporary one]")
    parser.add_argument("--scenes", type=int, default=120, help="number of scenes [default: 120]")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        to = given.to or Path(temporary) / "engine"
        engine = annotate("miniature", to, recipe="nano", limit=given.scenes, device="cpu").engine
        for name, estimate in told(counted(engine, truths_of(miniature.ensure_engine()))):
            print(f"{name:<32} {estimate.value:5.1f} [{estimate.low:.1f}, {estimate.high:.1f}]")


if __name__ == "__main__":
    main()
