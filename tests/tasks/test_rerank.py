"""Re-ranking: recall by a slow loop over the whole gallery, and the rank of a query by arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import runner
from harness.core import Answer, Candidates, Embedding, Match, Question, Sample, Source, Text, Value
from harness.errors import DataError, UsageError
from tasks import TASKS
from tasks.rerank import Candidate
from tests.harness.evaluation import first_runs

TASK = TASKS["flickr30k_rerank"]


@pytest.mark.parametrize("top", [1, 3, 6, 128])
def test_recall_is_that_of_a_loop_over_the_whole_gallery(top: int, miniature: Path, tmp_path: Path) -> None:
    first = first_runs.first(tmp_path)
    run = first_runs.second(tmp_path, first, top=top)
    samples = runner.choose(list(TASKS[first.spec.task].load(Source(miniature, "test"))), first_runs.LIMIT, 0)
    vectors = {s.id: first_runs.embedded(s.question) for s in samples}
    scores = {(image.cluster, text.question.text): first_runs.fit(image.cluster, text.question.text)
              for image in samples for text in samples}  # fmt: skip
    expected = first_runs.recalls(samples, vectors, scores, top)
    assert {name: run.metrics[name].value for name in expected} == pytest.approx(expected)
    assert run.metrics["mean recall"].value == pytest.approx(sum(expected.values()) / 6)
    assert run.counts["image queries"] == 8 and run.counts["text queries"] == 40
    assert run.counts["samples"] == 8 * min(top, 40) + 40 * min(top, 8)


def candidate(query: str, place: int, right: bool, *, rank: int = 7, gallery: int = 50) -> Sample[Candidate]:
    target = Candidate(("a",), query=query, place=place, right=right, rank=rank, gallery=gallery)
    return Sample(f"{query}/x/{place}", Question("i.jpg", None, "match", text="a"), target, "i.jpg")


@pytest.mark.parametrize(("right", "scores", "rank"), [
    ((True, False, False), (0.5, 0.9, 0.1), 1),  # one wrong candidate is ahead
    ((True, False, False), (0.5, 0.5, 0.5), 2),  # ties count against the model
    ((True, False, True), (0.1, 0.5, 0.9), 0),  # the best of two right ones counts
    ((False, False, False), (0.1, 0.5, 0.9), 7),  # no right one: the rank of the first run
    ((True, False, False), (None, 0.5, 0.9), 50),  # the right one has no score: nothing is found
    ((True, False, False), (0.1, None, 0.05), 0),  # a wrong one without a score is behind
])  # fmt: skip
def test_rank_of_a_query_follows_from_its_candidates(
    right: Sequence[bool], scores: Sequence[float | None], rank: int
) -> None:
    samples = [candidate("image/1", place, is_right) for place, is_right in enumerate(right)]
    values: list[Value | None] = [None if score is None else Match(score) for score in scores]
    answers = {sample.id: Answer(("",), value) for sample, value in zip(samples, values, strict=True)}
    for order in (samples, samples[::-1]):
        marked = runner.mark(TASK, order, answers)
        assert [row.score.values["rank"] for row in marked] == [rank] * 3
        assert sum(row.score.values["image queries"] for row in marked) == 1
        assert sum(row.score.values["image-to-text right at 1"] for row in marked) == float(rank == 0)
        assert sum(row.score.values["image-to-text right at 10"] for row in marked) == float(rank < 10)
    assert [row.score.readable for row in runner.mark(TASK, samples, answers)] == [v is not None for v in values]


def test_answer_of_another_type_is_unparsable() -> None:
    sample = candidate("caption/1", 0, True)
    [row] = runner.mark(TASK, [sample], {sample.id: Answer(("yes",), Text(("yes",)))})
    assert not row.score.readable and row.score.values["text-to-image right at 10"] == 0


def test_samples_without_candidates_are_refused(miniature: Path) -> None:
    with pytest.raises(UsageError, match="the candidates of a run of flickr30k_retrieval"):
        list(TASK.load(Source(miniature, "test")))


def test_first_run_without_an_embedding_is_refused(miniature: Path) -> None:
    samples = list(TASKS["flickr30k_retrieval"].load(Source(miniature, "test")))
    answers = {sample.id: Answer(("",), Embedding.of([1.0, 2.0])) for sample in samples}
    answers[samples[3].id] = Answer(("",), None)
    candidates = Candidates(answers, 5, "abc", "first", miniature, "")
    with pytest.raises(DataError, match="run abc has no embedding of 1 of its 360 images and captions"):
        list(TASK.load(Source(miniature, "test", candidates=candidates)))


def test_samples_of_an_image_stand_together(miniature: Path) -> None:
    """So that a batch of pairs opens and encodes few images."""
    samples = list(TASKS["flickr30k_retrieval"].load(Source(miniature, "test")))
    answers = {s.id: Answer(("",), Embedding.of(first_runs.numbers(s.id, 4))) for s in samples}
    pairs = list(TASK.load(Source(miniature, "test", candidates=Candidates(answers, 9, "abc", "first", miniature, ""))))
    assert len(pairs) == len({pair.id for pair in pairs}) == 60 * 9 + 300 * 9
    seen = [pair.question.image_name for pair in pairs]
    assert sum(a != b for a, b in itertools.pairwise(seen)) == 59  # 60 images, each in one stretch
    assert {pair.cluster for pair in pairs} == set(seen)
