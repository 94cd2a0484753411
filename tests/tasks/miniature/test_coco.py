"""COCO's files of the miniature, by pycocotools and by their own rules."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np

from tests.tasks.miniature.scenes import coco, samples_of


def test_instances_agree_with_pycocotools_masks(miniature: Path) -> None:
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
    assert ids == sorted(ids) and ids != list(range(1, len(ids) + 1))  # with gaps, as in COCO


def test_karpathy_splits_share_no_image_and_have_five_captions(miniature: Path) -> None:
    test, val = (samples_of(miniature, "coco_caption", split) for split in ("test", "val"))
    assert not {s.id for s in test} & {s.id for s in val}
    assert all(len(s.target.texts) == 5 for s in test + val)
    assert coco(miniature / "coco/annotations/captions_val2014.json").getAnnIds(int(test[0].id))
    lengths = {len(text.split()) for s in test for text in s.target.texts}
    assert max(lengths) >= 2 * min(lengths)


def test_questions_are_numbered_by_image_and_most_answers_are_right(miniature: Path) -> None:
    annotations = json.loads((miniature / "vqav2/v2_mscoco_val2014_annotations.json").read_text())["annotations"]
    agreeing = 0
    for annotation in annotations:
        assert annotation["question_id"] // 1000 == annotation["image_id"]
        assert [answer["answer_id"] for answer in annotation["answers"]] == list(range(1, 11))
        most = Counter(answer["answer"] for answer in annotation["answers"]).most_common(1)[0][0]
        agreeing += most == annotation["multiple_choice_answer"]
    assert agreeing >= 0.97 * len(annotations)
    assert {annotation["answer_type"] for annotation in annotations} == {"yes/no", "number", "other"}
    unanimous = sum(len({answer["answer"] for answer in annotation["answers"]}) == 1 for annotation in annotations)
    assert 0 < unanimous < len(annotations) / 2  # 0.85^10 = 20 % of the questions have no careless answer


def test_images_of_2017_are_those_of_2014(miniature: Path) -> None:
    later = sorted((miniature / "coco/val2017").iterdir())
    earlier = sorted((miniature / "coco/val2014").iterdir())
    assert [f"COCO_val2014_{path.name}" for path in later] == [path.name for path in earlier]
    assert [path.read_bytes() for path in later[:5]] == [path.read_bytes() for path in earlier[:5]]
