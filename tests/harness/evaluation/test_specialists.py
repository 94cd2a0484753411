"""The models that an engine asks, by name, by Entry and by object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import baselines
from harness.data_engine.recipes import Recipe
from harness.errors import UsageError
from harness.evaluation.specialists import check, listed_names, load, name_of, recipe_of
from tasks.miniature.specialists import Noise, Simulated
from tests.harness.evaluation.engine_scenes import scenes

RECIPE = Recipe(name="r", specialists={"detect": ("one", "two"), "caption": ("writer",)}, categories=("cat",))


def test_given_specialists_replace_those_of_their_kind() -> None:
    chosen = recipe_of(Path("none"), RECIPE, {"detect": "three"}, ())
    assert chosen == replace(RECIPE, specialists={"detect": ("three",), "caption": ("writer",)})
    assert recipe_of(Path("none"), RECIPE, None, ["dog"]).categories == ("dog",)


def test_recipe_is_the_papers_where_none_is_given(tmp_path: Path) -> None:
    assert recipe_of(tmp_path, None, None, ()).name == "fld"
    assert recipe_of(tmp_path, "nano", None, ()).name == "nano"


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="specialist detekt: there is no such kind"):
        recipe_of(Path("none"), RECIPE, {"detekt": "three"}, ())


def test_name_of_a_model_is_that_of_its_entry_or_class() -> None:
    entry = baselines.find("florence2-nano")
    model = Simulated({}, Noise(), "x")
    assert [name_of(each) for each in ("a", entry, model)] == ["a", "florence2-nano", "Simulated"]
    assert listed_names("a") == ["a"]
    assert listed_names(("a", model)) == ["a", model]


def test_entry_that_answers_the_kind_passes_and_another_names_what_it_answers() -> None:
    check("caption", "florence2-nano")
    check("caption", baselines.find("florence2-nano"))
    check("detect", Simulated({}, Noise(), "x"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"--specialist name=clip-nano: clip-nano answers "):
        check("name", "clip-nano")


def test_simulated_specialist_is_built_for_the_scenes_of_its_root(tmp_path: Path) -> None:
    model = load("simulated-detector", scenes(tmp_path, 1), None, None)
    assert model.fingerprint.startswith("simulated:v1:simulated-detector:")
