"""The data engine from Python: from a folder of images to what is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import harness
from baselines import Entry
from harness.core import Answer, Boxes, Failure, Kind, Match, Question, Text, Ticket
from harness.data_engine import shards
from harness.data_engine.filtering import is_stale
from harness.data_engine.recipes import stage
from harness.errors import DataError, ResourceError, UsageError
from harness.shards import Shard
from tests.harness.evaluation.engine_scenes import SCENES, benchmark, recipe, scenes

BARE = replace(recipe(), specialists={})
MATCH: frozenset[Kind] = frozenset({"match"})


class Counting:
    """Answers every question about a region or an image, and counts them."""

    def __init__(self) -> None:
        self.fingerprint, self.provenance = "counting", {}  # type: ignore[var-annotated]
        self.asked: list[str] = []

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, question in questions:
            self.asked.append(question.kind)
            box = Boxes(((10.0, 10.0, 60.0, 60.0), (70.0, 10.0, 110.0, 60.0)), ("cat", "dog"), (0.9, 0.3))
            yield ticket, Answer(("x",), Text(("a cat",)) if question.kind == "describe" else box)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("scenes"))


def test_folder_becomes_kept_annotations_of_every_specialist(root: Path, tmp_path: Path) -> None:
    done = harness.engine.annotate(root, tmp_path / "engine", recipe=recipe())
    assert {key: asked.questions for key, asked in done.asked.items() if key[0] == "detect"} == {
        ("detect", "simulated-detector"): SCENES, ("detect", "simulated-detector-2"): SCENES,
    }  # fmt: skip
    opened = harness.engine.open(tmp_path / "engine")
    assert not is_stale(opened)
    names = {origin.name for origin in opened.origins.values()}
    assert names == {"simulated-detector", "simulated-detector-2", "simulated-segmenter", "boxes.agreement"}
    for record in opened.records():
        regions = {region.id for region in record.kept("region")}
        assert {outline.parents[0] for outline in record.kept("outline")} == regions


def test_changed_threshold_asks_nothing_and_changes_what_is_kept(root: Path, tmp_path: Path) -> None:
    model = Counting()
    harness.engine.annotate(root, tmp_path / "e", recipe=BARE, specialists={"detect": model})
    assert len(model.asked) == SCENES
    before = [len(list(record.kept())) for record in harness.engine.open(tmp_path / "e").records()]
    filtered = harness.engine.filter(tmp_path / "e", ["boxes.score=0.2"])
    after = [len(list(record.kept())) for record in harness.engine.open(tmp_path / "e").records()]
    assert (before, after, filtered.made) == ([1] * SCENES, [2] * SCENES, 1)
    assert len(model.asked) == SCENES
    assert harness.engine.open(tmp_path / "e").recipe.as_data()["stages"][0]["score"] == 0.2


class Comparer:
    """Finds a text the more similar to a region, the longer it is; counts what it is asked."""

    provenance: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, fingerprint: str = "longer", sign: float = 1.0) -> None:
        self.fingerprint, self.sign = fingerprint, sign
        self.asked: list[str] = []

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, question in questions:
            self.asked.append(question.text)
            yield ticket, Answer(("x",), Match(self.sign * len(question.text) / 100))


def chosen(folder: Path) -> set[str]:
    """The texts of regions that are kept."""
    records = harness.engine.open(folder).records()
    return {each.value.texts[0] for record in records for each in record.kept("text") if isinstance(each.value, Text)}


def test_similarity_is_computed_once_and_the_choice_follows_from_what_is_kept(root: Path, tmp_path: Path) -> None:
    """Each image has one kept region, "cat", and its text "a cat", which is 5 characters and not 3."""
    model, comparer = Counting(), Comparer()
    bare = replace(BARE, stages=(stage("boxes", {}), stage("choice", {}), stage("parents", {})))
    given: dict[str, Any] = {"specialists": {"detect": model, "describe": model, "match": comparer}}
    harness.engine.annotate(root, tmp_path / "e", recipe=bare, **given)
    assert comparer.asked == ["cat", "a cat"] * SCENES
    assert chosen(tmp_path / "e") == {"a cat"}
    record = next(harness.engine.open(tmp_path / "e").records())
    text = next(record.kept("text"))
    assert record.measures[text.id]["similarity"] == 0.05
    assert harness.engine.filter(tmp_path / "e", ["choice.margin=0.03"]).made == 1  # 0.05 - 0.03 is not more than 0.03
    assert chosen(tmp_path / "e") == set()
    assert harness.engine.filter(tmp_path / "e", ["choice.margin=0.01"]).made == 1
    assert chosen(tmp_path / "e") == {"a cat"}
    harness.engine.annotate(root, tmp_path / "e", **given)
    assert len(comparer.asked) == 2 * SCENES
    assert len(list((tmp_path / "e/round0/measures").iterdir())) == 1


def test_last_model_that_compares_texts_counts_and_nothing_of_the_first_is_lost(root: Path, tmp_path: Path) -> None:
    bare = replace(BARE, stages=(stage("boxes", {}), stage("choice", {}), stage("parents", {})))
    model, shorter = Counting(), Entry(name="shorter", about="", build=lambda *_: Comparer("s", -1.0), kinds=MATCH)
    longer = Entry(name="longer", about="", build=lambda *_: Comparer(), kinds=MATCH)
    detectors: dict[str, Any] = {"detect": model, "describe": model}
    for comparer, kept in ((longer, {"a cat"}), (shorter, set()), (longer, {"a cat"})):
        done = harness.engine.annotate(root, tmp_path / "e", recipe=bare, specialists={**detectors, "match": comparer})
        assert chosen(tmp_path / "e") == kept, comparer.name
    assert done.asked["match", "longer"].asked == 0


def test_same_call_asks_nothing_and_keeps_the_settings_of_the_folder(root: Path, tmp_path: Path) -> None:
    model = Counting()
    given: dict[str, Any] = {"specialists": {"detect": model, "describe": model}}
    harness.engine.annotate(root, tmp_path / "e", recipe=BARE, **given)
    assert model.asked == ["detect"] * SCENES + ["describe"] * SCENES  # one region of each image is kept
    harness.engine.filter(tmp_path / "e", ["boxes.score=0.2"])
    harness.engine.annotate(root, tmp_path / "e", **given)  # no recipe: the folder's
    assert model.asked.count("detect") == SCENES
    assert model.asked.count("describe") == 2 * SCENES  # the regions that are kept now
    harness.engine.annotate(root, tmp_path / "e", **given)
    assert len(model.asked) == 3 * SCENES


def test_shards_are_annotated_apart_and_together_are_the_whole(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = harness.engine.annotate(root, tmp_path / "whole", recipe=recipe()).engine
    monkeypatch.setattr(shards, "SHARD", 2)  # three shards, for four jobs
    for number in (2, 4, 1, 3):
        done = harness.engine.annotate(root, tmp_path / "parts", recipe=recipe(), shard=Shard(number, 4))
        assert done.filtered.made == (number != 4)
    assert list(harness.engine.open(tmp_path / "parts").records()) == list(whole.records())


def test_image_that_a_benchmark_evaluates_is_not_asked_about(root: Path, miniature: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    first = sorted((miniature / "coco/val2017").iterdir())[0]
    with Image.open(first) as image:
        image.resize((image.width * 2, image.height * 2)).save(photos / "copy.jpg", quality=60)
    with Image.open(sorted((root / "scenes").iterdir())[0]) as image:
        image.save(photos / "mine.jpg")
    model = Counting()
    asked, data = {"detect": model}, benchmark(miniature, tmp_path / "data")
    done = harness.engine.annotate(photos, tmp_path / "e", recipe=BARE, specialists=asked, benchmarks=data)
    assert done.dropped_images == 1
    assert len(model.asked) == 1
    dropped = [image for image in harness.engine.images(tmp_path / "e") if image.stage]
    assert [(image.reference, image.stage) for image in dropped] == [("copy.jpg", "images.benchmark")]
    assert first.name.removesuffix(".jpg") in dropped[0].by
    assert harness.engine.filter(tmp_path / "e").made == 0  # without the benchmarks at hand, it stays dropped
    assert [record.image.reference for record in harness.engine.open(tmp_path / "e").records()] == ["mine.jpg"]


def test_what_a_stage_needs_is_said_before_anything_is_asked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.data_engine import texts

    def lacking(texts: object) -> None:
        raise ResourceError("texts are parsed by spaCy: pip install it")

    monkeypatch.setattr(texts, "parse", lacking)
    model = Counting()
    with pytest.raises(ResourceError, match="pip install"):
        harness.engine.annotate(root, tmp_path / "e", recipe="fld", specialists={"detect": model})
    assert (model.asked, (tmp_path / "e").exists()) == ([], False)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, UsageError, "the recipe simulated names no specialist: give --specialist KIND=MODEL"),
        ({"specialists": {"vqa": "simulated-reader"}}, UsageError, "specialist vqa: an engine has no use"),
        ({"specialists": {"detect": "simulated-dtector"}}, UsageError, "there is no specialist 'simulated-dtector'"),
        ({"specialists": {"detect": "oracle"}}, UsageError, "oracle is made for a task, and can be no specialist"),
        ({"specialists": {"describe": "clip-b16"}}, UsageError, "clip-b16"),
        ({"specialists": {"regions": "simulated-detector"}}, UsageError, "simulated-detector answers caption"),
        (
            {"specialists": {"match": ["clip-nano", "clip-vit-b-16"]}}, UsageError,
            "match=clip-nano and match=clip-vit-b-16: texts of regions are compared by one model; name one",
        ),
        ({"specialists": {"match": "florence2-nano"}}, UsageError, "--specialist match=florence2-nano: florence2-nano"),
        ({"limit": 0, "specialists": {"detect": "simulated-detector"}}, UsageError, "--limit 0: at least one image"),
        (
            {"benchmarks": "nowhere", "specialists": {"detect": "simulated-detector"}}, DataError,
            "--benchmarks nowhere is no folder",
        ),
    ],
)  # fmt: skip
def test_mistake_is_one_line_and_nothing_is_asked(
    root: Path, tmp_path: Path, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        harness.engine.annotate(root, tmp_path / "e", recipe=BARE, **given)
    assert not (tmp_path / "e" / "round0").exists()


def test_folder_of_another_data_set_and_a_missing_one_are_refused(root: Path, tmp_path: Path) -> None:
    harness.engine.annotate(root, tmp_path / "e", recipe=recipe(), limit=2)
    with pytest.raises(UsageError, match=r"is of the images of .*; give another --to"):
        harness.engine.annotate(root / "scenes", tmp_path / "e", recipe=recipe())
    with pytest.raises(DataError, match="is no folder; give a folder of images"):
        harness.engine.annotate(tmp_path / "none", tmp_path / "f", recipe=recipe())
    with pytest.raises(DataError, match="`engine annotate` makes one"):
        harness.engine.filter(tmp_path / "f")


def test_limit_of_a_folder_that_is_there_cannot_change(root: Path, tmp_path: Path) -> None:
    harness.engine.annotate(root, tmp_path / "e", recipe=recipe(), limit=2)
    harness.engine.annotate(root, tmp_path / "e", limit=2)
    with pytest.raises(UsageError, match=r"--limit 3: .* has 2 images, and keeps them; give another --to"):
        harness.engine.annotate(root, tmp_path / "e", limit=3)


def test_folder_is_the_same_from_any_working_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    harness.engine.annotate(root.name, tmp_path / "e", recipe=recipe(), limit=2)
    monkeypatch.chdir(tmp_path)
    done = harness.engine.annotate(root, tmp_path / "e", limit=2)
    assert {asked.asked for asked in done.asked.values()} == {0}


def test_images_that_came_later_are_named(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    harness.engine.annotate(root, tmp_path / "e", recipe=recipe(), limit=4)
    harness.engine.annotate(root, tmp_path / "e")
    assert "2 images of" in caplog.text and "annotate them into another folder" in caplog.text


def test_simulated_specialists_know_no_other_images(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photos/1.png")
    with pytest.raises(DataError, match="know the embedded world alone"):
        harness.engine.annotate(tmp_path / "photos", tmp_path / "e", recipe=recipe())


def test_model_object_has_the_name_of_its_class_as_origin(root: Path, tmp_path: Path) -> None:
    model = Counting()
    harness.engine.annotate(root, tmp_path / "e", recipe=BARE, specialists={"detect": model})
    opened = harness.engine.open(tmp_path / "e")
    assert {origin.name for origin in opened.origins.values()} == {"Counting", "boxes.agreement"}
    assert opened.recipe.specialists == {"detect": ("Counting",)}
