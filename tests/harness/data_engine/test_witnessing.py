"""The thresholds of a round, versus every combination of thresholds by a slow loop."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from harness.core import Box
from harness.data_engine import witnessing
from harness.data_engine.combine import Combine
from harness.data_engine.judging import Judged
from harness.data_engine.recipes import Recipe
from harness.data_engine.records import Annotation, Origin, Record
from harness.data_engine.regions import Boxes, box_of
from harness.data_engine.sources import Sources
from harness.errors import DataError
from tests.harness.data_engine.engines import IMAGE, ONE, ORIGINS, region

TAUGHT = Origin(kind="model", name="taught", fingerprint="t", round=1)
ALL = ORIGINS | {TAUGHT.id: TAUGHT}
RECIPE = Recipe(name="r", stages=(Sources(), Boxes(score=0.4), Combine()))
PLACES: list[Box] = [(0.0, 0.0, 20.0, 20.0), (30.0, 0.0, 50.0, 20.0), (60.0, 0.0, 80.0, 20.0), (0.0, 40.0, 20.0, 60.0)]
GRID = [each / 100 for each in range(5, 105, 10)]


def world(images: int, seed: int = 0) -> tuple[list[Record], dict[str, list[tuple[str, Box]]]]:
    """Images with four places: each may have a cat, a specialist's box and a model's; scores say how sure they are."""
    draw = random.Random(seed)
    records, truth = [], {}
    for number in range(images):
        image = replace(IMAGE, reference=str(number), sha256=f"{number:064x}")
        said: list[Annotation] = []
        truth[image.reference] = objects = []
        for box in PLACES:
            there = draw.random() < 0.5
            if there:
                objects.append(("cat", box))
            low, high = (0.15, 1.0) if there else (0.0, 0.8)
            for origin, share in ((ONE, 0.8), (TAUGHT, 0.7)):
                if draw.random() < (share if there else 0.3):
                    said.append(region(box, score=round(draw.uniform(low, high), 3), origin=origin, image=image))
        records.append(Record(image=image, annotations=tuple(said)))
    return records, truth


def f1(records: list[Record], truth: dict[str, list[tuple[str, Box]]], **combine: dict[str, float]) -> float:
    start = witnessing.first_settings(TAUGHT)
    recipe = RECIPE.completed({**start, "combine": combine}).resolved(ALL)
    return Judged.of(map(recipe.apply, records), truth).f1()


def test_thresholds_have_the_best_f1_of_all() -> None:
    """A fine choice is at least as good as each of a coarse grid of all combinations."""
    records, truth = world(80)
    chosen = witnessing.chosen(records, truth, RECIPE, ALL, wanted=0.01)["combine"]
    name = TAUGHT.called
    assert {setting: set(of) for setting, of in chosen.items()} == {
        "strict": {"one"}, "confirmed": {"one"}, "alone": {name}, "precisions": {"one", name},
    }  # fmt: skip
    ours = f1(records, truth, **chosen)
    best = max(
        f1(records, truth, strict={"one": strict}, confirmed={"one": confirmed}, alone={name: alone})
        for strict, confirmed, alone in itertools.product(GRID[3::2], GRID[:4:2], GRID[1::2])
    )
    assert ours >= best - 1e-9


def test_model_alone_has_the_wanted_precision_or_adds_nothing() -> None:
    records, truth = world(500)
    bound = witnessing.chosen(records, truth, RECIPE, ALL, wanted=0.9)["combine"]["alone"][TAUGHT.called]
    start = witnessing.first_settings(TAUGHT)
    stages = RECIPE.completed({**start, "combine": {"confirmed": {"one": 0.0}}}).resolved(ALL)
    combine = stages.stages[-1]
    assert isinstance(combine, Combine)
    alone: list[tuple[float, bool]] = []
    for raw in records:
        boxes = [box for _, box in truth[raw.image.reference]]
        for meeting in combine.meetings(stages.stages[1](raw)):
            if meeting.rule == "alone" and meeting.region.score is not None:
                alone.append((meeting.region.score, box_of(meeting.region) in boxes))
    added = [right for score, right in alone if score >= bound]
    assert len(added) >= 20
    assert sum(added) >= 0.9 * len(added)
    few = witnessing.chosen(records[:60], truth, RECIPE, ALL, wanted=1.0)["combine"]["alone"]
    assert few == {TAUGHT.called: witnessing.NEVER}  # of fewer than 20 regions, a precision says little


def test_scores_of_the_model_are_not_thresholded_before_the_combination() -> None:
    """A tiny model's scores lie far below a detector's: as a witness it counts at any score."""
    said, same = region(PLACES[0], score=0.9), region(PLACES[0], score=0.001, origin=TAUGHT)
    told = RECIPE.completed(witnessing.first_settings(TAUGHT)).resolved(ALL).apply(
        Record(image=IMAGE, annotations=(said, same))
    )  # fmt: skip
    assert told.status()[same.id].stage == "combine.confirmed"


def test_model_that_says_nothing_of_use_changes_nothing() -> None:
    """The specialist is right at every score: a model that sees none of its boxes must not cost one."""
    draw = random.Random(1)
    records, truth = [], {}
    for number in range(30):
        image = replace(IMAGE, reference=str(number), sha256=f"{number:064x}")
        truth[image.reference] = [("cat", box) for box in PLACES]
        said = [region(box, score=draw.uniform(0.4, 1.0), image=image) for box in PLACES]
        far = region((40.0, 60.0, 60.0, 79.0), "dog", draw.random(), TAUGHT, image)
        records.append(Record(image=image, annotations=(*said, far)))
    settings = witnessing.chosen(records[::2], truth, RECIPE, ALL, wanted=0.9)
    assert settings["combine"]["strict"] == {"one": 0.0}
    recipe = RECIPE.completed(settings).resolved(ALL)
    assert all(len(list(recipe.apply(record).kept())) == 4 for record in records[1::2])


def test_setting_of_the_recipe_is_kept_before_a_chosen_one() -> None:
    own = Recipe(name="r", stages=(Combine(strict={"one": 0.7}),))
    done = own.completed({"combine": {"strict": {"one": 0.1, "other": 0.2}}})
    assert done.stages == (Combine(strict={"one": 0.7, "other": 0.2}),)
    assert own.completed({}) == own
    with pytest.raises(
        DataError, match=r"a round chose combine\.loose, which this version lacks; make the round again"
    ):
        own.completed({"combine": {"loose": {"one": 0.1}}})


def test_model_that_was_asked_last_is_the_round_s() -> None:
    """A round that was deleted and made again leaves the origin of its first model."""
    records, truth = world(40)
    earlier = replace(TAUGHT, fingerprint="earlier")
    chosen = witnessing.chosen(records, truth, RECIPE, ORIGINS | {earlier.id: earlier, TAUGHT.id: TAUGHT}, wanted=0.5)
    assert chosen["combine"]["precisions"][TAUGHT.called] != {}
    assert chosen["combine"]["precisions"].keys() == {"one", TAUGHT.called}


@pytest.mark.parametrize("images", [1, 2])
def test_few_images_choose_something(images: int) -> None:
    records, truth = world(images)
    chosen = witnessing.chosen(records, truth, RECIPE, ALL, wanted=0.9)
    assert chosen["combine"]["alone"] == {TAUGHT.called: witnessing.NEVER}
