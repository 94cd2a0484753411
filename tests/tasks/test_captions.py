"""Caption tasks: files and splits, and metrics against pycocoevalcap's own scorers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from harness import runner
from harness.core import Answer, Boxes, Question, Row, Sample, Source, Text
from harness.errors import ResourceError
from harness.metrics import java, ptb
from harness.metrics.reduce import between_runs
from tasks import TASKS
from tasks.captions import METRICS, caption_of, references_of, with_meteor

TASK = TASKS["nocaps"]
CAPTIONS = ["a dog runs", "two cats on grass", "", "a red bus in the street"]
REFERENCES = [
    ("A dog runs.", "the dog is running"),
    ("Two cats.", "cats on the grass"),
    ("a house",),
    ("A bus on a street.", "a red bus"),
]
GROUPS = ["in-domain", "out-domain", "out-domain", "in-domain"]


def samples() -> list[Sample[Text]]:
    return [
        Sample(str(place), Question(f"{place}.jpg", None, "caption"), Text(texts), f"{place}.jpg", (group,))
        for place, (texts, group) in enumerate(zip(REFERENCES, GROUPS, strict=True))
    ]


def rows(captions: list[str]) -> list[Row[Any]]:
    answers = {str(place): Answer((text,), Text((text,))) for place, text in enumerate(captions)}
    return runner.mark(TASK, samples(), answers)


def tokenised(images: list[int]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and candidates of some images, possibly repeated, in the form of the official scorers."""
    lines = map(" ".join, ptb.tokens(chain.from_iterable(REFERENCES[place] for place in images)))
    references = {number: list(islice(lines, len(REFERENCES[place]))) for number, place in enumerate(images)}
    candidates = ptb.tokens(CAPTIONS[place] for place in images)
    return references, {number: [" ".join(tokens)] for number, tokens in enumerate(candidates)}


# ---------------------------------------------------------------------------- metrics


def test_metrics_equal_the_official_scorers_in_percent() -> None:
    references, candidates = tokenised([0, 1, 2, 3])
    values = {name: metric.prepare(rows(CAPTIONS))(np.ones(4)) for name, metric in METRICS.items()}
    bleu = Bleu(4).compute_score(references, candidates, verbose=0)[0]
    assert [values[f"BLEU-{n}"] for n in range(1, 5)] == pytest.approx([100 * value for value in bleu])
    assert values["ROUGE-L"] == pytest.approx(100 * Rouge().compute_score(references, candidates)[0])
    assert values["CIDEr"] == pytest.approx(100 * Cider().compute_score(references, candidates)[0])


def test_domain_cider_is_the_mean_of_scores_over_the_full_set() -> None:
    each = Cider().compute_score(*tokenised([0, 1, 2, 3]))[1]
    metrics = runner.reduce(TASK, rows(CAPTIONS), seed=0)
    assert metrics["CIDEr in-domain"].value == pytest.approx(100 * (each[0] + each[3]) / 2)
    assert metrics["CIDEr out-domain"].value == pytest.approx(100 * (each[1] + each[2]) / 2)


def test_cider_between_runs_counts_document_frequencies_of_the_weighted_set() -> None:
    """Weights of 2, 0, 1 and 1 are the set with image 0 twice and without image 1."""
    statistic = between_runs(METRICS["CIDEr"]).prepare(rows(CAPTIONS))
    expected = Cider().compute_score(*tokenised([0, 0, 2, 3]))[0]
    assert statistic(np.array([2.0, 0.0, 1.0, 1.0])) == pytest.approx(100 * expected)


def test_unparsable_answer_is_an_empty_caption() -> None:
    answers = {str(place): Answer(("x",), Text((text,))) for place, text in enumerate(CAPTIONS)}
    unparsable = runner.mark(TASK, samples(), {**answers, "2": Answer(("<loc_1>",), None)})
    assert [row.score.readable for row in unparsable] == [True, True, False, True]
    assert [row.score.values for row in unparsable] == [row.score.values for row in rows(CAPTIONS)]
    assert caption_of(unparsable[2]) == "" and caption_of(unparsable[0]) == "a dog runs"


@pytest.mark.parametrize(("value", "readable"), [(Text(("x",)), True), (Boxes(()), False), (None, False)])
def test_answer_is_readable_if_it_is_text(value: Text | Boxes | None, readable: bool) -> None:
    assert TASK.score(samples()[0], Answer(("x",), value)).readable is readable


def test_image_without_references_is_refused() -> None:
    [row, *_] = rows(CAPTIONS)
    with pytest.raises(ValueError, match="sample 0 has no reference captions"):
        references_of(replace(row, sample=replace(row.sample, target=None)))


# ---------------------------------------------------------------------------- METEOR without Java


def test_meteor_without_java_is_a_resource_error_or_a_warning(
    no_meteor: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(java, "java", lambda: None)
    with pytest.raises(ResourceError, match="need Java"):
        with_meteor(TASK)
    assert with_meteor(TASK, needed=False) is TASK
    assert "no METEOR: the official caption scores need Java" in caplog.text


def test_meteor_of_rows_without_counts_is_nan() -> None:
    metric = TASK.variants["meteor"].metrics["METEOR"]
    assert math.isnan(metric.prepare(rows(CAPTIONS))(np.ones(4)))


# ---------------------------------------------------------------------------- files


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def coco_file(caption: str) -> dict[str, Any]:
    images = [{"id": 9, "file_name": "COCO_val2014_000000000009.jpg", "width": 4, "height": 3}]
    return {"images": images, "annotations": [{"image_id": 9, "id": 0, "caption": caption}]}


def test_coco_prefers_karpathys_list_with_cocos_captions(tmp_path: Path) -> None:
    """The single file of a split, as BLIP publishes it, is read where one of the two files is missing."""
    write(tmp_path / "coco/coco_karpathy_test_gt.json", coco_file("single"))
    write(tmp_path / "coco/dataset_coco.json", {"images": [{"cocoid": 9, "split": "test"}]})
    [sample] = TASKS["coco_caption"].load(Source(tmp_path, "test"))
    assert sample.target == Text(("single",))
    write(tmp_path / "coco/annotations/captions_val2014.json", coco_file("captions"))
    [sample] = TASKS["coco_caption"].load(Source(tmp_path, "test"))
    assert sample.target == Text(("captions",))
    write(tmp_path / "other.json", coco_file("given"))
    [sample] = TASKS["coco_caption"].load(Source(tmp_path, "test", tmp_path / "other.json"))
    assert sample.target == Text(("given",))


def test_flickr30k_reads_karpathys_split_and_writes_coco_results(tmp_path: Path) -> None:
    """The tokens of his file are ignored, and the id of an image is the number in its file's name."""
    images = [
        {"filename": f"{number}.jpg", "split": split, "imgid": place, "sentids": [place],
         "sentences": [{"raw": f"A dog, {split} .", "tokens": ["x"], "sentid": place, "imgid": place}]}
        for place, (number, split) in enumerate([(1000092795, "train"), (36979, "test"), (1007129816, "test")])
    ]  # fmt: skip
    write(tmp_path / "flickr30k/dataset_flickr30k.json", {"images": images, "dataset": "flickr30k"})
    task = TASKS["flickr30k_caption"]
    samples = list(task.load(Source(tmp_path, "test")))
    assert [sample.id for sample in samples] == ["36979", "1007129816"]
    assert samples[0].question == Question("flickr30k/flickr30k-images/36979.jpg", None, "caption")
    assert samples[0].target == Text(("A dog, test .",))
    write(tmp_path / "mine.json", {"images": images[1:2]})
    assert list(task.load(Source(tmp_path, "test", tmp_path / "mine.json"))) == samples[:1]
    answers = {sample.id: Answer(("a dog",), Text(("a dog",))) for sample in samples}
    task.predictions.write(tmp_path / "p.json", runner.mark(task, samples, answers))
    assert json.loads((tmp_path / "p.json").read_bytes()) == [
        {"image_id": 36979, "caption": "a dog"}, {"image_id": 1007129816, "caption": "a dog"},
    ]  # fmt: skip
    assert task.predictions.read(tmp_path / "p.json", samples) == answers
