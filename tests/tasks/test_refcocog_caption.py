"""RefCOCOg, generation: references by object and by sentence, against pycocoevalcap's scorers on both groupings."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

import harness
from harness import runner
from harness.core import Answer, Row, Sample, Source, Text
from harness.data.check import counts
from harness.errors import DataError, ResourceError
from harness.evaluation.request import Scorers
from harness.metrics import java, meteor, ptb
from harness.metrics.reduce import between_runs
from tasks import TASKS
from tasks.refcocog_caption import METRICS, single, with_meteor
from tests import refer_files
from tests.tasks.miniature.scenes import samples_of

TASK = TASKS["refcocog_caption"]
SENTENCES = {1: "a square on the left side", 2: "two parts", 3: "some people in a crowd"}  # by ref
REFERENCES = {  # by ref; two sentences, one, and three
    1: {101: "the left square", 102: "square on the left"},
    2: {103: "two parts that overlap"},
    3: {104: "a crowd", 105: "a crowd of people", 106: "many people in a crowd"},
}


def load(root: Path, refs: Any = None) -> list[Sample[Text]]:
    if refs is None:
        places = {1: (70, 7), 2: (71, 7), 3: (80, 8)}
        refs = [refer_files.ref(number, *places[number], "val", texts) for number, texts in REFERENCES.items()]
    refer_files.write(root, refs=refs, name="refcocog", by="umd")
    return list(TASK.load(Source(root, "val")))


@pytest.fixture
def rows(tmp_path: Path) -> list[Row[Text]]:
    answers = {str(number): Answer((text,), Text((text,))) for number, text in SENTENCES.items()}
    return runner.mark(TASK, load(tmp_path), answers)


def pairs(order: list[int], *, by_sentence: bool) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Tokenised references and candidates of some refs, in the form of the official scorers.

    By sentence, each is an image of its own with one reference, as in MDETR's annotations.
    """
    grouped: list[tuple[list[str], str]] = []
    for number in order:
        texts = list(REFERENCES[number].values())
        grouped += [([text], SENTENCES[number]) for text in texts] if by_sentence else [(texts, SENTENCES[number])]
    lines = map(" ".join, ptb.tokens(chain.from_iterable(texts for texts, _ in grouped)))
    references = {place: [next(lines) for _ in texts] for place, (texts, _) in enumerate(grouped)}
    candidates = [" ".join(words) for words in ptb.tokens(candidate for _, candidate in grouped)]
    return references, {place: [text] for place, text in enumerate(candidates)}


def test_object_is_a_sample_with_its_box_and_all_its_sentences(tmp_path: Path) -> None:
    first, second, third = load(tmp_path)
    assert (first.id, first.question.kind, first.question.region) == ("1", "describe", (2.0, 2.0, 6.0, 6.0))
    assert first.question.image == "coco/train2014/COCO_train2014_000000000007.jpg"
    assert first.target == Text(("the left square", "square on the left"))  # `sent`, not `raw`
    assert first.cluster == second.cluster != third.cluster
    assert counts([first, second, third]) == {"samples": 3, "images": 2, "references": 6}


@pytest.mark.parametrize(("refs", "message"), [
    ([refer_files.ref(1, 70, 7, "val", {})], "ref 1 has no sentences"),
    ([refer_files.ref(1, 70, 7, "val", {n: "a"}) for n in (1, 2)], "ref 1 is there twice"),
])  # fmt: skip
def test_refs_that_cannot_be_scored_are_a_data_error(tmp_path: Path, refs: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, refs)


def test_metrics_equal_the_official_scorers_on_both_groupings(rows: list[Row[Text]]) -> None:
    values = {name: metric.prepare(rows)(np.ones(2)) for name, metric in METRICS.items()}
    by_object, by_sentence = (pairs([1, 2, 3], by_sentence=each) for each in (False, True))
    assert len(by_sentence[0]) == 6
    assert values["CIDEr"] == pytest.approx(100 * Cider().compute_score(*by_object)[0])
    assert values["CIDEr by sentence"] == pytest.approx(100 * Cider().compute_score(*by_sentence)[0])
    assert values["CIDEr"] != pytest.approx(values["CIDEr by sentence"])
    assert values["ROUGE-L"] == pytest.approx(100 * Rouge().compute_score(*by_object)[0])


@pytest.mark.parametrize(("name", "by_sentence"), [("CIDEr", False), ("CIDEr by sentence", True)])
def test_cider_between_runs_counts_document_frequencies_of_the_weighted_images(
    rows: list[Row[Text]], name: str, by_sentence: bool
) -> None:
    """Weights of 2 and 1 are the set with the first image, which has refs 1 and 2, twice."""
    statistic = between_runs(METRICS[name]).prepare(rows)
    expected = Cider().compute_score(*pairs([1, 1, 2, 2, 3], by_sentence=by_sentence))[0]
    assert statistic(np.array([2.0, 1.0])) == pytest.approx(100 * expected)


def test_single_rows_are_one_for_each_sentence_with_the_same_answer(rows: list[Row[Text]]) -> None:
    assert [row.sample.target.texts for row in single(rows) if row.sample.target] == [
        (text,) for texts in REFERENCES.values() for text in texts.values()
    ]
    assert [row.answer for row in single(rows)] == [row.answer for row, n in zip(rows, (2, 1, 3), strict=True)
                                                    for _ in range(n)]  # fmt: skip


def test_cider_is_not_defined_for_one_sentence(tmp_path: Path) -> None:
    samples = load(tmp_path, [refer_files.ref(1, 70, 7, "val", {101: "the left square"})])
    metrics = runner.reduce(TASK, runner.mark(TASK, samples, {"1": Answer(("a",), Text(("a",)))}), seed=0)
    assert metrics["CIDEr"].value is metrics["CIDEr by sentence"].value is None


def test_unparsable_answer_is_an_empty_sentence(tmp_path: Path) -> None:
    samples = load(tmp_path)
    values = [
        [row.score.values for row in runner.mark(TASK, samples, {s.id: Answer(("",), value) for s in samples})]
        for value in (None, Text(("",)))
    ]
    assert values[0] == values[1]


def test_result_file_is_the_input_of_the_toolkit_s_evaluator(tmp_path: Path, rows: list[Row[Text]]) -> None:
    path = tmp_path / "results.json"
    TASK.predictions.write(path, rows)
    entries = json.loads(path.read_text())
    assert entries == [{"ref_id": number, "sent": text} for number, text in SENTENCES.items()]
    again = TASK.predictions.read(path, [row.sample for row in rows])
    assert {name: answer.value for name, answer in again.items()} == {row.sample.id: row.answer.value for row in rows}
    path.write_text(json.dumps(entries[:2]))
    with pytest.raises(DataError, match=r"1 ref_ids have no answer \(first: 3\)"):
        TASK.predictions.read(path, [row.sample for row in rows])


def test_meteor_without_java_is_a_resource_error_or_leaves_the_task(
    no_meteor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "java", lambda: None)
    with pytest.raises(ResourceError, match="need Java"):
        with_meteor(TASK)
    assert with_meteor(TASK, needed=False) is TASK


@pytest.mark.skipif(java.java() is None, reason="there is no Java")
@pytest.mark.slow
def test_meteor_is_that_of_the_program_on_both_groupings(rows: list[Row[Text]]) -> None:
    task = with_meteor(TASK)
    answers = {row.sample.id: row.answer for row in rows}
    metrics = runner.reduce(task, runner.mark(task, [row.sample for row in rows], answers), seed=0)
    for name, by_sentence in (("METEOR", False), ("METEOR by sentence", True)):
        references, candidates = pairs([1, 2, 3], by_sentence=by_sentence)
        matched = meteor.kept().counts([text for [text] in candidates.values()], list(references.values()))
        assert metrics[name].value == pytest.approx(100 * float(meteor.score(matched.sum(axis=0))), abs=1e-9)
    assert metrics["CIDEr"].value == runner.reduce(TASK, rows, seed=0)["CIDEr"].value


def test_model_describes_the_objects_of_the_miniature(miniature: Path, tmp_path: Path) -> None:
    run = harness.evaluate(TASK.name, "florence2-nano", data="miniature", limit=3, beams=1, out=tmp_path,
                           scorers=Scorers(meteor=False))  # fmt: skip
    assert run.status == "partial" and run.counts["samples"] >= 3
    value = run.metrics["CIDEr by sentence"].value
    assert value is not None and value >= 0


def test_sentences_of_the_miniature_are_those_of_refcocog(miniature: Path) -> None:
    for split in TASK.splits:
        objects, sentences = (samples_of(miniature, name, split) for name in (TASK.name, "refcocog"))
        assert sorted(text for sample in objects for text in sample.target.texts) == sorted(
            sample.question.text for sample in sentences
        )
