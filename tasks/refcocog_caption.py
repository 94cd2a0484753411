"""RefCOCOg, generation: a model describes the object in a box so that it can be told from others.

Each object (a ref of the toolkit) is a sample, and all its sentences are its references, as in the refer toolkit's
evaluator.  The metrics are those of captions, and so is what an unparsable answer counts.

GLaMM, Osprey and others report METEOR and CIDEr over sentences instead, since they use MDETR's annotations: each
sentence is a sample with one reference, and an object with two sentences counts twice.  The metrics "by sentence" are
these, of the same answers.  (Their models draw such an object's answer twice where they sample.)

Intervals resample images.  The sentences are the toolkit's `sent`, and the boxes are those of `refcocog`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from harness.core import Corpus, FileNeed, Metric, Question, Row, Sample, Source, Statistic, Task, Text, Variant
from harness.data import refer
from harness.errors import DataError
from harness.metrics import caption_scores as captions
from harness.metrics.reduce import PairedMetric, ratio_where_defined

ORIGIN = f"RefCOCOg of the refer toolkit, {refer.ORIGIN}"
BY_SENTENCE = " by sentence"  # ends the names of metrics and scores
Scorer = Callable[[Sequence[Row[Text]]], Sequence[Mapping[str, float]]]


def load(source: Source) -> Iterator[Sample[Text]]:
    """One sample for each ref, in the order of the pickle; DataError as for `refer.read`, and without sentences."""
    known = set[str]()
    for ref in refer.read(source, "refcocog", "umd", outlines=False):
        if not ref.sentences or ref.id in known:
            problem = "is there twice" if ref.id in known else "has no sentences"
            raise DataError(f"{source.annotations or source.root / 'refer/refcocog'}: ref {ref.id} {problem}")
        known.add(ref.id)
        question = Question(f"{refer.IMAGES}/{ref.image_name}", ref.size, "describe", region=ref.box)
        yield Sample(ref.id, question, Text(tuple(sentence.text for sentence in ref.sentences)), ref.image_name)


def single(rows: Sequence[Row[Text]]) -> list[Row[Text]]:
    """A row for each sentence, with the sentence as its only reference and the answer for its object."""
    return [
        replace(row, sample=replace(row.sample, target=Text((sentence,))))
        for row in rows
        for sentence in captions.references_of(row)
    ]


def with_sentences(scorer: Scorer) -> Scorer:
    """The scores of a scorer of captions by object, and the sums of its scores over the object's sentences."""

    def scores(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
        each = iter(scorer(single(rows)))
        result = []
        for row, values in zip(rows, scorer(rows), strict=True):
            own = [next(each) for _ in captions.references_of(row)]
            sums = {f"{name}{BY_SENTENCE}": sum(one[name] for one in own) for name in own[0]}
            result.append({**values, **sums, "sentences": float(len(own))})
        return result

    return scores


@dataclass(frozen=True, slots=True)
class BySentence:
    """A metric of captions over sentences instead of objects, for one that looks at the captions themselves."""

    metric: Metric

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        return self.metric.prepare(single(rows))


def with_meteor(task: Task[Text], *, needed: bool = True) -> Task[Text]:
    """The task with METEOR by object and by sentence; ResourceError or a warning as for `captions.with_meteor`."""
    alone = captions.with_meteor(replace(task, corpus=None, metrics={}), needed=needed)
    return task if alone.corpus is None else captions.with_scores(task, with_sentences(alone.corpus.scores), METEOR)


METEOR: Mapping[str, Metric] = {**captions.METEOR, f"METEOR{BY_SENTENCE}": captions.Meteor(BY_SENTENCE)}
METRICS: Mapping[str, Metric] = {
    **captions.METRICS,
    f"CIDEr{BY_SENTENCE}": PairedMetric(
        ratio_where_defined(f"cider{BY_SENTENCE}", "sentences"), BySentence(captions.Cider())
    ),
}
VARIANTS: Mapping[str, Variant[Text]] = {
    "official": Variant(lambda task: replace(task, corpus=Corpus(with_sentences(captions.official_marks)))),
    "meteor": Variant(with_meteor, METEOR),
    "meteor if it runs": Variant(partial(with_meteor, needed=False)),
    "spice": captions.VARIANTS["spice"],
}
TASKS: tuple[Task[Any], ...] = (
    Task(
        name="refcocog_caption",
        version=1,
        about="RefCOCOg: describe the object in a box (umd splits)",
        kind="describe",
        splits=("val", "test"),
        load=load,
        score=captions.score,
        corpus=Corpus(with_sentences(captions.marks)),
        metrics=METRICS,
        headline="CIDEr",
        predictions=refer.SENTENCES,
        files=(
            FileNeed("refer/refcocog/refs(umd).p", ORIGIN),
            FileNeed("refer/refcocog/instances.json", ORIGIN),
            FileNeed(refer.IMAGES, "COCO's 2014 training images, https://cocodataset.org (train2014.zip)"),
        ),
        seen_in_training="The images of both splits are in COCO train2014.  Florence-2's zero-shot checkpoints were "
        "not trained on the expressions.  The fine-tuned ones were trained on those of RefCOCOg's training split.",
        variants=VARIANTS,
        published={
            "val": {"samples": 2573, "references": 4896},
            "test": {"samples": 5023, "references": 9602},
        },
    ),
)
