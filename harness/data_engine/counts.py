"""What kept annotations amount to, in the shape of the paper's tables 2 and 3 and its figure 5.

All is counted in one pass over records, and takes the same memory for any number of them.  Images that a filter dropped
are not counted.  The paper does not name its tokeniser, so that of the counts is named beside them.

Source of PAPER: arXiv:2311.06242v1, section 5: table 2 (counts), table 3 (semantic elements), figure 5 (boxes).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.core import Box, Boxes, Size
from harness.data_engine.choose import label_of
from harness.data_engine.records import Annotation, Length, Record
from harness.data_engine.texts import text_of

KindOfText = Literal["text", "region-text", "text-phrase-region"]
LENGTHS: tuple[Length, ...] = ("brief", "detailed", "more_detailed")
ELEMENTS = ("objects", "attributes", "actions", "proper_nouns", "object_complexity", "action_complexity")
SIDE = 16  # cells of the map of centres on each side
SIZES = np.linspace(0, 1, 21)  # square root of a box's share of its image
ASPECTS = np.linspace(-4, 4, 33)  # logarithm to base 2 of width over height
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Tokeniser:
    """Counts the tokens of a text; `name` says how."""

    name: str
    count: Callable[[str], int]


WORDS = Tokeniser("words and punctuation marks", lambda text: len(_TOKEN.findall(text)))


@dataclass(frozen=True, slots=True)
class Row:
    """A row of table 2; None where the table has no number.

    `annotated` is the number of texts, or for region-text the number of images with such regions; `tokens` the mean of
    a text; `regions_each` the regions of one that is annotated; `region_tokens` the mean tokens of a region's text.
    The text of a region is its category in the row `category`, and in the row `brief` the text that was chosen for it,
    which may be its category: the paper's is a mixture too (section 5.2.1).
    """

    kind: KindOfText
    text: Length
    annotated: float
    tokens: float | None = None
    regions: float | None = None
    regions_each: float | None = None
    region_tokens: float | None = None


PAPER_IMAGES = 126e6
PAPER_ROWS = (
    Row("text", "brief", 235e6, 7.95),
    Row("text", "detailed", 126e6, 31.65),
    Row("text", "more_detailed", 126e6, 70.53),
    Row("region-text", "category", 126e6, None, 681e6, 5.42, 1.19),
    Row("region-text", "brief", 126e6, None, 681e6, 5.42, 2.55),
    Row("text-phrase-region", "brief", 235e6, 7.95, 1007e6, 4.27, 1.93),
    Row("text-phrase-region", "detailed", 126e6, 31.65, 1289e6, 10.25, 1.49),
    Row("text-phrase-region", "more_detailed", 126e6, 70.53, 1278e6, 10.17, 1.35),
)
PAPER_ELEMENTS: Mapping[str, tuple[float, float, float]] = {
    "objects": (3.23, 13.31, 28.06),
    "attributes": (2.80, 7.27, 16.25),
    "actions": (0.58, 4.21, 8.76),
    "proper_nouns": (1.10, 2.40, 2.41),
    "object_complexity": (2.80, 4.00, 4.02),
    "action_complexity": (1.14, 3.63, 4.38),
}
"""Means of brief, detailed and more detailed texts (LENGTHS)."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Table 3 of one length: mean measures of the texts that the stage `texts` measured; {} if it measured none."""

    length: Length
    texts: int
    measured: int
    means: Mapping[str, float]


@dataclass(slots=True)
class Shapes:
    """Figure 5 of one kind of boxes, as counts: `sizes` over SIZES, `aspects` over ASPECTS, `centres` (SIDE, SIDE).

    Sizes are square roots of a box's share of the image's area.  `centres` has rows from top to bottom.  Aspect ratios
    beyond the ends count in the last bins.
    """

    boxes: int = 0
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(SIZES) - 1, np.int64))
    aspects: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(ASPECTS) - 1, np.int64))
    centres: NDArray[np.int64] = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.int64))

    def add(self, box: Box, size: Size) -> None:
        """Counts the part of a box that is inside its image; a box without such a part is not counted."""
        left, top = max(0.0, box[0]), max(0.0, box[1])
        right, bottom = min(size.width, box[2]), min(size.height, box[3])
        if not (left < right and top < bottom):
            return
        width, height = right - left, bottom - top
        self.boxes += 1
        self.sizes[_bin(SIZES, math.sqrt(width * height / (size.width * size.height)))] += 1
        self.aspects[_bin(ASPECTS, math.log2(width / height))] += 1
        row = min(SIDE - 1, int(SIDE * (top + bottom) / 2 / size.height))
        self.centres[row, min(SIDE - 1, int(SIDE * (left + right) / 2 / size.width))] += 1


@dataclass(frozen=True, slots=True)
class Counts:
    """What is kept of an engine folder.

    `images` counts those that no filter dropped, `annotations` all that is kept of them.  `shapes` has "region" and
    "phrase".
    """

    tokeniser: str
    images: int
    annotations: int
    rows: tuple[Row, ...]
    elements: tuple[Elements, ...]
    shapes: Mapping[str, Shapes]


def count(records: Iterable[Record], tokeniser: Tokeniser = WORDS) -> Counts:
    """The counts of all records, in one pass."""
    work = _Work(tokeniser)
    for record in records:
        if not record.image.stage:
            work.add(record)
    return Counts(
        tokeniser=tokeniser.name,
        images=work.images,
        annotations=work.annotations,
        rows=tuple(work.rows()),
        elements=tuple(work.elements()),
        shapes=work.shapes,
    )


def _bin(edges: NDArray[np.float64], value: float) -> int:
    """The bin of a value; beyond the ends, the first or the last."""
    return int(np.clip(np.searchsorted(edges, value, side="right") - 1, 0, len(edges) - 2))


@dataclass(slots=True)
class _Sums:
    """Sums of a row of table 2."""

    annotated: int = 0
    tokens: int = 0
    regions: int = 0
    region_tokens: int = 0


class _Work:
    """The sums over the records so far."""

    def __init__(self, tokeniser: Tokeniser) -> None:
        self.count = tokeniser.count
        self.images = self.annotations = 0
        self.sums: dict[tuple[KindOfText, Length], _Sums] = {(row.kind, row.text): _Sums() for row in PAPER_ROWS}
        self.totals = {length: dict.fromkeys(ELEMENTS, 0.0) for length in LENGTHS}
        self.texts = dict.fromkeys(LENGTHS, 0)
        self.measured = dict.fromkeys(LENGTHS, 0)
        self.shapes = {"region": Shapes(), "phrase": Shapes()}

    def add(self, record: Record) -> None:
        kept = list(record.kept())
        self.images += 1
        self.annotations += len(kept)
        all_regions = {each.id for each in record.annotations if each.kind == "region"}
        phrases: dict[str, list[Boxes]] = {}
        for each in kept:
            if isinstance(each.value, Boxes) and each.kind in self.shapes:
                for box in each.value.boxes:
                    self.shapes[each.kind].add(box, record.image.size)
                if each.kind == "phrase":
                    phrases.setdefault(each.parents[0], []).append(each.value)
        texts = [each for each in kept if each.kind == "text"]
        for each in texts:
            if each.length in LENGTHS and not all_regions & set(each.parents):
                self._text(each, record.measures.get(each.id, {}), phrases.get(each.id, []))
        self._regions({each.id: each for each in kept if each.kind == "region"}, texts)

    def _text(self, each: Annotation, numbers: Mapping[str, float], phrases: list[Boxes]) -> None:
        tokens = self.count(text_of(each))
        sums = self.sums["text", each.length]
        sums.annotated += 1
        sums.tokens += tokens
        self.texts[each.length] += 1
        if all(name in numbers for name in ELEMENTS):
            self.measured[each.length] += 1
            for name in ELEMENTS:
                self.totals[each.length][name] += numbers[name]
        if any(value.boxes for value in phrases):
            sums = self.sums["text-phrase-region", each.length]
            sums.annotated += 1
            sums.tokens += tokens
            for value in phrases:
                sums.regions += len(value.boxes)
                sums.region_tokens += sum(map(self.count, value.labels))

    def _regions(self, regions: Mapping[str, Annotation], texts: list[Annotation]) -> None:
        """The row `category` has each region's label, else its category; `brief` each region's kept text, else that."""
        labels = {id_: label_of(region) for id_, region in regions.items() if label_of(region)}
        chosen = dict(labels)
        for each in texts:
            for id_ in regions.keys() & set(each.parents):
                chosen[id_] = text_of(each)
                if each.length == "category":
                    labels.setdefault(id_, text_of(each))
        rows: tuple[tuple[Length, list[str]], ...] = (
            ("category", list(labels.values())),
            ("brief", list(chosen.values())),
        )
        for length, said in rows:
            if said:
                sums = self.sums["region-text", length]
                sums.annotated += 1
                sums.regions += len(said)
                sums.region_tokens += sum(map(self.count, said))

    def rows(self) -> Iterator[Row]:
        for (kind, text), sums in self.sums.items():
            of_texts, of_regions = kind != "region-text", kind != "text"
            yield Row(
                kind, text, sums.annotated,
                _mean(sums.tokens, sums.annotated) if of_texts else None,
                sums.regions if of_regions else None,
                _mean(sums.regions, sums.annotated) if of_regions else None,
                _mean(sums.region_tokens, sums.regions) if of_regions else None,
            )  # fmt: skip

    def elements(self) -> Iterator[Elements]:
        for length, measured in self.measured.items():
            means = {name: total / measured for name, total in self.totals[length].items()} if measured else {}
            yield Elements(length, self.texts[length], measured, means)


def _mean(total: float, n: int) -> float | None:
    return total / n if n else None
