"""Scores of captions as a task has them: for each caption by key, the metrics of the corpus, and other scorers.

`METRICS` are computed from the scores of `marks`; `VARIANTS` are pycocoevalcap's own pipeline, METEOR and SPICE.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import (
    Answer,
    Biased,
    Corpus,
    Fixed,
    Metric,
    Row,
    Sample,
    Score,
    Statistic,
    Task,
    Text,
    Variant,
    Weights,
)
from harness.errors import ResourceError
from harness.metrics import captions as metrics
from harness.metrics.reduce import PERCENT, PairedMetric, clusters_of, mean, mean_where_defined

log = logging.getLogger(__name__)


def score(sample: Sample[Text], answer: Answer) -> Score:
    """A score without values, since `marks` computes them over all captions together."""
    return Score({}, readable=isinstance(answer.value, Text))


def caption_of(row: Row[Text]) -> str:
    """The caption to score; empty where the answer is unparsable."""
    return row.answer.value.texts[0] if isinstance(row.answer.value, Text) else ""


def references_of(row: Row[Text]) -> tuple[str, ...]:
    """The reference captions of an image; ValueError where there are none."""
    if row.sample.target is None:
        raise ValueError(f"sample {row.sample.id} has no reference captions")
    return row.sample.target.texts


def marks(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    """For each caption: `cider` (0 to 10; NaN for a single image), `rouge_l` (0 to 1), and the counts for BLEU."""
    return _by_caption(metrics.mark([caption_of(row) for row in rows], [references_of(row) for row in rows]))


def official_marks(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    """The same as `marks` by pycocoevalcap's own pipeline; ResourceError where there is no Java."""
    from harness.metrics import official_captions

    candidates, references = [caption_of(row) for row in rows], [references_of(row) for row in rows]
    return _by_caption(official_captions.mark(candidates, references))


def with_meteor(task: Task[Text], *, needed: bool = True) -> Task[Text]:
    """The task with METEOR as well; the METEOR program starts to load at once.

    ResourceError where there is no Java or the program fails.  Where METEOR is not `needed`, that is a warning, and the
    other metrics are computed.
    """
    from harness.metrics import meteor

    program = meteor.kept()
    try:
        program.start()
    except ResourceError as error:
        if needed:
            raise
        log.warning("no METEOR: %s", error)
        return task

    def scores(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
        try:
            counts = program.counts([caption_of(row) for row in rows], [references_of(row) for row in rows])
        except ResourceError as error:
            if needed:
                raise
            log.warning("no METEOR: %s", error)
            return [{} for _ in rows]
        values = meteor.score(counts).tolist()
        parts = [dict(zip(METEOR_COUNTS, row, strict=True)) for row in counts.tolist()]
        return [{"meteor": value, **part} for value, part in zip(values, parts, strict=True)]

    return with_scores(task, scores, METEOR)


def with_spice(task: Task[Text]) -> Task[Text]:
    """The task with SPICE as well; ResourceError where there is no Java, or Stanford's models are not in place."""
    from harness.metrics import official_captions

    official_captions.require_spice()

    def scores(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
        values = official_captions.spice([caption_of(row) for row in rows], [references_of(row) for row in rows])
        return [{"spice": value} for value in values.tolist()]

    return with_scores(task, scores, SPICE)


def with_scores(
    task: Task[Text],
    scores: Callable[[Sequence[Row[Text]]], Sequence[Mapping[str, float]]],
    more: Mapping[str, Metric],
) -> Task[Text]:
    """The task with further corpus scores and the metrics that need them."""
    before = task.corpus

    def all_scores(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
        earlier = before.scores(rows) if before is not None else [{} for _ in rows]
        return [{**values, **others} for values, others in zip(earlier, scores(rows), strict=True)]

    return replace(task, corpus=Corpus(all_scores), metrics={**task.metrics, **more})


def _by_caption(scores: metrics.CaptionScores) -> list[dict[str, float]]:
    """The scores of each caption by key."""
    rows = []
    for place in range(len(scores.cider)):
        bleu = {f"correct {n + 1}": float(scores.correct[place, n]) for n in range(4)}
        bleu |= {f"guessed {n + 1}": float(scores.guessed[place, n]) for n in range(4)}
        lengths = {"length": float(scores.length[place]), "reference length": float(scores.reference_length[place])}
        values = {"cider": float(scores.cider[place]), "rouge_l": float(scores.rouge_l[place])}
        rows.append({**values, **bleu, **lengths})
    return rows


@dataclass(frozen=True, slots=True)
class Bleu:
    """BLEU of the corpus for n-grams of 1 to `length` words, in percent, from sums over images."""

    length: int

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        sums = _sums(rows, BLEU_COUNTS)

        def statistic(weights: Weights) -> float:
            total = sums @ weights
            bleu = metrics.corpus_bleu(total[:4], total[4:8], float(total[8]), float(total[9]))
            return PERCENT * bleu[self.length - 1]

        return statistic


@dataclass(frozen=True, slots=True)
class Meteor:
    """METEOR of the corpus in percent, from sums over images; NaN where the rows have no METEOR counts.

    `suffix` ends the names of the counts.
    """

    suffix: str = ""

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        from harness.metrics import meteor

        names = [f"{name}{self.suffix}" for name in METEOR_COUNTS]
        if names[0] not in rows[0].score.values:
            return Fixed(math.nan)
        sums = _sums(rows, names)
        return lambda weights: PERCENT * float(meteor.score(sums @ weights))


@dataclass(frozen=True, slots=True)
class Cider:
    """CIDEr with the document frequencies of the weighted set, where an image of weight 2 counts as two images.

    An image that is drawn twice makes its own words more frequent, so resamples are lower than the number itself.  The
    rows must be all images of the split, since a part of them has other document frequencies.
    """

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        corpus = metrics.copies([caption_of(row) for row in rows], [references_of(row) for row in rows])
        clusters = np.array(clusters_of(rows))
        return Biased(lambda weights: PERCENT * corpus.cider(weights[clusters]))


BLEU_COUNTS = (*(f"{name} {n}" for name in ("correct", "guessed") for n in range(1, 5)), "length", "reference length")
METEOR_COUNTS = tuple(f"meteor {place}" for place in range(23))


def _sums(rows: Sequence[Row[Any]], keys: Sequence[str]) -> NDArray[np.float64]:
    """(keys, clusters): the sum of each score over each cluster."""
    table = np.array([[row.score.values[key] for key in keys] for row in rows])
    clusters = clusters_of(rows)
    return np.stack([np.bincount(clusters, column) for column in table.T])


CIDER = mean_where_defined("cider")  # with the document frequencies of the full split
METEOR: Mapping[str, Metric] = {"METEOR": Meteor()}
SPICE: Mapping[str, Metric] = {"SPICE": mean_where_defined("spice")}
METRICS: Mapping[str, Metric] = {
    "CIDEr": PairedMetric(CIDER, Cider()),
    **{f"BLEU-{n}": Bleu(n) for n in range(1, 5)},
    "ROUGE-L": mean("rouge_l"),
}
VARIANTS: Mapping[str, Variant[Text]] = {
    "official": Variant(lambda task: replace(task, corpus=Corpus(official_marks))),
    "meteor": Variant(with_meteor, METEOR),
    "meteor if it runs": Variant(partial(with_meteor, needed=False)),
    "spice": Variant(with_spice, SPICE),
}
