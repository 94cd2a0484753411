"""Recipes: the same in TOML, JSON and Python; settings by name; and what is wrong in one line."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from harness.data_engine import recipes
from harness.data_engine.images import ImageFilter
from harness.data_engine.parents import Parents
from harness.data_engine.parsing import identity
from harness.data_engine.recipes import Recipe
from harness.data_engine.regions import Boxes
from harness.errors import DataError, UsageError
from tests.harness.data_engine.engines import ONE, ORIGINS, PERSON, record, region

RECIPE = Recipe(
    name='a "quoted" one',
    categories=("house", "café"),
    specialists={"detect": ("one", "other"), "caption": ("writer (large)",)},
    images=ImageFilter(side=64),
    stages=(Boxes(nms=0.25, scores={"one": 0.5, "a.b": 0.125}), Parents()),
    calibration={"one": {"thresholds": [0.1, 0.2], "precision": [0.5, 0.75], "wanted": 0.9}},
)


def test_recipe_survives_toml_and_json(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE.toml(), "utf-8")
    assert recipes.load(str(path)) == RECIPE
    assert Recipe.from_data(RECIPE.as_data(), "engine.json") == RECIPE
    assert tomllib.loads(RECIPE.toml())["stages"][0]["scores"] == {"one": 0.5, "a.b": 0.125}


@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_named_recipe_survives_toml(name: str) -> None:
    recipe = recipes.load(name)
    assert Recipe.from_data(tomllib.loads(recipe.toml()), name) == recipe


def test_order_of_the_papers_stages_ends_with_parents() -> None:
    assert [stage.name for stage in recipes.fld().stages][:: len(recipes.fld().stages) - 1] == ["sources", "parents"]


def test_digest_changes_with_a_setting_and_not_with_a_round_trip() -> None:
    assert Recipe.from_data(RECIPE.as_data(), "").digest == RECIPE.digest
    assert RECIPE.with_settings(["boxes.nms=0.6"]).digest != RECIPE.digest


def test_digest_names_the_parser_where_a_stage_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    parsing, other = Recipe(name="p", stages=(recipes.stage("phrases", {}),)), Recipe(name="o", stages=(Boxes(),))
    before = parsing.digest, other.digest
    assert parsing.described()[-1] == ["parser", identity()]
    monkeypatch.setattr(recipes, "installed", lambda: "spacy 3.9.0 en_core_web_sm 3.9.0")
    assert parsing.digest != before[0] and other.digest == before[1]


def test_setting_is_set_by_its_path() -> None:
    changed = RECIPE.with_settings(
        ["boxes.nms=0.6", "boxes.scores.other=0.75", "boxes.witnesses=2", "images.aspect=5.0"]
    )
    assert changed.images == ImageFilter(side=64, aspect=5.0)
    assert changed.stages[0] == replace(Boxes(), nms=0.6, scores={"one": 0.5, "a.b": 0.125, "other": 0.75}, witnesses=2)
    assert RECIPE.stages[0].nms == 0.25  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("nms=0.6", r"STAGE.SETTING=VALUE"),
        ("boxes.nms", r"STAGE.SETTING=VALUE"),
        ("box.nms=0.6", r"no stage 'box'; it has images, boxes, parents"),
        ("boxes.nmss=0.6", r"the stage boxes has no setting 'nmss'; it has score, "),
        ("boxes.nms=high", r"the stage boxes: Expected `float`, got `str`"),
        ("boxes.nms=7.0", r"the stage boxes: nms is 7.0; it is from 0 to 1"),
        ("images.sides=2", r"the stage images has no setting 'sides'; it has side, aspect"),
        ("parents.depth=2", r"has no setting 'depth'; it has none"),
    ],
)
def test_wrong_setting_is_one_line_that_says_what_there_is(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RECIPE.with_settings([setting])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "x", "stage": []}, "a recipe has no 'stage'"),
        ({"name": 3}, "Expected `str`"),
        ({}, "Expected `str`"),
        ({"name": "x", "specialists": {"detekt": ["one"]}}, "Invalid enum value 'detekt'"),
        ({"name": "x", "specialists": {"detect": "one"}}, "Expected `array`"),
        ({"name": "x", "stages": [{"name": "boxen"}]}, "there is no stage 'boxen'; there are sources, boxes"),
        ({"name": "x", "stages": [{"nms": 0.5}]}, "there is no stage None"),
        ({"name": "x", "stages": [{"name": "boxes", "nms": -1.0}]}, "nms is -1.0"),
    ],
)
def test_wrong_recipe_is_one_line_with_its_place(data: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=r"mine\.toml: ") as caught:
        Recipe.from_data(data, "mine.toml")
    assert message in str(caught.value)


def test_recipe_that_is_not_there_or_not_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no recipe 'fldd'; there are fld, nano"):
        recipes.load("fldd")
    with pytest.raises(UsageError, match="there is no recipe"):
        recipes.load(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_text("name = ")
    with pytest.raises(DataError, match="is not TOML"):
        recipes.load(str(tmp_path / "mine.toml"))


def test_resolved_recipe_has_thresholds_by_id_and_people_pinned() -> None:
    boxes = RECIPE.resolved(ORIGINS).stages[0]
    assert isinstance(boxes, Boxes)
    assert boxes.scores == {ONE.id: 0.5}
    assert boxes.pinned == (PERSON.id,)


def test_recipe_applies_its_stages_in_order() -> None:
    told = RECIPE.resolved(ORIGINS).apply(record(region((1.0, 1.0, 20.0, 20.0), score=0.2)))
    assert [verdict.stage for verdict in told.verdicts] == ["boxes.score"]
