"""A recipe of seconds, for tests."""

from __future__ import annotations

from dataclasses import replace

from harness.florence2.config import NANO, TextConfig
from harness.training.recipe import Drawing, Plan, Recipe

SMALL = replace(
    NANO,
    image_size=64,
    text=TextConfig(width=32, heads=2, encoder_layers=1, decoder_layers=1, ffn=32, positions=256, vocab=1400),
    vision=replace(NANO.vision, dims=(8, 8, 16, 16), heads=(1, 1, 2, 2), groups=(1, 1, 2, 2)),
)
TINY = Recipe(
    name="tiny",
    about="",
    config=SMALL,
    plan=Plan(steps=6, batch=4, rate=1.5e-3, warmup=2, average=0.999, save_every=2),
    data=Drawing(
        scenes=24,
        slots=(("refer",), ("segment",), ("caption", "detect", "ground", "refer", "segment")),
        few=9,
        few_until=0.15,
        regions=0.5,
        vision=Plan(steps=3, batch=4, rate=2e-3, warmup=2, save_every=2),
    ),
    sigma=(10.0, 3.0),
    answer_limit=80,
)
