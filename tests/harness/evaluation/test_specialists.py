"""The models that an engine asks, by name, by Entry and by object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import baselines
import harness
from baselines import Entry
from harness.cluster.connection import Spread, connected
from harness.core import Answer, Question
from harness.data_engine import tables
from harness.data_engine.recipes import Recipe, stage
from harness.errors import ModelError, UsageError
from harness.evaluation import specialists
from harness.evaluation.specialists import check, listed_names, load, name_of, recipe_of, spread_over
from tasks.miniature.specialists import Noise, Simulated
from tests.harness.evaluation.engine_scenes import scenes

SHIPS = Spread(workers=1, chunk=4, ship_images=True)
PARTS: dict[str, tables.Form] = {"raw": "annotations", "measures": "measures", "answers": "answers", "told": "told"}
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
    model = load("detect", "simulated-detector", scenes(tmp_path, 1), None, None)
    assert model.fingerprint.startswith("simulated:v1:simulated-detector:")


def test_model_of_whole_images_becomes_one_of_regions_where_texts_are_compared(tmp_path: Path) -> None:
    entry = Entry(name="oracle of crops", about="", build=lambda *_: Simulated({}, Noise(), "x"))
    assert load("match", entry, tmp_path, None, None).fingerprint.endswith(" crops:v1")
    assert not load("detect", entry, tmp_path, None, None).fingerprint.endswith(" crops:v1")


def test_model_of_both_kinds_of_comparison_replaces_the_recipes() -> None:
    recipe = replace(RECIPE, specialists={"match": ("one",), "caption": ("writer",)})
    assert recipe_of(Path("none"), recipe, {"embed": "two"}, ()).specialists == {
        "embed": ("two",),
        "caption": ("writer",),
    }


def test_object_is_refused_where_workers_build_the_model() -> None:
    check("detect", Simulated({}, Noise(), "x"))  # type: ignore[arg-type]
    message = "--specialist detect=Simulated: --executor ray: workers build the model themselves"
    with pytest.raises(UsageError, match=message):
        check("detect", Simulated({}, Noise(), "x"), elsewhere=True)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    pytest.importorskip("ray")
    with connected(Spread(workers=2)):
        yield


@pytest.mark.usefixtures("cluster")
def test_cluster_of_specialists_makes_the_folder_of_one_process(tmp_path: Path) -> None:
    """Simulated boxes and texts, and a network that compares them; digests are over all rows.

    The network answers one question at a time, since the last digits of its numbers depend on the batch.
    """
    root = scenes(tmp_path / "scenes", 4)
    recipe = Recipe(name="small", stages=(stage("boxes", {}), stage("choice", {}), stage("parents", {})))
    models = {"detect": "simulated-detector", "describe": "simulated-captioner", "match": "clip-nano"}
    given: dict[str, Any] = {"recipe": recipe, "specialists": models, "device": "cpu", "batch_size": 1}
    digests, asked = [], []
    for name, workers in (("alone", None), ("ships", SHIPS)):
        done = harness.engine.annotate(root, tmp_path / name, spread=workers, **given)
        asked.append({key: (each.questions, each.asked, each.annotations) for key, each in done.asked.items()})
        digests.append(digests_of(tmp_path / name))
    assert digests[0] == digests[1]
    assert asked[0] == asked[1]
    again = harness.engine.annotate(root, tmp_path / "alone", executor="ray", **given)
    assert {each.asked for each in again.asked.values()} == {0}


@pytest.mark.usefixtures("cluster")
def test_worker_with_other_images_gets_no_questions(tmp_path: Path) -> None:
    root = scenes(tmp_path / "scenes", 1)
    (name,) = (path.relative_to(root).as_posix() for path in root.glob("scenes/*"))
    given = ("caption", "florence2-nano", str(root), root, "cpu", None)
    with spread_over(Spread(workers=1), *given, [name]) as cluster:
        cluster.expect(partial(str, "what the worker sees"), "what the driver sees")
        question = Question(name, None, "caption")
        with pytest.raises(ModelError, match="every worker was refused"):
            list(cluster.answer([(0, question)]))


def test_worker_that_is_sent_images_needs_no_folder_of_its_own(tmp_path: Path) -> None:
    model = specialists._on_worker("match", "clip-nano", str(tmp_path / "not here"), "cpu", None, scenes(tmp_path, 1))
    box = (0.0, 0.0, 60.0, 60.0)
    ((_, answer),) = model.answer([(0, Question("scenes/9000000.jpg", None, "match", region=box, text="a cat"))])
    assert isinstance(answer, Answer)


def test_digest_is_of_the_bytes_of_images_and_empty_without_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    before = specialists._digest(str(tmp_path), ["a.png"])
    (tmp_path / "a.png").write_bytes(b"b")
    assert before != specialists._digest(str(tmp_path), ["a.png"]) != ""
    assert specialists._digest(str(tmp_path), ["b.png"]) == "" == specialists._digest(str(tmp_path / "c"), [])


def digests_of(folder: Path) -> dict[str, str]:
    """A digest over the rows of all files of each form, and the names of files, which name what was asked."""
    found = {}
    for part, form in PARTS.items():
        paths = sorted(folder.glob(f"round0/{part}/*.parquet"))
        found[part] = tables.rows_digest(row for path in paths for row in tables.read(path, form))
        found[f"names of {part}"] = " ".join(path.name for path in paths)
    assert len(paths) >= 1
    return found


def test_unknown_executor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="executor='dask': 'local', in this process, or 'ray'"):
        harness.engine.annotate(tmp_path, tmp_path / "e", specialists={"detect": "simulated-detector"}, executor="dask")
