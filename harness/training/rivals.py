"""Recipes for rivals that transformers loads.  All settings are ours."""

from __future__ import annotations

from collections.abc import Mapping

from harness.training.recipe import Mixing, Plan, RivalRecipe

LORA_TASKS: Mapping[str, float] = {  # a model leaves out those whose questions it does not answer
    "coco_caption": 1.0, "textcaps": 0.5, "coco_detection": 1.0, "flickr30k": 1.0,
    "refcoco": 0.7, "refcoco_plus": 0.7, "refcocog": 0.7,
    "vqav2": 1.0, "textvqa": 1.0, "vizwiz": 0.5,
}  # fmt: skip

LORA_RECIPE = RivalRecipe(
    name="lora",
    about="low-rank adapters of a rival that writes text (PaliGemma, Qwen-VL), on every task at once or on some",
    plan=Plan(
        steps=2_000, batch=32, rate=2e-4, warmup=100, weight_decay=0.0, precision="bfloat16", accumulate=4,
        save_every=200,
    ),
    data=Mixing(tasks=LORA_TASKS, questions=1),
    lora=16,
    lora_alpha=32,
    lora_dropout=0.05,
    checkpointing=True,
)  # fmt: skip

DETECTOR_RECIPE = RivalRecipe(
    name="detector",
    about="a closed-set detector (DETR) with its backbone frozen, on the categories of a detection task",
    plan=Plan(steps=5_000, batch=16, rate=5e-5, warmup=200, weight_decay=1e-4, betas=(0.9, 0.999), clip=0.1),
    data=Mixing(tasks={"coco_detection": 1.0}, questions=1),
    freeze=("model.backbone",),
)
