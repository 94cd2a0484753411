"""Pre-training scenes: their kinds, their categories, and targets that agree with the scene."""

from __future__ import annotations

from collections import Counter

import numpy as np

from harness.core import Boxes, Grounded, Text
from tasks.miniature.pretraining import FIRST_PRETRAINING_SEED, UNSEEN, pretraining_scene
from tasks.miniature.render import rendered_scene, rendered_signs
from tasks.miniature.shapes import SEEN
from tasks.miniature.training import CATEGORIES, FIRST_TRAINING_SEED, WITH_SIGNS

SEEDS = range(FIRST_PRETRAINING_SEED, FIRST_PRETRAINING_SEED + 30)
KNOWN = tuple(name for name in SEEN if name not in UNSEEN)


def test_scenes_have_no_questions_and_no_unseen_category() -> None:
    kinds: Counter[str] = Counter()
    for seed in SEEDS:
        scene = pretraining_scene(seed)
        kinds.update(sample.question.kind for sample in scene.samples)
        assert not {CATEGORIES[classes[0]] for _, classes in scene.things} & set(UNSEEN)
        texts = " ".join(t for sample in scene.samples if isinstance(sample.target, Text) for t in sample.target.texts)
        assert not any(name in texts for name in UNSEEN)
    assert kinds.keys() == {"caption", "detailed_caption", "more_detailed_caption", "detect", "ground", "refer",
                            "segment", "find", "ocr", "ocr_regions", "regions", "propose", "name", "describe",
                            "outline", "read"}  # fmt: skip


def test_seeds_are_not_those_of_training() -> None:
    assert FIRST_TRAINING_SEED + 1_000_000 < FIRST_PRETRAINING_SEED


def test_targets_are_boxes_of_the_scene() -> None:
    for seed in SEEDS:
        scene = pretraining_scene(seed)
        signs = seed % WITH_SIGNS == 0
        rendered = rendered_signs(seed, KNOWN) if signs else rendered_scene(seed, KNOWN)
        assert np.array_equal(scene.image, rendered.image)
        for sample in scene.samples:
            question, target = sample.question, sample.target
            if isinstance(target, Grounded):
                assert [question.text[p.start : p.end] for p in question.phrases] == [p.text for p in question.phrases]
                assert {box for boxes in target.boxes for box in boxes} == set(rendered.boxes)
            if question.kind == "detect":
                assert isinstance(target, Boxes) and set(target.boxes) == set(rendered.boxes)
            if question.kind == "refer" and isinstance(target, Boxes) and "letter" not in question.text:
                assert target.boxes[0] in rendered.boxes
