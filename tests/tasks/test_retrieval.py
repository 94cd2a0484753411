"""Retrieval tasks: samples, scores by arithmetic, intervals over images, and a run from files to a record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import runner
from harness.core import Answer, Embedding, Question, Row, Sample, Source, Text, Value
from harness.data import check
from harness.errors import DataError
from harness.evaluation.api import evaluate, score
from tasks import TASKS
from tasks.retrieval import marks

TASK = TASKS["flickr30k_retrieval"]
E = np.eye(4)


def samples(captions: Sequence[int]) -> list[Sample[Text]]:
    """An image for each number, with that many captions."""
    made = []
    for image, count in enumerate(captions):
        target, key = Text(tuple(f"{image} {place}" for place in range(count))), f"{image}.jpg"
        made.append(Sample(f"image/{image}", Question(key, None, "embed"), target, key))
        for text in target.texts:
            made.append(Sample(f"caption/{text}", Question("", None, "embed", text=text), target, key))
    return made


def rows(captions: Sequence[int], values: Sequence[Any]) -> list[Row[Any]]:
    answers: dict[str, Answer] = {}
    for sample, value in zip(samples(captions), values, strict=True):
        known: Value | None = value if value is None or isinstance(value, Text) else Embedding.of(value)
        answers[sample.id] = Answer(("",), known)
    return runner.mark(TASK, samples(captions), answers)


def metrics(scored: Sequence[Row[Any]]) -> dict[str, float]:
    weights = np.ones(len({row.sample.cluster for row in scored}))
    return {name: metric.prepare(scored)(weights) for name, metric in TASK.metrics.items()}


# Image 0 with two captions, of which one is at its place and one at image 1's; image 1 with a caption at image 0's.
MIXED = (E[0], E[0], E[1] + 0.1 * E[2], E[1], E[0] + 0.1 * E[3])


def test_recall_both_ways_follows_from_ranks() -> None:
    """Image 0: its first caption has cosine 1, above 0.995 of the other image's: rank 0.

    Image 1: a caption of image 0 has 0.995, the other ties with its own at 0: rank 2.

    Captions: the first finds image 0 first; the second image 1 before image 0: rank 1; the third likewise.
    """
    scored = rows((2, 1), MIXED)
    assert [row.score.values["rank"] for row in scored] == [0, 0, 1, 2, 1]
    found = metrics(scored)
    assert found["image-to-text R@1"] == 50 and found["text-to-image R@1"] == pytest.approx(100 / 3)
    assert found["image-to-text R@5"] == found["text-to-image R@10"] == 100
    assert found["mean recall"] == pytest.approx((50 + 100 / 3 + 400) / 6)


def test_missing_embedding_of_an_image_leaves_it_and_its_captions_wrong_and_counted() -> None:
    scored = rows((2, 1), (None, *MIXED[1:]))
    assert [row.score.readable for row in scored] == [False, True, True, True, True]
    assert [row.score.values["right at 10"] for row in scored] == [0, 0, 0, 1, 1]
    assert metrics(scored)["image-to-text R@10"] == 50 and metrics(scored)["text-to-image R@10"] == pytest.approx(
        100 / 3
    )


def test_answer_of_another_type_is_unparsable() -> None:
    scored = rows((1,), (Text(("a",)), E[0]))
    assert not scored[0].score.readable and scored[0].score.values["rank"] == 1


def test_same_embedding_for_everything_finds_nothing_at_one() -> None:
    found = metrics(rows((5,) * 30, [E[0]] * 180))
    assert set(found.values()) == {0.0}  # 145 captions and 29 images are ahead of the right one


def test_dimensions_that_differ_are_a_data_error() -> None:
    with pytest.raises(DataError, match="cannot be compared: embeddings of 4 and 3 dimensions"):
        rows((1,), (E[0], [1.0, 0, 0]))


def test_weights_repeat_queries_and_leave_the_gallery() -> None:
    """Image 0 drawn twice: its query and both its captions count twice; the ranks are those of the whole gallery."""
    scored = rows((2, 1), MIXED)
    weights = np.array([2.0, 0.0])
    assert TASK.metrics["image-to-text R@1"].prepare(scored)(weights) == 100  # two of two queries
    assert TASK.metrics["text-to-image R@1"].prepare(scored)(weights) == 50  # two of four captions
    assert TASK.metrics["text-to-image R@1"].prepare(scored)(np.array([0.0, 1.0])) == 0


def test_scores_do_not_depend_on_the_order_of_rows() -> None:
    scored = rows((2, 1), MIXED)
    turned = marks(scored[::-1])[::-1]
    assert [dict(row.score.values) for row in scored] == turned


@pytest.mark.parametrize("name", ["flickr30k_retrieval", "coco_retrieval"])
def test_samples_are_images_then_captions_without_an_image(name: str, miniature: Path) -> None:
    for split, images in (("test", {"flickr30k": 60, "coco": 90}), ("val", {"flickr30k": 20, "coco": 40})):
        loaded = list(TASKS[name].load(Source(miniature, split)))
        count = images[name.removesuffix("_retrieval")]
        assert check.counts(loaded) == {"samples": 6 * count, "images": count, "captions": 5 * count}
        assert len({sample.id for sample in loaded}) == len(loaded) and len({s.cluster for s in loaded}) == count
        assert all((miniature / sample.question.image_name).is_file() for sample in loaded[:count])
        for sample in loaded[count:]:
            assert sample.question.image == "" and sample.target is not None
            assert sample.question.text in sample.target.texts


def test_captions_of_the_miniature_are_those_of_flickr30k_entities(miniature: Path) -> None:
    """The same sentences, which Entities marks and splits before commas."""
    entities = {(s.cluster, s.question.text) for s in TASKS["flickr30k"].load(Source(miniature, "test"))}
    karpathy = {
        (s.cluster, s.question.text.replace(",", " ,").lower())
        for s in TASK.load(Source(miniature, "test")) if s.question.text
    }  # fmt: skip
    assert len(entities) > 200 and {(image, text.lower()) for image, text in entities} <= karpathy


def test_own_annotations_are_a_file_or_its_folder(miniature: Path) -> None:
    for given in (miniature / "flickr30k/dataset_flickr30k.json", miniature / "flickr30k"):
        loaded = list(TASK.load(Source(Path("nowhere"), "test", given)))
        assert len(loaded) == 360 and loaded[0].question.image_name.startswith("flickr30k/flickr30k-images/")


def test_run_scores_and_its_exported_file_scores_the_same(miniature: Path, tmp_path: Path) -> None:
    """The oracle is right except where two images have an equal caption, and re-scoring its file needs no model."""
    run = evaluate(TASK.name, "oracle", data="miniature", out=tmp_path, export=tmp_path / "to")
    texts: dict[str, set[str]] = {}
    for sample in TASK.load(Source(miniature, "test")):
        if sample.question.text:
            texts.setdefault(sample.question.text, set()).add(sample.cluster)
    doubled = sum(len(images) - 1 for images in texts.values())
    assert run.metrics["text-to-image R@1"].value == pytest.approx(100 * (300 - doubled) / 300)
    again = score(TASK.name, tmp_path / "to/flickr30k_retrieval_test.npz", data="miniature", out=tmp_path)
    assert {name: e.value for name, e in again.metrics.items()} == {name: e.value for name, e in run.metrics.items()}
    assert run.counts["image queries"] == 60 and run.counts["text queries"] == 300


def test_model_that_does_not_embed_is_left_out_with_the_reason(
    miniature: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from harness.evaluation.evaluate import evaluate_each
    from harness.evaluation.request import Request

    request = Request(task="flickr30k*", model="whole-image", data="miniature", out=tmp_path, limit=2)
    assert [evaluated.run.spec.task for evaluated in evaluate_each(request)] == [
        "flickr30k_caption", "flickr30k",
    ]  # fmt: skip
    assert "left out: flickr30k_retrieval, since whole-image answers no embed questions" in caplog.text
