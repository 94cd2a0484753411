"""Filters on a folder: nothing is asked, only what depends on a changed setting is written again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.data_engine import filtering, recipes, tables
from harness.data_engine.filtering import filter_annotations, filter_images, is_stale, raw_records
from harness.data_engine.images import BenchmarkImages
from harness.data_engine.parents import Parents
from harness.data_engine.recipes import Recipe, stage
from harness.data_engine.regions import FUSION, Boxes
from harness.data_engine.shards import Engine
from harness.errors import UsageError
from tests.harness.data_engine.engines import ONE, OTHER, PERSON, image_row, region

IMAGES = [image_row(place) for place in range(5)]
RECIPE = Recipe(name="test", stages=(Boxes(), Parents()))
BOX = (1.0, 2.0, 30.0, 40.0)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = Engine.create(tmp_path, IMAGES, RECIPE, "photos", shard=2)
    made.add_origins([ONE, OTHER])
    for place, image in enumerate(IMAGES):
        score = 0.3 + place / 10  # the first image's is below the threshold
        both = [region(BOX, score=score, origin=origin, image=image) for origin in (ONE, OTHER)]
        made.write_part(0, place // 2, f"d{place}", [], both)
    return made


def state(engine: Engine) -> dict[str, int]:
    """When each file was written."""
    return {str(path.relative_to(engine.path)): path.stat().st_mtime_ns for path in engine.path.rglob("*.parquet")}


def test_verdicts_are_the_recipes_on_every_record(engine: Engine) -> None:
    assert is_stale(engine)
    filtered = filter_annotations(engine)
    assert (filtered.made, filtered.already) == (3, 0)
    recipe = RECIPE.resolved(engine.origins)
    assert list(engine.records()) == [recipe.apply(record) for record in raw_records(engine)]
    assert [len(list(record.kept("region"))) for record in engine.records()] == [0, 1, 1, 1, 1]
    assert FUSION.id in engine.origins
    assert not is_stale(engine)


def test_filter_again_writes_nothing(engine: Engine) -> None:
    filter_annotations(engine)
    before = state(engine)
    assert filter_annotations(engine).already == 3
    assert state(engine) == before


def test_changed_setting_rewrites_verdicts_alone(engine: Engine) -> None:
    filter_annotations(engine)
    before = state(engine)
    changed = engine.with_recipe(engine.recipe.with_settings(["boxes.score=0.65"]))
    assert is_stale(changed)
    assert filter_annotations(changed).made == 3
    after = state(engine)
    assert {path for path in before if before[path] != after[path]} == {
        f"round0/told/0000{n}.parquet" for n in range(3)
    }
    assert [len(list(record.kept("region"))) for record in Engine.open(engine.path).records()] == [0, 0, 0, 0, 1]


def test_old_setting_gives_the_same_rows_again(engine: Engine) -> None:
    def digests() -> list[str]:
        return [tables.rows_digest(tables.read(engine.told_path(n, 0), "told")) for n in engine.shards]

    filter_annotations(engine)
    first = digests()
    filter_annotations(engine.with_recipe(engine.recipe.with_settings(["boxes.score=0.65"])))
    assert digests() != first
    filter_annotations(engine.with_recipe(RECIPE))
    assert digests() == first


def test_new_annotations_change_their_shard_alone(engine: Engine) -> None:
    filter_annotations(engine)
    engine.write_part(0, 2, "d9", [], [region(BOX, "dog", image=IMAGES[4])])
    filtered = filter_annotations(engine)
    assert (filtered.made, filtered.already) == (1, 2)


def test_filter_before_any_annotation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no annotations yet; `engine annotate` asks for them"):
        filter_annotations(Engine.create(tmp_path, IMAGES, RECIPE, "photos"))


def test_images_are_dropped_by_the_recipe_and_come_back_with_it(engine: Engine) -> None:
    small = engine.with_recipe(replace(RECIPE, images=replace(RECIPE.images, side=81)))  # they have 100 x 80 pixels
    assert filter_images(small) == 5
    assert list(small.records()) == []
    assert filter_images(engine.with_recipe(RECIPE)) == 0
    assert len(list(engine.records())) == 5


def test_image_of_a_benchmark_stays_dropped_when_the_benchmarks_are_not_at_hand(engine: Engine) -> None:
    benchmarks = BenchmarkImages(references=("val/1.png",), digests=(IMAGES[3].sha256,))
    assert filter_images(engine, benchmarks) == 1
    for _ in range(2):
        assert filter_images(engine) == 1
        assert [image.by for image in engine.images() if image.stage] == ["val/1.png"]
    assert filter_images(engine, BenchmarkImages()) == 0


def test_image_that_people_annotated_is_preferred_to_its_copy(tmp_path: Path) -> None:
    copies = [replace(image_row(0), hash=2**40 - 7), replace(image_row(1), hash=2**40 - 7)]
    engine = Engine.create(tmp_path, copies, RECIPE, "photos")
    assert filter_images(engine) == 1
    assert [image.stage for image in engine.images()] == ["", "images.duplicate"]
    engine.add_origins([PERSON])
    engine.write_part(0, 0, "d", [], [region(BOX, origin=PERSON, image=copies[1])])
    assert filter_images(engine) == 1
    assert [image.stage for image in engine.images()] == ["images.duplicate", ""]


def test_other_parser_makes_verdicts_of_texts_anew_and_a_missing_one_says_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsing = engine.with_recipe(Recipe(name="texts", stages=(Boxes(), stage("phrases", {}))))
    filter_annotations(parsing)
    assert not is_stale(parsing)
    for module in (recipes, filtering):
        monkeypatch.setattr(module, "installed", lambda: "spacy 3.9.0 en_core_web_sm 3.9.0")
    assert is_stale(parsing)
    assert filter_annotations(parsing).made == 3
    for module in (recipes, filtering):
        monkeypatch.setattr(module, "installed", lambda: "")
    assert not is_stale(parsing)
