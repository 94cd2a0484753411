"""Which tasks a name or a glob means, on which data."""

from __future__ import annotations

from pathlib import Path

from harness.evaluation.plan import MINIATURE, selected
from tasks import TASKS


def names(asked: str, data: str, root: Path) -> list[str]:
    return [task.name for task in selected(asked, data, root)]


RERANK = ["flickr30k_rerank", "coco_rerank"]  # about the candidates of a first run, which a request names


def test_all_on_the_embedded_benchmark_leaves_out_tasks_without_files_there(miniature: Path) -> None:
    assert set(TASKS) - set(names("all", MINIATURE, miniature)) == {
        "odinw13", "odinw35", "grefcoco", "grefcoco_res", "rf100_vl", "lvis_val", *RERANK,
    }  # fmt: skip
    assert names("odinw*", MINIATURE, miniature) == ["odinw_miniature"]


def test_all_on_other_data_leaves_out_the_tasks_of_the_embedded_benchmark(miniature: Path, tmp_path: Path) -> None:
    assert set(TASKS) - set(names("all", "data", tmp_path)) == {
        "odinw_miniature", "rf100_vl_miniature", *RERANK,
    }  # fmt: skip
    assert names("vizwiz,odinw*", "data", tmp_path) == ["vizwiz", "odinw13", "odinw35"]
    assert names("all", "a copy of the embedded files", miniature) == [name for name in TASKS if name not in RERANK]


def test_a_named_task_is_selected_whatever_the_data_has(miniature: Path, tmp_path: Path) -> None:
    assert names("odinw13,coco_d*,coco_c*", MINIATURE, miniature) == ["odinw13", "coco_detection", "coco_caption"]
    assert names("odinw_miniature", "data", tmp_path) == ["odinw_miniature"]
