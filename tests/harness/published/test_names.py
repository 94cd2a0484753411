"""The mapping between our task names and the names in published.csv."""

from __future__ import annotations

import pytest

from harness.published import JOINED, every, figures, ours
from tasks import TASKS


@pytest.mark.parametrize(("task", "split"), JOINED)
def test_joined_split_has_published_figures_of_the_headline(task: str, split: str) -> None:
    assert split in TASKS[task].splits
    assert figures(task, split, TASKS[task].headline), "no figure in published.csv has this name"


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
def test_figures_of_a_task_include_the_number_of_the_paper(
    task: str, split: str, metric: str, zero_shot: float
) -> None:
    values = {f.value for f in figures(task, split, metric) if f.model == "Florence-2-L" and f.protocol == "zero_shot"}
    assert zero_shot in values


@pytest.mark.parametrize(("task", "split", "metric", "model", "value"), [
    ("refcoco_res", "val", "mIoU", "Florence-2-L", 35.8),  # arXiv:2311.06242v1, Table 4
    ("refcocog", "test", "Acc@0.5", "Florence-2-B", 65.1),
    ("flickr30k_caption", "test", "CIDEr", "Qwen-VL (7B)", 85.8),  # README of Qwen-VL
    ("lvis_minival", "minival", "fixed AP", "MM-GDINO-T (O365,GoldG,GRIT,V3Det)", 41.4),  # README of MM-Grounding-DINO
    ("lvis_val", "val", "fixed APr", "GDINO-T (O365,GoldG,Cap4M)", 10.1),
])  # fmt: skip
def test_figures_of_a_task_have_model_protocol_and_source(
    task: str, split: str, metric: str, model: str, value: float
) -> None:
    published = figures(task, split, metric)
    assert any((f.model, f.value, f.protocol) == (model, value, "zero_shot") for f in published)
    assert all(f.source for f in published)
    assert figures("nothing", split, metric) == []


def test_figures_of_an_unpublished_split_or_metric_are_empty() -> None:
    assert figures("vizwiz", "val", "accuracy") == []  # papers report test-dev
    assert figures("odinw_miniature", "val", "mAP") == []
    assert figures("coco_caption", "test", "R@1") == []


@pytest.mark.parametrize(("task", "split"), JOINED)
def test_ours_of_a_published_column_inverts_the_mapping(task: str, split: str) -> None:
    for figure in figures(task, split, TASKS[task].headline):
        assert ours(*figure.column) == (task, split, TASKS[task].headline)


@pytest.mark.parametrize(("metric", "value"), [("image-to-text R@1", 87.7), ("text-to-image R@1", 66.9)])
def test_retrieval_has_the_figures_of_each_direction_and_none_of_phrase_grounding(metric: str, value: float) -> None:
    """open_clip's results of OpenAI's ViT-L/14 at 336 pixels."""
    published = figures("flickr30k_retrieval", "test", metric)
    assert [f.value for f in published if f.model == "ViT-L-14-336 (openai)"] == [value]
    assert not any("Florence" in f.model for f in published)
    assert {ours(*f.column) for f in published} == {("flickr30k_retrieval", "test", metric)}
    assert figures("flickr30k_retrieval", "test", "R@1") == figures("coco_retrieval", "test", metric) == []
    assert {ours(*f.column) for f in figures("flickr30k", "test", "R@1")} == {("flickr30k", "test", "R@1")}


def test_ours_of_an_unmapped_task_is_none() -> None:
    assert ours("ODinW-35 detection", "test", "AP median") == ("odinw35", "val", "mAP median")
    assert ours("VQAv2", "test-dev", "accuracy") is None
    unknown = {figure.task for figure in every() if ours(*figure.column) is None}
    assert "ADE20K segmentation (UperNet)" in unknown and "COCO caption" in unknown  # split "as in paper"
