"""Random draws and scenes from seeds."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tasks.miniature.lettering import WORDS
from tasks.miniature.scene import BACKGROUNDS, SIZES, Draw, draw_scene, draw_signs
from tasks.miniature.shapes import COLOURS, SEEN, SIGN


def test_draw_uses_python_s_random_numbers_only() -> None:
    numbers = random.Random(7)
    draw = Draw(7)
    assert draw.random() == numbers.random()
    assert draw.between(2, 6) == 2 + 4 * numbers.random()
    assert draw.below(10) == int(10 * numbers.random())
    assert draw.one_of("abc") == "abc"[int(3 * numbers.random())]
    left, shuffled = list("abcd"), []
    while left:
        shuffled.append(left.pop(int(len(left) * numbers.random())))
    assert draw.shuffled("abcd") == shuffled


@pytest.mark.parametrize("most", [2, 3, 5])
def test_scene_has_two_to_most_things_within_its_image(most: int) -> None:
    counts: Counter[int] = Counter()
    for seed in range(60):
        scene = draw_scene(seed, 0, most=most)
        assert scene.size in SIZES and scene.background in BACKGROUNDS
        for thing in scene.things:
            assert thing.category in SEEN and thing.colour in COLOURS
            assert thing.half <= thing.x <= scene.size.width - thing.half
            assert thing.half <= thing.y <= scene.size.height - thing.half
        counts[len(scene.things)] += 1
    assert max(counts) == most and counts[most] > 0


def test_scene_depends_on_seed_and_attempt_only() -> None:
    assert draw_scene(3, 1) == draw_scene(3, 1)
    assert len({draw_scene(3, 0), draw_scene(3, 1), draw_scene(4, 0)}) == 3


def test_signs_are_in_front_with_different_colours() -> None:
    for seed in range(40):
        scene = draw_signs(seed, 0)
        if scene is None:
            continue
        signs = [thing for thing in scene.things if thing.category == SIGN]
        assert 1 <= len(signs) <= 2 and scene.things[-len(signs) :] == tuple(signs)
        assert all(sign.word in WORDS and sign.tilt == 0 for sign in signs)
        assert len({sign.colour for sign in signs}) == len({sign.word for sign in signs}) == len(signs)
