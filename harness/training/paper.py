"""The recipes of the paper: pre-training in two stages, and joint fine-tuning on all tasks or on some of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.florence2.config import BASE, LARGE, Config
from harness.training.recipe import Mixing, Plan, Recipe

PAPER = ("rate", "batch", "image_size", "samples", "AdamW", "cosine decay", "warmup", "mixed precision")
FLD: Mapping[str, float] = {"fld": 1.0}  # a task with annotations like those of FLD-5B, which is not published


def _paper(name: str, config: Config, samples: float, batch: int, rate: float, side: int) -> Recipe:
    """A stage of the paper's pre-training (arXiv:2311.06242v1, Table 15), with annotations like those of FLD-5B."""
    return Recipe(
        name=name,
        about=f"the paper's pre-training, {samples / 1e9:g} billion samples at {side} pixels (Table 15)",
        config=replace(config, image_size=side),
        image_size=side,
        plan=Plan(
            steps=round(samples / batch), batch=batch, rate=rate, warmup=5_000, precision="bfloat16", save_every=1_000
        ),
        data=Mixing(tasks=FLD),
        stated=PAPER,
    )


UNIFIED_TASKS: Mapping[str, float] = {
    "coco_caption": 1.0, "textcaps": 0.5, "coco_detection": 1.0, "flickr30k": 1.0,
    "refcoco": 0.7, "refcoco_plus": 0.7, "refcocog": 0.7,
    "refcoco_res": 1.4, "refcoco_plus_res": 1.4, "refcocog_res": 1.4,
    "vqav2": 1.0, "textvqa": 1.0, "vizwiz": 0.5,
}  # fmt: skip
REGION_TASKS = {
    name: weight
    for name, weight in UNIFIED_TASKS.items()
    if name.startswith(("refcoco", "flickr30k", "coco_detection"))
}

UNIFIED_RECIPE = Recipe(
    name="unified",
    about="the paper's generalist: one checkpoint fine-tuned on every task at once (Tables 5 and 6)",
    image_size=768,
    plan=Plan(
        steps=20_000, batch=256, rate=1e-5, warmup=1_000, precision="bfloat16", average=0.9998, save_every=500
    ),
    data=Mixing(tasks=UNIFIED_TASKS),
    checkpointing=True,
    stated=("the data sets (Table 14, of which only public ones with a task here)", "image_size"),
)  # fmt: skip

CAPTIONING_RECIPE = replace(
    UNIFIED_RECIPE,
    name="captioning",
    about="captions alone (the left of Table 5)",
    data=Mixing(tasks={"coco_caption": 1.0, "textcaps": 1.0}),
)
QUESTIONS_RECIPE = replace(
    UNIFIED_RECIPE,
    name="questions",
    about="questions alone (the right of Table 5)",
    data=Mixing(tasks={"vqav2": 2.0, "textvqa": 1.0, "vizwiz": 1.0}),
)
REGIONS_RECIPE = replace(
    UNIFIED_RECIPE, name="regions", about="region tasks alone (Table 6)", data=Mixing(tasks=REGION_TASKS)
)
PRETRAINING = (
    _paper("base-stage1", BASE, 3e9, 2048, 1e-4, 384),
    _paper("base-stage2", BASE, 0.5e9, 2048, 1e-4, 768),
    _paper("large-stage1", LARGE, 3e9, 3072, 1e-5, 384),
    _paper("large-stage2", LARGE, 0.1e9, 3072, 1e-5, 768),
)
