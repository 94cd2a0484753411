"""Closed-set detectors at tiny size: transformers' own post-processing, classes by name, and the commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    DeformableDetrImageProcessorPil,
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessorPil,
    DFineConfig,
    DFineForObjectDetection,
    LwDetrConfig,
    LwDetrForObjectDetection,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessorPil,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)

import harness
from baselines import closed_set
from baselines.entry import Entry, Setting
from baselines.pretrained import Checkpoint
from harness.core import Phrase, Question
from harness.errors import UsageError
from harness.evaluation import grid
from harness.evaluation.evaluate import unanswerable
from harness.evaluation.request import Request
from harness.metrics.labels import category_of
from tasks.detection import SYNONYMS
from tests.baselines import detectors, rivals

ENTRIES = {entry.name: entry for entry in closed_set.ENTRIES}
KINDS = {
    "detr": "detr-r50", "rt_detr": "rt-detr-r18", "rt_detr_v2": "rt-detr-v2-r18", "d_fine": "d-fine-s",
    "lw_detr": "lw-detr-s",
}  # fmt: skip
NAMES = ("N/A", "house", "tree", "car", "robot")  # four of the miniature's, and one of DETR's gaps
ALL_NAMES = (*NAMES, "boat", "fish", "mushroom", "rocket", "flower", "umbrella", "cat", "cup")  # the miniature's 12
RESNET = {
    "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic",
    "out_indices": [2, 3, 4],
}  # fmt: skip
SIDE = {"height": 64, "width": 64}


def models(kind: str, names: Sequence[str] = NAMES) -> tuple[Any, Any]:
    """A tiny model with random weights, and its image processor."""
    named = {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}
    small = {
        "d_model": 32, "encoder_layers": 1, "encoder_ffn_dim": 32, "decoder_layers": 2, "decoder_ffn_dim": 32,
        "decoder_attention_heads": 4, "encoder_attention_heads": 4, "num_queries": 20,
    }  # fmt: skip
    hybrid = {
        **small, "encoder_in_channels": [8, 16, 16], "encoder_hidden_dim": 32, "decoder_in_channels": [32, 32, 32],
        "feat_strides": [8, 16, 32], "num_denoising": 0,
    }  # fmt: skip
    rt_backbone = {"model_type": "rt_detr_resnet", **RESNET}
    if kind == "detr":
        backbone = {"model_type": "resnet", **RESNET, "out_indices": [4]}
        config = DetrConfig(backbone_config=backbone, use_timm_backbone=False, backbone=None, **small, **named)
        return DetrForObjectDetection(config), DetrImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    if kind == "lw_detr":
        backbone = {
            "model_type": "lw_detr_vit", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_size": 64, "pretrain_image_size": 64, "patch_size": 8, "num_windows": 4, "out_indices": [1, 2],
            "window_block_indices": [0],
        }  # fmt: skip
        config = LwDetrConfig(
            backbone_config=backbone, d_model=32, decoder_ffn_dim=32, decoder_layers=2, num_queries=20,
            decoder_self_attention_heads=4, decoder_cross_attention_heads=4, projector_scale_factors=[1.0],
            group_detr=2, **named,
        )  # fmt: skip
        return LwDetrForObjectDetection(config), DeformableDetrImageProcessorPil(size=SIDE)
    pixels = RTDetrImageProcessorPil(size=SIDE)
    if kind == "rt_detr":
        return RTDetrForObjectDetection(RTDetrConfig(backbone_config=rt_backbone, **hybrid, **named)), pixels
    if kind == "rt_detr_v2":
        return RTDetrV2ForObjectDetection(RTDetrV2Config(backbone_config=rt_backbone, **hybrid, **named)), pixels
    backbone = {
        "model_type": "hgnet_v2", "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1],
        "stem_channels": [3, 8, 8], "stage_in_channels": [8, 8, 8, 16], "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [8, 8, 16, 16], "stage_num_blocks": [1, 1, 1, 1], "stage_numb_of_layers": [1, 1, 1, 1],
        "out_indices": [2, 3, 4],
    }  # fmt: skip
    return DFineForObjectDetection(DFineConfig(backbone_config=backbone, **hybrid, **named)), pixels


@pytest.fixture(scope="module", params=list(KINDS))
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Entry, Path]:
    """A kind, its entry, and a checkpoint of it."""
    kind = request.param
    return kind, ENTRIES[KINDS[kind]], saved(tmp_path_factory.mktemp(kind), kind)


@pytest.fixture(scope="module", params=list(KINDS))
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, Path]:
    """An entry, and a checkpoint of its kind with all categories of the miniature."""
    return ENTRIES[KINDS[request.param]], saved(tmp_path_factory.mktemp(request.param), request.param, ALL_NAMES)


def saved(folder: Path, kind: str, names: Sequence[str] = NAMES) -> Path:
    """A checkpoint with random weights."""
    torch.manual_seed(0)
    model, pixels = models(kind, names)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    pixels.save_pretrained(folder)
    return folder


def test_boxes_equal_transformers_post_processing_without_threshold(tiny: tuple[str, Entry, Path]) -> None:
    kind, entry, folder = tiny
    model = entry.load(Setting(root=folder, weights=str(folder), device="cpu"))
    _, processor = models(kind)
    theirs = type(models(kind)[0]).from_pretrained(folder).eval()
    for name, (width, height) in list(zip(rivals.images(folder), rivals.SIZES, strict=True))[:4]:
        value = rivals.answers(model, [(0, Question(name, None, "detect", phrases=(Phrase("house"),)))])[0].value
        inputs = processor([Image.open(folder / name)], return_tensors="pt")
        with torch.no_grad():
            output = theirs(pixel_values=inputs["pixel_values"])
        more = {"top_k": 20} if kind == "lw_detr" else {}
        [found] = processor.post_process_object_detection(output, 0.0, target_sizes=[(height, width)], **more)
        records = [
            (float(score), NAMES[int(label)], box.tolist())
            for score, label, box in zip(found["scores"], found["labels"], found["boxes"], strict=True)
            if NAMES[int(label)] != "N/A"
        ]
        assert records
        detectors.assert_boxes(value, sorted(records, key=lambda record: -record[0]))


def test_answers_do_not_depend_on_the_batch(tiny: tuple[str, Entry, Path], tmp_path: Path) -> None:
    _, entry, folder = tiny
    detectors.check_batches(entry, folder, tmp_path)


@pytest.mark.parametrize("whole", ["detr", "d_fine"], indirect=True)
def test_map_equals_pycocotools_on_the_exported_results(whole: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = whole
    detectors.check_coco_eval(entry, folder, tmp_path)


@pytest.mark.parametrize("whole", ["rt_detr"], indirect=True)
def test_only_coco_detection_is_run_and_odinw_is_left_out_with_the_reason(
    whole: tuple[Entry, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry, folder = whole
    rivals.check_commands(entry, folder, tmp_path, rivals.DETECT)
    assert "left out: odinw_miniature, since tiny answers no find questions, only detect" in caplog.text


@pytest.mark.parametrize("whole", ["d_fine"], indirect=True)
def test_task_with_a_category_that_the_checkpoint_lacks_is_blank_with_the_reason(
    whole: tuple[Entry, Path], tmp_path: Path
) -> None:
    """Of the miniature's 12 categories, this checkpoint has 11, one of them in capitals; it lacks "rocket"."""
    entry, folder = whole
    weights = Path(shutil.copytree(folder, tmp_path / "weights"))
    config = json.loads((weights / "config.json").read_text())
    names = [{"house": "HOUSE", "rocket": "plane"}.get(name, name) for name in ALL_NAMES]
    config["id2label"] = dict(enumerate(names))
    (weights / "config.json").write_text(json.dumps(config))
    given: dict[str, Any] = {"data": "miniature", "limit": 2, "out": tmp_path / "results", "weights": str(weights)}
    request = Request(task="coco_detect*,lvis_min*,odinw_mini*", model=entry.name, **given)
    planned = grid.plan(request)
    assert list(planned) == []
    reasons = {cell.task: cell.reason for cell in planned.cells}
    assert reasons == {
        "coco_detection": "detects 11 of its 12 categories, and not 'rocket'",
        "lvis_minival": "detects 11 of its 12 categories, and not 'rocket'",
        "odinw_miniature": "answers no find questions, only detect",
    }
    with pytest.raises(UsageError, match="cannot be evaluated on lvis_minival: it detects 11 of its 12 categories"):
        harness.evaluate("lvis_minival", entry, **given)


def test_published_weights_know_cocos_names_and_are_not_fetched_to_say_so(tmp_path: Path) -> None:
    """Of LVIS' 1,203 categories they know few: the miniature stands for it, of which COCO has five."""
    assert len(set(closed_set.COCO)) == 80
    assert set(SYNONYMS.values()) <= set(closed_set.COCO)
    assert {SYNONYMS[old]: old for old in closed_set.OLDER} == {new: old for old, new in closed_set.OLDER.items()}
    with pytest.raises(UsageError, match=r"detects 5 of its 12 categories, and not 'house'"):
        harness.evaluate("lvis_minival", "rt-detr-r18", data="miniature", out=tmp_path)


def test_older_names_of_a_checkpoint_stand_for_cocos(tmp_path: Path) -> None:
    older = {new: old for old, new in closed_set.OLDER.items()}
    names = {number: older.get(name, name) for number, name in enumerate(closed_set.COCO)}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": names}))
    known = closed_set.categories(str(tmp_path), Checkpoint("x", "owner/x"))
    assert known >= set(closed_set.COCO)
    questions = [Question("a.png", None, "detect", phrases=tuple(map(Phrase, closed_set.COCO)))]
    assert unanswerable({"detect"}, questions, lambda: known) == ""
    (tmp_path / "config.json").write_text("{}")
    assert closed_set.categories(str(tmp_path), Checkpoint("x", "owner/x")) == frozenset()


@pytest.mark.parametrize(
    ("written", "name"),
    [
        # names of RT-DETR's checkpoints, which are older than COCO's
        ("motorbike", "motorcycle"), ("aeroplane", "airplane"), ("sofa", "couch"), ("pottedplant", "potted plant"),
        ("diningtable", "dining table"), ("tvmonitor", "tv"), ("person", "person"),
    ],
)  # fmt: skip
def test_class_name_of_a_checkpoint_finds_cocos_category(written: str, name: str) -> None:
    assert category_of(written, (Phrase("other"), Phrase(name)), SYNONYMS) == 1


def test_checkpoint_of_the_hub_is_downloaded_once(
    tiny: tuple[str, Entry, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, entry, folder = tiny
    rivals.check_hub(entry, folder, tmp_path / "cache", monkeypatch)
