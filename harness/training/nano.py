"""The recipes of the embedded checkpoints, florence2-nano and florence2-nano-ft."""

from __future__ import annotations

from dataclasses import replace

from harness.florence2.config import NANO
from harness.training.paper import UNIFIED_RECIPE, UNIFIED_TASKS
from harness.training.recipe import Drawing, Mixing, Plan, Recipe

NANO_RECIPE = Recipe(
    name="nano",
    about="florence2-nano from nothing, on scenes and words of its own (no questions, three categories missing)",
    config=NANO,
    plan=Plan(
        steps=3_000, batch=32, rate=2e-3, warmup=200, precision="bfloat16", average=0.999, optimiser="muon"
    ),
    data=Drawing(
        scenes=16_000,
        slots=(
            ("segment", "segment", "outline"),
            ("refer", "refer", "ground", "ground", "find"),
            (
                "caption", "detailed_caption", "more_detailed_caption", "detect", "detect", "ocr", "ocr_regions",
                "regions", "propose", "name", "describe", "read",
            ),
        ),
        few_until=0.15,
        regions=1.0,  # at 0, the tower forgets letters before the decoder learns to read
        vision=Plan(steps=1_000, batch=32, rate=2e-3, warmup=100, precision="bfloat16"),
    ),
    sigma=(10.0, 3.0),
    answer_limit=140,
)  # fmt: skip

NANO_UNIFIED_RECIPE = replace(
    UNIFIED_RECIPE,
    name="nano-unified",
    about="florence2-nano-ft: the same for florence2-nano, on the miniature's training root",
    image_size=128,
    plan=Plan(
        steps=3_000, batch=32, rate=2e-3, warmup=100, precision="bfloat16", average=0.999, optimiser="muon"
    ),
    data=Mixing(
        tasks={
            name: weight * (2 if name.endswith("_res") or name in ("coco_caption", "coco_detection") else 1)
            for name, weight in UNIFIED_TASKS.items()
        },
        splits={"coco_caption": ("train",)},
        questions=3,
        finding=("coco_detection",),
    ),
    sigma=(3.0, 1.0),
    answer_limit=140,
    checkpointing=False,
    stated=(),
)  # fmt: skip
