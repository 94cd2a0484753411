"""The embedded benchmark in everybody's formats: what other people's readers make of it, and that it is true."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

import baselines
from baselines import Setting
from harness import runner
from harness.core import Answer, Grounded, Sample, Source
from tasks import TASKS
from tasks.miniature.render import rendered_scene, rendered_signs
from tasks.miniature.shapes import HELD_OUT, SEEN
from tasks.miniature.telling import words
from tasks.miniature.training import FIRST_TRAINING_SEED, every_scene

OTHERS = ("coco_caption", "nocaps", "textcaps", "coco_detection", "flickr30k", "vqav2", "textvqa", "vizwiz",
          "odinw_miniature")  # fmt: skip


def samples_of(root: Path, task: str, split: str = "") -> list[Sample[Any]]:
    return list(TASKS[task].load(Source(root, split or TASKS[task].splits[0])))


def coco(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_pycocotools_reads_the_instances(miniature: Path) -> None:
    truth = coco(miniature / "coco/annotations/instances_val2017.json")
    crowds = 0
    for annotation in truth.dataset["annotations"]:
        mask = truth.annToMask(annotation)
        rows, columns = np.nonzero(mask)
        left, top, width, height = annotation["bbox"]
        assert (columns.min(), rows.min()) == (left, top)
        assert (columns.max() + 1 - left, rows.max() + 1 - top) == (width, height)
        assert mask.sum() == annotation["area"]
        crowds += annotation["iscrowd"]
    assert crowds >= 10
    ids = [category["id"] for category in truth.dataset["categories"]]
    assert ids == sorted(ids) and ids != list(range(1, len(ids) + 1))  # with gaps, as COCO's


def test_karpathys_splits_are_apart_and_have_five_captions(miniature: Path) -> None:
    test, val = (samples_of(miniature, "coco_caption", split) for split in ("test", "val"))
    assert not {s.id for s in test} & {s.id for s in val}
    assert all(len(s.target.texts) == 5 for s in test + val)
    assert coco(miniature / "coco/annotations/captions_val2014.json").getAnnIds(int(test[0].id))
    lengths = {len(text.split()) for s in test for text in s.target.texts}
    assert max(lengths) >= 2 * min(lengths)


def test_nocaps_domains_are_what_their_words_say(miniature: Path) -> None:
    for sample in samples_of(miniature, "nocaps"):
        said = " ".join(sample.target.texts).lower()
        old, new = (any(name in said for name in names) for names in (SEEN, ("bird", "snowm", "balloon", "ice cream")))
        [domain] = sample.groups
        assert (old, new) == {"in-domain": (True, False), "near-domain": (True, True), "out-domain": (False, True)}[
            domain
        ]
        assert len(sample.target.texts) == 10


def test_questions_are_numbered_by_image_and_mostly_answered_right(miniature: Path) -> None:
    annotations = json.loads((miniature / "vqav2/v2_mscoco_val2014_annotations.json").read_text())["annotations"]
    agreeing = 0
    for one in annotations:
        assert one["question_id"] // 1000 == one["image_id"]
        assert [answer["answer_id"] for answer in one["answers"]] == list(range(1, 11))
        agreeing += Counter(a["answer"] for a in one["answers"]).most_common(1)[0][0] == one["multiple_choice_answer"]
    assert agreeing >= 0.97 * len(annotations)
    assert {one["answer_type"] for one in annotations} == {"yes/no", "number", "other"}
    unanimous = sum(len({answer["answer"] for answer in one["answers"]}) == 1 for one in annotations)
    assert 0 < unanimous < len(annotations) / 2  # noisy, and sometimes not


def test_some_questions_have_no_answer(miniature: Path) -> None:
    hopeless = [s for s in samples_of(miniature, "vizwiz") if "not answerable" in s.groups]
    assert 10 <= len(hopeless) <= 40
    assert all(Counter(s.target.texts).most_common(1)[0][0] == "unanswerable" for s in hopeless)


def test_signs_say_what_the_answers_and_the_captions_say(miniature: Path) -> None:
    said = {s.cluster: " ".join(s.target.texts) for s in samples_of(miniature, "textcaps")}
    for sample in samples_of(miniature, "textvqa"):
        answer = Counter(sample.target.texts).most_common(1)[0][0]
        assert answer.upper() in said[sample.cluster].split(".")[0] + said[sample.cluster]


def test_letters_are_where_they_are_said_to_be() -> None:
    """Light on dark or dark on light: the word's quadrilateral has more contrast than the rest of its board."""
    for seed in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 12):
        rendered = rendered_signs(seed)
        for word, ((left, top), _, (right, bottom), _) in words(rendered):
            assert word in {thing.word for thing in rendered.scene.things}
            inside = rendered.image[round(top) : round(bottom), round(left) : round(right)].astype(float)
            assert inside.mean(2).std() > 30


def test_flickr_phrases_are_in_their_sentences(miniature: Path) -> None:
    skipped = 0
    for sample in samples_of(miniature, "flickr30k"):
        question, target = sample.question, sample.target
        assert isinstance(target, Grounded) and len(target.boxes) == len(question.phrases) == len(target.types)
        skipped += "/EN#" not in question.text and "There" in question.text
        for phrase in question.phrases:
            assert question.text[phrase.start : phrase.end] == phrase.text
            assert phrase.text != "There"  # marked, not visual, and not asked about
        assert question.size is not None
        for box in (box for boxes in target.boxes for box in boxes):
            assert 1 <= box[0] < box[2] <= question.size.width and 1 <= box[1] < box[3] <= question.size.height
    assert skipped > 10


def test_odinws_categories_are_in_no_training_scene(miniature: Path) -> None:
    names = {phrase.text for s in samples_of(miniature, "odinw_miniature") for phrase in s.question.phrases}
    assert names == set(HELD_OUT)
    trained = {t.category for seed in range(200) for t in rendered_scene(FIRST_TRAINING_SEED + seed).scene.things}
    assert not names & trained
    assert all(sample.target.boxes for sample in samples_of(miniature, "odinw_miniature"))


def test_training_asks_every_kind_and_no_scene_is_a_benchmarks() -> None:
    kinds = Counter(s.question.kind for seed in range(8) for s in every_scene(FIRST_TRAINING_SEED + seed).samples)
    assert set(kinds) == {"caption", "detailed_caption", "more_detailed_caption", "detect", "find", "ground", "refer",
                          "segment", "vqa", "ocr", "ocr_regions"}  # fmt: skip


# ---------------------------------------------------------------------------- ceilings and floors


@pytest.mark.parametrize(("task", "least"), [
    # The oracle gives every box and, of several texts, the most frequent: what others said keeps it below 100.
    ("coco_detection", 99.9), ("flickr30k", 100), ("odinw_miniature", 99.9),
    ("vqav2", 95), ("textvqa", 95), ("vizwiz", 90),
    ("coco_caption", 100), ("nocaps", 100), ("textcaps", 100),
])  # fmt: skip
def test_the_oracle_is_far_above_the_floor(miniature: Path, task: str, least: float) -> None:
    values = {}
    for name in ("oracle", "whole-image"):
        asked = samples_of(miniature, task)
        model = baselines.find(name).load(Setting(root=miniature, samples=asked))
        found = dict(model.answer((place, sample.question) for place, sample in enumerate(asked)))
        answers = {asked[place].id: answer for place, answer in found.items() if isinstance(answer, Answer)}
        assert len(answers) == len(asked)
        estimate = runner.reduce(TASKS[task], runner.mark(TASKS[task], asked, answers), 0)[TASKS[task].headline]
        assert estimate.value is not None and estimate.low is not None and estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high
        values[name] = estimate.value
    assert values["oracle"] >= least
    assert values["whole-image"] < 0.5 * values["oracle"]


@pytest.mark.parametrize("task", OTHERS)
def test_what_is_exported_is_marked_the_same(miniature: Path, tmp_path: Path, task: str) -> None:
    """Through the official result file and back: the numbers are the same to the last bit."""
    asked = samples_of(miniature, task)
    model = baselines.find("oracle-quantised").load(Setting(root=miniature, samples=asked))
    found = dict(model.answer((place, sample.question) for place, sample in enumerate(asked)))
    answers = {asked[place].id: answer for place, answer in found.items() if isinstance(answer, Answer)}
    rows = runner.mark(TASKS[task], asked, answers)
    path = tmp_path / ("out" if TASKS[task].predictions.folder else "out.json")
    TASKS[task].predictions.write(path, rows)
    again = runner.mark(TASKS[task], asked, TASKS[task].predictions.read(path, asked))
    assert [row.score for row in again] == [row.score for row in rows]
