"""Packed scenes: every kind that can be queried can be taught."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core import Box, Boxes, Polygons, Question, Sample, Text, Value
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import Tokenizer
from harness.training.data import KINDS, Pack, cached_pack, pack

WEIGHTS = Path(__file__).parents[3] / "baselines/weights/florence2-nano"
# The scene is 100x50: bins are 0.1 wide and 0.05 high, so 10 is in bin 100, 50 in 500, 5 in 100 and 25 in 500.
REGION: Box = (10.01, 5.01, 50.01, 25.01)
TOKENS = "<loc_100><loc_100><loc_500><loc_500>"
TAUGHT: list[tuple[Question, Value, str, str]] = [
    (Question("", None, "name", region=REGION), Text(("dog",)), f"What is the region {TOKENS}?", f"dog{TOKENS}"),
    (Question("", None, "outline", region=REGION), Polygons((((10.01, 5.01), (50.01, 5.01), (50.01, 25.01)),)),
     f"What is the polygon mask of region {TOKENS}", "<loc_100><loc_100><loc_500><loc_100><loc_500><loc_500>"),
    (Question("", None, "read", region=REGION), Text(("STOP",)), f"What text is in the region {TOKENS}?", "STOP"),
    (Question("", None, "propose"), Boxes((REGION,)), "Locate the region proposals in the image.", TOKENS),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """One image with every sample of TAUGHT."""

    image: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((50, 100, 3), np.uint8))
    samples: tuple[Sample[Any], ...] = tuple(
        Sample(question.kind, question, value, "") for question, value, _, _ in TAUGHT
    )
    things: tuple[tuple[Box, tuple[int, ...]], ...] = ((REGION, (0,)),)


def make(tokenizer: Tokenizer) -> Pack:
    return pack(lambda seed: Scene(), range(3), tokenizer, Preprocess(32, 32), answer_limit=40, workers=1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(WEIGHTS)


def test_kinds_about_regions_are_packed_as_they_are_written(tokenizer: Tokenizer) -> None:
    made = make(tokenizer)
    for question, _, prompt, answer in TAUGHT:
        [(prompt_ids, answer_ids)] = made.examples_of(question.kind, np.array([2]), np.random.default_rng(0))
        assert prompt_ids.tolist() == tokenizer.encode(prompt)
        assert answer_ids.tolist() == tokenizer.encode(answer)


def test_pack_kept_before_a_kind_existed_has_no_examples_of_it(tokenizer: Tokenizer, tmp_path: Path) -> None:
    made = cached_pack(tmp_path / "new.npz", lambda: make(tokenizer))
    with np.load(tmp_path / "new.npz") as kept:
        old = {name: array for name, array in kept.items() if not name.startswith(("name.", "propose."))}
    np.savez(tmp_path / "old.npz", **old)
    found = cached_pack(tmp_path / "old.npz", lambda: pytest.fail("the kept pack was not read"))
    assert found.examples.keys() == made.examples.keys() == set(KINDS)
    assert found.having(["read", "outline"]).tolist() == [True] * 3
    for kind in ("name", "propose", "caption"):
        assert found.having([kind]).tolist() == [False] * 3
    assert found.head(1).having(["name"]).tolist() == [False]
