"""Re-ranking of retrieval: a second run scores the best candidates of a first run, as pairs of an image and a caption.

The first run is of `flickr30k_retrieval` or `coco_retrieval`, and its embeddings give each query (an image, or a
caption) its `top` candidates by similarity (`harness.metrics.shortlist`).  Each candidate is a sample, whose question
is of kind `match`.  The candidates of a query are ranked by the scores of the second model alone.  Ties count against
the model, as in `tasks.retrieval`.  A query whose right items are all outside its candidates keeps the rank that it
has in the first run.

LAVIS evaluates BLIP and BLIP-2 like this, with 128 candidates in both directions (`k_test` in its projects' eval
files; `compute_sim_matrix` in `lavis/models/blip2_models/blip2.py`).  Its score is the logit of the matching head plus
the similarity, which is how `blip2-itm` answers `match`.  A pair outside the candidates has -100 there.

The samples of an image stand together, so that a batch opens and encodes it once.  A pair that is a candidate in both
directions is two samples.  Intervals resample the images of queries, each with its captions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from harness.core import Answer, Corpus, Embedding, Match, Question, Row, Sample, Score, Source, Task, Text
from harness.data import pair_scores
from harness.errors import DataError, UsageError
from harness.metrics.reduce import clusters_of
from harness.metrics.shortlist import shortlists
from tasks import retrieval

TOP = 128  # candidates of a query
OF_QUERY = ("right at 1", "right at 5", "right at 10", "rank")  # scores of a query that each of its candidates has
POLICY = "ties count against the model; a query whose right items are no candidates keeps its rank of the first run"


@dataclass(frozen=True, slots=True)
class Candidate(Text):
    """The captions of the image of a pair, and what is known of the pair.

    - `query` is the id of the query's sample in the first run, and `place` that of the candidate there, from 0.
    - `right` says whether the candidate belongs to the query's image.
    - `rank` is the query's rank in the first run, and `gallery` the number of items there.
    """

    query: str
    place: int
    right: bool
    rank: int
    gallery: int


def load(source: Source, first: Task[Text]) -> Iterator[Sample[Candidate]]:
    """The candidates of `source.candidates`, image by image.

    UsageError without candidates, DataError where the first run has no embedding of an image or a caption.
    """
    given = source.candidates
    if given is None:
        raise UsageError(f"its questions are the candidates of a run of {first.name}: run --candidates RUN")
    samples = [sample for sample in first.load(source) if sample.id in given.answers]
    values = [given.answers[sample.id].value for sample in samples]
    embedded = [value for value in values if isinstance(value, Embedding)]
    if lacking := len(values) - len(embedded):
        raise DataError(f"run {given.run} has no embedding of {lacking:,} of its {len(values):,} images and captions")
    images = clusters_of([Row(sample, given.answers[sample.id], Score({})) for sample in samples])
    of_images = [place for place, sample in enumerate(samples) if sample.question.image]
    of_texts = [place for place, sample in enumerate(samples) if not sample.question.image]
    pairs: dict[int, list[Sample[Candidate]]] = {images[place]: [] for place in of_images}
    for asked, gallery in ((of_images, of_texts), (of_texts, of_images)):
        try:
            lists = shortlists(
                [embedded[place] for place in asked],
                [embedded[place] for place in gallery],
                [images[place] for place in asked],
                [images[place] for place in gallery],
                given.top,
            )
            for query, short in zip(asked, lists, strict=True):
                for place, item in enumerate(short.places):
                    found = gallery[item]
                    image, text = (query, found) if samples[query].question.image else (found, query)
                    candidate = Candidate(
                        (samples[image].target or Text(())).texts,
                        query=samples[query].id,
                        place=place,
                        right=images[query] == images[found],
                        rank=short.rank,
                        gallery=len(gallery),
                    )
                    question = Question(samples[image].question.image, None, "match", samples[text].question.text)
                    name = f"{samples[query].id}/{samples[found].id}"
                    pairs[images[image]].append(Sample(name, question, candidate, samples[query].cluster))
        except ValueError as error:
            raise DataError(f"run {given.run} has no candidates: {error}") from error
    for of_image in pairs.values():
        yield from of_image


def score(sample: Sample[Candidate], answer: Answer) -> Score:
    """A score without values, since `marks` ranks the candidates of a query together."""
    return Score({}, readable=isinstance(answer.value, Match))


def marks(rows: Sequence[Row[Candidate]]) -> list[dict[str, float]]:
    """For each candidate the scores of its query (see `tasks.retrieval.marks`).

    What is summed up is on the first candidate of the query, and 0 on the others.
    """
    by_query: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        by_query.setdefault(_target(row).query, []).append(number)
    scores: list[dict[str, float]] = [{} for _ in rows]
    for query, numbers in by_query.items():
        direction = "image-to-text" if query.startswith("image/") else "text-to-image"
        of_query = [rows[number] for number in numbers]
        values = retrieval.values_of(direction, _rank(of_query), _target(of_query[0]).gallery)
        for number in numbers:
            first = _target(rows[number]).place == 0
            scores[number] = {name: value if first or name in OF_QUERY else 0.0 for name, value in values.items()}
    return scores


def _rank(rows: Sequence[Row[Candidate]]) -> int:
    """The rank of a query, from 0, from the scores of its candidates; its gallery's size where it finds nothing."""
    if not any(_target(row).right for row in rows):
        return _target(rows[0]).rank
    scores = [(row.answer.value.score, _target(row).right) for row in rows if isinstance(row.answer.value, Match)]
    best = max((score for score, right in scores if right), default=None)
    if best is None:
        return _target(rows[0]).gallery
    return sum(score >= best for score, right in scores if not right)


def _target(row: Row[Candidate]) -> Candidate:
    if row.sample.target is None:
        raise ValueError(f"{row.sample.id} is no candidate")
    return row.sample.target


def _task(first: Task[Text]) -> Task[Candidate]:
    return Task(
        name=first.name.replace("_retrieval", "_rerank"),
        version=1,
        about=f"{first.about.partition(':')[0]}: re-rank the candidates of a run of {first.name} (--candidates RUN)",
        kind="match",
        splits=first.splits,
        load=partial(load, first=first),
        score=score,
        corpus=Corpus(marks, counted=tuple(retrieval.DIRECTIONS.values()), policy=POLICY),
        metrics=retrieval.METRICS,
        headline=first.headline,
        predictions=pair_scores.NPZ,
        files=first.files,
        seen_in_training=first.seen_in_training,
        candidates_of=first.name,
    )


TASKS = tuple(_task(first) for first in retrieval.TASKS)
