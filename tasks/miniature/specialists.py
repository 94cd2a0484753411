"""Simulated specialists: models of the embedded world that answer with the truth, spoilt by declared noise.

They exist to measure filters, because no data set says which error a model made.  The noise is a value, and part of the
fingerprint; no filter or threshold may read it.

Boxes: things are missed, small ones more often, and specialists share part of what is hard; categories are confused at
random and systematically; corners are moved; boxes are repeated; things are invented that often stand beside what is
there; scores overlap between right and wrong boxes, and are too high.
Texts: a thing is left out, has another colour, is counted wrongly or invented; or the text is not about the image.
Phrases: a phrase that names nothing gets a box.  Outlines: eroded, or leaked.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist

from harness.core import (
    Answer,
    Box,
    Boxes,
    Failure,
    Grounded,
    Kind,
    Polygons,
    Quads,
    Question,
    Text,
    Ticket,
    Value,
)  # fmt: skip
from harness.data_engine.records import digest
from harness.geometry.boxes import iou
from tasks.miniature.engine_world import Thing, Truth
from tasks.miniature.language import counted
from tasks.miniature.shapes import COLOURS, SEEN

ANSWERS_VERSION = 1  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset(
    {"detect", "find", "propose", "caption", "ground", "outline", "name", "describe", "ocr_regions"}
)
ALT_TEXTS = ("IMG_2034 final", "free shipping on all orders", "stock illustration download", "click to enlarge")
NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Shares of errors from 0 to 1, unless said otherwise.

    - `missed_small`, `missed`: of small and of large things; `shared` is the correlation of what specialists miss.
    - `confused`: given a random category.  `systematic`: pairs of categories, and `systematically` the share of things
      of the first that are called the second.
    - `jitter`: standard deviation of a corner, as a share of the side.
    - `repeated`: boxes that are given twice.  `invented`: the mean number of invented boxes in an image.
    - `right`, `wrong`: mean and standard deviation of the scores of things and of inventions, before they are held to
      0.01 to 0.99; `overconfident`: how far towards 1 they then move.
    - `omitted`, `recoloured`, `miscounted`, `imagined`: of a text's things; `unrelated`: of texts.
    - `baseless`: of phrases that name nothing, which get a box.  `eroded`, `leaked`: of outlines.
    """

    missed_small: float = 0.3
    missed: float = 0.1
    shared: float = 0.5
    confused: float = 0.08
    systematic: tuple[tuple[str, str], ...] = (("house", "boat"), ("cat", "fish"))
    systematically: float = 0.35
    jitter: float = 0.05
    repeated: float = 0.25
    invented: float = 0.8
    right: tuple[float, float] = (0.74, 0.22)
    wrong: tuple[float, float] = (0.06, 0.165)
    overconfident: float = 0.15
    omitted: float = 0.1
    recoloured: float = 0.08
    miscounted: float = 0.06
    imagined: float = 0.1
    unrelated: float = 0.05
    baseless: float = 0.4
    eroded: float = 0.08
    leaked: float = 0.08

    def scaled(self, factor: float) -> Noise:
        """The noise with every share of errors times `factor`, at most 0.95; scores stay as they are."""
        same = ("systematic", "shared", "right", "wrong", "overconfident")
        shares = {name: min(value * factor, 0.95) for name, value in asdict(self).items() if name not in same}
        return replace(self, **(shares | {"invented": self.invented * factor}))


class Simulated:
    """A specialist that knows the truth of some images.

    Answers are a function of the noise, the name and the image: two specialists of other names err independently,
    except for the things that are hard for all.
    """

    def __init__(self, truths: Mapping[str, Truth], noise: Noise, name: str) -> None:
        self._truths, self._noise, self._name = truths, noise, name

    @property
    def fingerprint(self) -> str:
        """The answers version, the name, and a digest of the noise."""
        return f"simulated:v{ANSWERS_VERSION}:{self._name}:{digest(asdict(self._noise))}"

    @property
    def provenance(self) -> dict[str, object]:
        """The noise."""
        return {"noise": asdict(self._noise)}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """One answer for each question, in order; a Failure for an image that is not of the embedded world."""
        for ticket, question in questions:
            truth = self._truths.get(question.image_name)
            if truth is None:
                yield ticket, Failure(f"{question.image_name} is no scene of the embedded world")
                continue
            value = self._value(question, truth)
            if value is None:
                yield ticket, Failure(f"simulated specialists answer no question of kind {question.kind}")
            else:
                yield ticket, Answer((repr(value),), value)

    def _value(self, question: Question, truth: Truth) -> Value | None:
        about = f"{question.image_name} {question.text} {question.region}"
        draw = random.Random(f"{self._name} {question.kind} {about}")
        if question.kind in ("detect", "find"):
            return self._boxes(draw, question.image_name, truth)
        if question.kind == "propose":
            boxes = self._boxes(draw, question.image_name, truth)
            return replace(boxes, labels=())
        if question.kind == "caption":
            return Text((self._caption(draw, truth),))
        if question.kind == "ground":
            return Grounded(tuple(self._grounded(draw, phrase.text, truth) for phrase in question.phrases))
        if question.kind == "ocr_regions":
            signs = [thing for thing in truth.things if thing.word]
            quads = tuple((t.quad[0], t.quad[1], t.quad[2], t.quad[3]) for t in signs)
            return Quads(quads, tuple(thing.word for thing in signs))
        if question.kind in ("outline", "name", "describe") and question.region is not None:
            box = question.region
            thing = max(truth.things, key=lambda thing: iou(thing.box, box))
            if question.kind == "describe":
                return Text((self._caption(draw, replace(truth, things=(thing,))),))
            return self._outline(draw, thing) if question.kind == "outline" else Text((thing.category,))
        return None

    # ------------------------------------------------------------------------ boxes

    def _boxes(self, draw: random.Random, image: str, truth: Truth) -> Boxes:
        noise = self._noise
        found: list[tuple[Box, str, float]] = []
        for place, thing in enumerate(truth.things):
            if self._is_missed(draw, image, place, thing):
                continue
            label = self._label(draw, thing.category)
            box = self._moved(draw, thing.box, noise.jitter)
            score = self._score(draw, noise.right)
            found.append((box, label, score))
            if draw.random() < noise.repeated:
                found.append((self._moved(draw, box, noise.jitter), label, 0.9 * score))
        for _ in range(_poisson(draw, noise.invented)):
            found.append((self._invented(draw, truth), self._beside(draw, truth), self._score(draw, noise.wrong)))
        found.sort(key=lambda each: -each[2])
        boxes, labels, scores = zip(*found, strict=True) if found else ((), (), ())
        return Boxes(tuple(boxes), tuple(labels), tuple(scores))

    def _is_missed(self, draw: random.Random, image: str, place: int, thing: Thing) -> bool:
        """A Gaussian copula: the difficulty of a thing is partly the same for all specialists."""
        hard = random.Random(f"hard {image} {place}").random()
        shared, own = (NORMAL.inv_cdf(min(max(each, 1e-9), 1 - 1e-9)) for each in (hard, draw.random()))
        difficulty = self._noise.shared**0.5 * shared + (1 - self._noise.shared) ** 0.5 * own
        return NORMAL.cdf(difficulty) < (self._noise.missed if thing.large else self._noise.missed_small)

    def _label(self, draw: random.Random, category: str) -> str:
        confused = dict(self._noise.systematic).get(category)
        if confused is not None and draw.random() < self._noise.systematically:
            return confused
        return draw.choice(SEEN) if draw.random() < self._noise.confused else category

    def _score(self, draw: random.Random, distribution: tuple[float, float]) -> float:
        mean, deviation = distribution
        score = mean + deviation * NORMAL.inv_cdf(min(max(draw.random(), 1e-9), 1 - 1e-9))
        score = min(max(score, 0.01), 0.99)
        return round(score + self._noise.overconfident * (1 - score), 4)

    @staticmethod
    def _moved(draw: random.Random, box: Box, jitter: float) -> Box:
        width, height = box[2] - box[0], box[3] - box[1]
        left, top, right, bottom = (
            corner + jitter * side * NORMAL.inv_cdf(min(max(draw.random(), 1e-9), 1 - 1e-9))
            for corner, side in zip(box, (width, height, width, height), strict=True)
        )
        return (min(left, right - 1), min(top, bottom - 1), right, bottom)

    @staticmethod
    def _invented(draw: random.Random, truth: Truth) -> Box:
        width, height = truth.size
        side = draw.uniform(0.2, 0.5) * min(truth.size)
        left, top = draw.uniform(0, width - side), draw.uniform(0, height - side)
        return (left, top, left + side, top + side)

    @staticmethod
    def _beside(draw: random.Random, truth: Truth) -> str:
        """A category that fits the scene: half of the time one that is there."""
        there = [thing.category for thing in truth.things]
        return draw.choice(there) if there and draw.random() < 0.5 else draw.choice(SEEN)

    # ------------------------------------------------------------------------ texts, phrases and outlines

    def _caption(self, draw: random.Random, truth: Truth) -> str:
        noise = self._noise
        if draw.random() < noise.unrelated:
            return draw.choice(ALT_TEXTS)
        groups: dict[tuple[str, str], int] = {}
        for thing in truth.things:
            if draw.random() >= noise.omitted:
                colour = draw.choice(tuple(COLOURS)) if draw.random() < noise.recoloured else thing.colour
                groups[colour, thing.category] = groups.get((colour, thing.category), 0) + 1
        if draw.random() < noise.imagined or not groups:
            groups.setdefault((draw.choice(tuple(COLOURS)), self._beside(draw, truth)), 1)
        parts = [
            counted(min(count + (draw.random() < noise.miscounted), 5), colour, category)
            for (colour, category), count in groups.items()
        ]
        return ", ".join(parts[:-1]) + (" and " if parts[1:] else "") + parts[-1]

    def _grounded(self, draw: random.Random, phrase: str, truth: Truth) -> tuple[Box, ...]:
        """The boxes of the things whose category, and colour if one is named, are among the phrase's words."""
        said = phrase.lower().split()
        colours = [word for word in said if word in COLOURS]
        fits = [
            thing
            for thing in truth.things
            if any(word.rstrip("s") == thing.category or word == thing.category for word in said)
            and (not colours or thing.colour in colours)
        ]
        if not fits:
            return (self._invented(draw, truth),) if draw.random() < self._noise.baseless else ()
        return tuple(self._moved(draw, thing.box, self._noise.jitter) for thing in fits)

    def _outline(self, draw: random.Random, thing: Thing) -> Polygons:
        chance = draw.random()
        noise = self._noise
        factor = 0.7 if chance < noise.eroded else 1.5 if chance < noise.eroded + noise.leaked else 1.0
        x, y = (thing.box[0] + thing.box[2]) / 2, (thing.box[1] + thing.box[3]) / 2
        rings = (tuple((x + factor * (a - x), y + factor * (b - y)) for a, b in ring) for ring in thing.rings)
        return Polygons(tuple(rings))


def _poisson(draw: random.Random, mean: float) -> int:
    """A Poisson number: how many exponential waits fit in `mean`."""
    count, waited = 0, draw.expovariate(1.0)
    while waited < mean:
        count += 1
        waited += draw.expovariate(1.0)
    return count


SPECIALISTS: Mapping[str, Noise] = {
    "simulated-detector": Noise(),
    "simulated-detector-2": Noise(
        systematic=(("car", "boat"), ("tree", "umbrella")), right=(0.64, 0.2), wrong=(0.1, 0.165)
    ),
    "simulated-captioner": Noise(),
    "simulated-grounder": Noise(),
    "simulated-segmenter": Noise(),
    "simulated-reader": Noise(),
}
"""The specialists that recipes can name, with their noise."""
