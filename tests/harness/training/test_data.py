"""Packs of scenes: ids of every kind, files, and batches that are functions of (seed, step)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.core import Box, Boxes, Polygons, Question, Sample, Text, Value
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import Tokenizer
from harness.training.data import (
    KINDS,
    Examples,
    Pack,
    cached_pack,
    digest,
    pack,
    region_batches,
    scene_batches,
    sigma_at,
)
from harness.training.parallel import Ranks
from harness.training.recipe import Drawing, Plan, Recipe

WEIGHTS = Path(__file__).parents[3] / "baselines/weights/florence2-nano"
# The scene is 100x50: bins are 0.1 wide and 0.05 high.  10.01 and 5.01 are in bin 100, 50.01 and 25.01 in bin 500.
REGION: Box = (10.01, 5.01, 50.01, 25.01)
TOKENS = "<loc_100><loc_100><loc_500><loc_500>"
EXAMPLES: list[tuple[Question, Value, str, str]] = [
    (Question("", None, "name", region=REGION), Text(("dog",)), f"What is the region {TOKENS}?", f"dog{TOKENS}"),
    (Question("", None, "outline", region=REGION), Polygons((((10.01, 5.01), (50.01, 5.01), (50.01, 25.01)),)),
     f"What is the polygon mask of region {TOKENS}", "<loc_100><loc_100><loc_500><loc_100><loc_500><loc_500>"),
    (Question("", None, "read", region=REGION), Text(("STOP",)), f"What text is in the region {TOKENS}?", "STOP"),
    (Question("", None, "propose"), Boxes((REGION,)), "Locate the region proposals in the image.", TOKENS),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """One image with every sample of EXAMPLES."""

    image: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((50, 100, 3), np.uint8))
    samples: tuple[Sample[Any], ...] = tuple(
        Sample(question.kind, question, value, "") for question, value, _, _ in EXAMPLES
    )
    things: tuple[tuple[Box, tuple[int, ...]], ...] = ((REGION, (0,)),)


def make(tokenizer: Tokenizer) -> Pack:
    return pack(lambda seed: Scene(), range(3), tokenizer, Preprocess(32, 32), answer_limit=40, workers=1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(WEIGHTS)


def test_pack_of_region_kinds_has_ids_of_prompts_and_answers(tokenizer: Tokenizer) -> None:
    packed = make(tokenizer)
    for question, _, prompt, answer in EXAMPLES:
        [(prompt_ids, answer_ids)] = packed.examples_of(question.kind, np.array([2]), np.random.default_rng(0))
        assert prompt_ids.tolist() == tokenizer.encode(prompt)
        assert answer_ids.tolist() == tokenizer.encode(answer)


def test_pack_file_older_than_a_kind_has_no_examples_of_it(tokenizer: Tokenizer, tmp_path: Path) -> None:
    new = cached_pack(tmp_path / "new.npz", lambda: make(tokenizer))
    with np.load(tmp_path / "new.npz") as arrays:
        older = {name: array for name, array in arrays.items() if not name.startswith(("name.", "propose."))}
    np.savez(tmp_path / "old.npz", **older)
    old = cached_pack(tmp_path / "old.npz", lambda: pytest.fail("the file was not used"))
    assert old.examples.keys() == new.examples.keys() == set(KINDS)
    assert old.has_all(["read", "outline"]).tolist() == [True] * 3
    for kind in ("name", "propose", "caption"):
        assert old.has_all([kind]).tolist() == [False] * 3
    assert old.head(1).has_all(["name"]).tolist() == [False]


def small_pack() -> Pack:
    """Ten scenes of one colour each; scene s has s % 4 + 1 things, and two captions with the ids 10 s and 10 s + 1."""
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 4, 4, 3).clone()
    regions = np.full((10, 4, 5), -1, np.float32)
    for scene in range(10):
        regions[scene, : scene % 4 + 1] = (0, 0, 1, 1, 0)
    ids = np.array([10 * scene + place for scene in range(10) for place in (0, 1)], np.int16)
    bounds = np.stack([np.arange(21)] * 2, axis=1)
    captions = Examples(np.arange(0, 21, 2), bounds, ids, ids)
    none = Examples(np.zeros(11, np.int64), np.zeros((1, 2), np.int64), ids[:0], ids[:0])
    return Pack(images, regions, {kind: captions if kind == "caption" else none for kind in KINDS})


def recipe(accumulate: int = 1) -> Recipe:
    plan = Plan(steps=8, batch=6, rate=1.0, accumulate=accumulate, seed=3)
    return Recipe(name="", about="", plan=plan, data=DRAWING, sigma=(8.0, 2.0))


DRAWING = Drawing(scenes=10, slots=(("caption",), ("caption",)), few=2, few_until=0.5, regions=1.0)


def test_scene_batches_have_the_examples_and_regions_of_their_scenes() -> None:
    pack = small_pack()
    steps = list(scene_batches(recipe(), DRAWING, pack)(0))
    assert len(steps) == 8
    for number, [batch] in enumerate(steps):
        scenes = batch.pixels[:, 0, 0, 0].tolist()
        assert batch.names == [f"scene {scene}" for scene in scenes]
        assert batch.image.tolist() == [0, 1, 2, 3, 4, 5] * 2  # one prompt per slot and image
        assert batch.kinds == ["caption"] * 12
        for image, prompt, answer in zip(batch.image.tolist(), batch.prompts, batch.answers, strict=True):
            assert prompt.tolist() == answer.tolist()
            assert prompt[0] // 10 == scenes[image]
        assert batch.regions is not None
        things = (batch.regions[..., 4] >= 0).sum(1).tolist()
        assert things == [scene % 4 + 1 for scene in scenes]
        if number < 4:  # the first half of the steps: at most two things
            assert max(things) <= 2
        # From 8 to 2 bins geometrically: a factor of 4 over the 8 steps.
        assert batch.sigma == pytest.approx(8 / 4 ** (number / 8))
    assert any(scene % 4 > 1 for [batch] in steps[4:] for scene in batch.pixels[:, 0, 0, 0].tolist())


def test_scene_batches_from_a_later_step_are_those_of_the_whole_run() -> None:
    pack = small_pack()
    whole, rest = (list(scene_batches(recipe(), DRAWING, pack)(start)) for start in (0, 5))
    for [expected], [batch] in zip(whole[5:], rest, strict=True):
        assert torch.equal(batch.pixels, expected.pixels)
        assert [ids.tolist() for ids in batch.answers] == [ids.tolist() for ids in expected.answers]
        assert (batch.step, batch.sigma) == (expected.step, expected.sigma)


@pytest.mark.parametrize("make_batches", ["scenes", "regions"])
def test_batches_of_all_processes_and_parts_are_the_whole_batch(
    make_batches: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_step(ranks: Ranks, accumulate: int) -> list[str]:
        monkeypatch.setattr(Ranks, "current", lambda: ranks)
        chosen = recipe(accumulate)
        batches = (
            scene_batches(chosen, DRAWING, small_pack())
            if make_batches == "scenes"
            else region_batches(chosen.plan, small_pack())
        )
        return [name for part in next(batches(0)) for name in part.names]

    whole = first_step(Ranks(), 1)
    shares = [first_step(Ranks(rank, 2), 3) for rank in (0, 1)]
    assert [len(share) for share in shares] == [3, 3]
    assert sorted(shares[0] + shares[1]) == sorted(whole)


def test_sigma_with_a_zero_is_zero() -> None:
    assert sigma_at((8.0, 2.0), 0.5) == 4.0
    assert sigma_at((8.0, 0.0), 0.5) == sigma_at((0.0, 8.0), 0.5) == 0.0


def test_digest_of_equal_values_is_equal() -> None:
    assert digest(1, ("a",)) == digest(1, ("a",)) != digest(1, ("b",))
    assert digest("x") == hashlib.sha256(b"('x',)").hexdigest()[:12]
