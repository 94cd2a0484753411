"""`run` of a model of every family at tiny size, on a task of each kind, in one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import baselines
from baselines.entry import Entry
from harness.core import Kind, Run, Source
from harness.evaluation import grid
from harness.evaluation.plan import selected
from harness.evaluation.request import Request, Scorers
from tests.baselines.test_blip2 import tiny as blip2
from tests.baselines.test_blip2_itm import tiny as blip2_itc
from tests.baselines.test_clip import tiny as clip
from tests.baselines.test_closed_set import whole as closed_set
from tests.baselines.test_grounding_dino import tiny as grounding_dino
from tests.baselines.test_idefics import tiny as idefics
from tests.baselines.test_instructblip import tiny as instructblip
from tests.baselines.test_internvl import folder as internvl
from tests.baselines.test_kosmos2 import tiny as kosmos2
from tests.baselines.test_llava_onevision import folder as llava_onevision
from tests.baselines.test_omdet_turbo import tiny as omdet_turbo
from tests.baselines.test_owl import tiny as owl
from tests.baselines.test_paligemma import tiny as paligemma
from tests.baselines.test_qwen_vl import tiny as qwen_vl
from tests.baselines.test_sam import tiny as sam
from tests.baselines.test_sam2 import tiny as sam2
from tests.baselines.test_siglip import tiny as siglip
from tests.baselines.test_smolvlm import tiny as smolvlm

CHECKPOINTS = (  # fixtures, which pytest finds by these names
    blip2, blip2_itc, clip, closed_set, grounding_dino, idefics, instructblip, internvl, kosmos2, llava_onevision,
    omdet_turbo, owl, paligemma, qwen_vl, sam, sam2, siglip, smolvlm,
)  # fmt: skip
FAMILIES = {  # the fixture of a family, with its parameter where it has several, and the entry of its checkpoint
    "kosmos2": ("", "kosmos2"),
    "blip2": ("opt", "blip2-opt-2.7b"),
    "instructblip": ("t5", "instructblip-flan-t5-xl"),
    "idefics": ("idefics3-8b", "idefics3-8b"),
    "paligemma": ("gemma2", "paligemma-3b-mix-224"),
    "qwen_vl": ("qwen3", "qwen3-vl-2b"),
    "internvl": ("", "internvl3-1b"),
    "llava_onevision": ("", "llava-onevision-0.5b"),
    "smolvlm": ("smolvlm-256m", "smolvlm-256m"),
    "grounding_dino": ("gdino", "grounding-dino-t"),
    "owl": ("owlv2", "owlv2-b"),
    "omdet_turbo": ("", "omdet-turbo"),
    "closed_set": ("detr", "detr-r50"),
    "sam": ("", "sam-b"),
    "sam2": ("", "sam2-t"),
    "clip": ("", "clip-vit-b-32"),
    "siglip": ("siglip-b-16-224", "siglip-b-16-224"),
    "blip2_itc": ("", "blip2-itc"),
}
CASES = [(fixture, parameter) for fixture, (parameter, _) in FAMILIES.items() if parameter]


def folder_of(checkpoint: Any) -> Path:
    """The folder of a checkpoint, which a fixture gives alone or with other things."""
    parts: Sequence[Any] = checkpoint if isinstance(checkpoint, tuple) else [getattr(checkpoint, "folder", checkpoint)]
    return next(part for part in parts if isinstance(part, Path))


def bound(entry: Entry, folder: Path, built: list[str]) -> Entry:
    """The entry with the weights of a folder, and short answers where it writes."""

    def build(setting: Any, options: Any) -> Any:
        built.append(entry.name)
        short = {"max_new_tokens": 4} if hasattr(options, "max_new_tokens") else {}
        return entry.build(replace(setting, weights=str(folder)), replace(options, **short))

    known = partial(entry.categories, str(folder)) if entry.categories is not None else None
    return replace(
        entry,
        build=build,
        checkpoint=None if entry.checkpoint is None else lambda _: folder,
        base=None,
        categories=None if known is None else lambda _: known(),
    )


@pytest.mark.slow
@pytest.mark.usefixtures(*(fixture for fixture, _ in CASES))
@pytest.mark.parametrize([fixture for fixture, _ in CASES], [[parameter for _, parameter in CASES]], indirect=True)
def test_every_family_answers_the_tasks_of_its_kinds_and_leaves_the_others_blank(
    request: pytest.FixtureRequest, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    models = {}
    for fixture, (_, name) in FAMILIES.items():
        models[name] = bound(baselines.find(name), folder_of(request.getfixturevalue(fixture)), built)
    monkeypatch.setattr(baselines, "MODELS", {**baselines.MODELS, **models})
    tasks = [task for task in selected("all", "miniature", miniature) if not task.candidates_of]
    kinds_of = {
        task.name: frozenset(sample.question.kind for sample in task.load(Source(miniature, task.splits[0])))
        for task in tasks
    }
    first = {of_task: name for name, of_task in reversed(kinds_of.items())}  # one task for each set of kinds
    kinds: dict[str, frozenset[Kind]] = {name: of_task for of_task, name in first.items()}
    common: dict[str, Any] = {"data": "miniature", "limit": 1, "device": "cpu", "scorers": Scorers(meteor=False)}
    planned = grid.plan(Request(task=",".join(kinds), model=",".join(models), out=tmp_path, **common))
    runs: list[Run] = [evaluated.run for evaluated in planned]
    expected = {(name, task) for name, entry in models.items() for task in kinds if kinds[task] <= entry.answers({})}
    assert {(run.spec.model, run.spec.task) for run in runs} == expected
    assert all(run.status == "partial" and run.counts["failed"] == 0 for run in runs)
    assert all(run.provenance["cost"]["GFLOPs"] > 0 and run.provenance["model"]["parameters"] > 0 for run in runs)
    assert all("peak memory MiB" in run.timings and "images/s" in run.timings for run in runs)
    blanks = {(cell.model, cell.task) for cell in planned.cells}
    assert blanks == {(name, task) for name in models for task in kinds} - expected
    assert all(cell.reason.startswith("answers no ") and not cell.command for cell in planned.cells)
    assert set(built) == set(models)
    once = [name for name in models if not models[name].sees_targets]
    assert [name for name in built if name in once] == once  # SAM with the boxes of the targets is built for each task
    planned.check()
