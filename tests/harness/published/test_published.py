"""Our tasks beside the published figures: one table of names."""

from __future__ import annotations

import pytest

from harness.published import JOINED, figures
from tasks import TASKS


@pytest.mark.parametrize(("task", "split"), JOINED)
def test_every_name_leads_to_figures_of_the_headline(task: str, split: str) -> None:
    assert split in TASKS[task].splits
    assert figures(task, split, TASKS[task].headline), "nothing in published.csv is called so"


@pytest.mark.parametrize(("task", "split", "metric", "zero_shot"), [
    # arXiv:2311.06242v1, Table 4 and 6: Florence-2-L, zero-shot.
    ("coco_caption", "test", "CIDEr", 135.6),
    ("nocaps", "val", "CIDEr", 120.8),
    ("textcaps", "val", "CIDEr", 72.8),
    ("coco_detection", "val2017", "mAP", 37.5),
    ("flickr30k", "test", "R@1", 84.4),
    ("refcoco", "val", "Acc@0.5", 56.3),
    ("refcoco", "testA", "Acc@0.5", 61.6),
    ("refcocog", "test", "Acc@0.5", 67.0),
    ("refcoco_res", "val", "mIoU", 35.8),
])  # fmt: skip
def test_the_papers_own(task: str, split: str, metric: str, zero_shot: float) -> None:
    found = {f.value for f in figures(task, split, metric) if f.model == "Florence-2-L" and f.protocol == "zero_shot"}
    assert zero_shot in found


def test_where_nothing_is_published() -> None:
    assert figures("vizwiz", "val", "accuracy") == []  # papers give test-dev
    assert figures("odinw_miniature", "val", "mAP") == []
    assert figures("coco_caption", "test", "R@1") == []
