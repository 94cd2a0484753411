"""Simulated specialists make the errors that their noise declares, as often as it says, and the same every time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from harness.core import Boxes, Failure, Grounded, Kind, Phrase, Polygons, Question, Text
from harness.geometry.boxes import iou
from tasks.miniature.engine_world import Thing, Truth, sketched, truth_of
from tasks.miniature.render import rendered_signs
from tasks.miniature.shapes import SEEN
from tasks.miniature.specialists import ALT_TEXTS, KINDS, SPECIALISTS, Noise, Simulated

TRUTHS = {f"{seed}": sketched(9_000_000 + seed) for seed in range(1500)}
THINGS = [(name, place, thing) for name, truth in TRUTHS.items() for place, thing in enumerate(truth.things)]
NONE = Noise().scaled(0.0)
SIGNS = {"signs": truth_of(rendered_signs(9_000_000))}


def ask(model: Simulated, kind: Kind, **fields: Any) -> dict[str, Any]:
    """The value of every image's answer."""
    names = list(model._truths)
    questions = [Question(name, model._truths[name].size, kind, **fields) for name in names]
    return {names[ticket]: answer.value for ticket, answer in model.answer(enumerate(questions))}  # type: ignore[union-attr]


def matched(answers: dict[str, Boxes], truths: dict[str, Truth] = TRUTHS) -> dict[tuple[str, int], list[str]]:
    """The labels of the boxes on each thing, by IoU of 0.5."""
    found: dict[tuple[str, int], list[str]] = {}
    for name, place, thing in THINGS:
        boxes = answers[name]
        found[name, place] = [
            label for box, label in zip(boxes.boxes, boxes.labels, strict=True) if iou(box, thing.box) >= 0.5
        ]
    return found


def share(flags: list[bool]) -> float:
    return sum(flags) / len(flags)


def test_without_noise_the_answer_is_the_truth() -> None:
    answers = ask(Simulated(TRUTHS, NONE, "a"), "detect")
    for name, truth in TRUTHS.items():
        said = set(zip(answers[name].boxes, answers[name].labels, strict=True))
        assert said == {(thing.box, thing.category) for thing in truth.things}


def test_small_and_large_things_are_missed_as_often_as_declared() -> None:
    found = matched(ask(Simulated(TRUTHS, replace(NONE, missed_small=0.3, missed=0.1), "a"), "detect"))
    for large, expected in ((False, 0.3), (True, 0.1)):
        missed = [not found[name, place] for name, place, thing in THINGS if thing.large == large]
        assert share(missed) == pytest.approx(expected, abs=4 * (expected / len(missed)) ** 0.5)  # four standard errors


def test_two_specialists_miss_the_same_things_more_often_than_by_chance() -> None:
    def both(shared: float) -> float:
        noise = replace(NONE, missed_small=0.3, missed=0.3, shared=shared)
        one, other = (matched(ask(Simulated(TRUTHS, noise, name), "detect")) for name in ("a", "b"))
        return share([not one[key] and not other[key] for key in one])

    assert both(0.0) == pytest.approx(0.09, abs=0.02)
    assert both(0.5) == pytest.approx(0.147, abs=0.02)  # P(both < -0.524) of two normals with correlation 0.5
    assert both(1.0) == pytest.approx(0.3, abs=0.03)


def test_categories_are_confused_at_random_and_systematically_as_declared() -> None:
    noise = replace(NONE, systematic=(("house", "boat"),), systematically=0.35)
    found = matched(ask(Simulated(TRUTHS, noise, "a"), "detect"))
    houses = [found[name, place][0] for name, place, thing in THINGS if thing.category == "house"]
    assert share([label == "boat" for label in houses]) == pytest.approx(0.35, abs=0.08)
    assert set(houses) == {"house", "boat"}
    others = [found[name, place][0] == thing.category for name, place, thing in THINGS if thing.category != "house"]
    assert all(others)
    found = matched(ask(Simulated(TRUTHS, replace(NONE, confused=0.24), "a"), "detect"))
    wrong = [found[name, place][0] != thing.category for name, place, thing in THINGS if thing.category in SEEN]
    assert share(wrong) == pytest.approx(0.24 * (1 - 1 / len(SEEN)), abs=0.03)  # a random category is sometimes right


def test_boxes_are_repeated_and_invented_as_declared() -> None:
    repeated = ask(Simulated(TRUTHS, replace(NONE, repeated=0.25), "a"), "detect")
    assert sum(len(each.boxes) for each in repeated.values()) / len(THINGS) == pytest.approx(1.25, abs=0.03)
    invented = ask(Simulated(TRUTHS, replace(NONE, invented=0.8), "a"), "detect")
    extra = [len(invented[name].boxes) - len(truth.things) for name, truth in TRUTHS.items()]
    assert np.mean(extra) == pytest.approx(0.8, abs=0.08)  # a Poisson number: the variance is 0.8 too
    assert np.var(extra) == pytest.approx(0.8, abs=0.15)


def test_scores_overlap_and_are_too_high_where_overconfident() -> None:
    noise = replace(NONE, invented=1.0)
    calm = ask(Simulated(TRUTHS, replace(noise, overconfident=0.0), "a"), "detect")
    sure = ask(Simulated(TRUTHS, replace(noise, overconfident=0.2), "a"), "detect")
    means = [np.mean([s for each in answers.values() for s in each.region_scores]) for answers in (calm, sure)]
    assert means[1] - means[0] == pytest.approx(0.2 * (1 - means[0]), abs=0.01)
    assert all(0 < s < 1 for each in sure.values() for s in each.region_scores)


def test_answers_depend_on_name_noise_and_image_and_not_on_the_order() -> None:
    model = Simulated(TRUTHS, Noise(), "a")
    question = Question("7", TRUTHS["7"].size, "detect")
    ((_, alone),) = model.answer([(0, question)])
    assert alone.value == ask(model, "detect")["7"]  # type: ignore[union-attr]
    other = Simulated(TRUTHS, Noise(), "b")
    assert ask(other, "detect") != ask(model, "detect")
    fingerprints = {each.fingerprint for each in (model, other, Simulated(TRUTHS, Noise(missed=0.2), "a"))}
    assert len(fingerprints) == 3
    assert model.fingerprint == Simulated({}, Noise(), "a").fingerprint


def test_caption_leaves_out_invents_and_is_unrelated_as_declared() -> None:
    def captions(**noise: float) -> dict[str, Text]:
        return ask(Simulated(TRUTHS, replace(NONE, **noise), "a"), "caption")  # type: ignore[arg-type]

    plain, cut = captions(), captions(omitted=0.5)
    assert np.mean([len(cut[n].texts[0]) < len(plain[n].texts[0]) for n in TRUTHS]) > 0.5
    unrelated = captions(unrelated=0.2)
    assert share([each.texts[0] in ALT_TEXTS for each in unrelated.values()]) == pytest.approx(0.2, abs=0.05)
    for changed in ({"recoloured": 0.5}, {"miscounted": 0.5}, {"imagined": 0.5}):
        assert share([each != plain[name] for name, each in captions(**changed).items()]) > 0.3  # type: ignore[arg-type]


def test_caption_without_noise_counts_things_of_one_colour_and_category() -> None:
    kinds = (("fish", "blue"), ("car", "red"), ("fish", "blue"))
    things = tuple(Thing(category, colour, True, (0.0, 0.0, 9.0, 9.0)) for category, colour in kinds)
    model = Simulated({"x": Truth(TRUTHS["0"].size, things)}, NONE, "a")
    assert ask(model, "caption")["x"] == Text(("two blue fish and a red car",))


def test_phrase_that_names_nothing_gets_a_box_as_often_as_declared() -> None:
    phrases = (Phrase("two blue fish"), Phrase("a red unicorn"))
    answers: dict[str, Grounded] = ask(Simulated(TRUTHS, replace(NONE, baseless=0.4), "a"), "ground", phrases=phrases)
    assert share([bool(each.boxes[1]) for each in answers.values()]) == pytest.approx(0.4, abs=0.06)
    for name, truth in TRUTHS.items():
        fish = tuple(thing.box for thing in truth.things if (thing.colour, thing.category) == ("blue", "fish"))
        assert answers[name].boxes[0] == fish or not fish


def test_outline_name_and_written_words_are_those_of_the_thing() -> None:
    model = Simulated(SIGNS, NONE, "a")
    thing = SIGNS["signs"].things[0]
    assert ask(model, "outline", region=thing.box)["signs"] == Polygons(thing.rings)
    assert ask(model, "name", region=thing.box)["signs"] == Text((thing.category,))
    words = [each.word for each in SIGNS["signs"].things if each.word]
    assert list(ask(model, "ocr_regions")["signs"].labels) == words
    leaked = ask(Simulated(SIGNS, replace(NONE, leaked=0.95), "a"), "outline", region=thing.box)["signs"]
    assert leaked != Polygons(thing.rings)


def test_image_of_another_world_and_other_kinds_are_failures() -> None:
    model = Simulated(TRUTHS, Noise(), "a")
    ((_, stranger),) = model.answer([(0, Question("photo.jpg", None, "detect"))])
    assert stranger == Failure("photo.jpg is no scene of the embedded world")
    for kind in set(get_args(Kind)) - KINDS:
        ((_, answer),) = model.answer([(0, Question("7", None, kind))])
        assert answer == Failure(f"simulated specialists answer no question of kind {kind}")


def test_scaled_noise_is_none_at_zero_and_bounded() -> None:
    assert (NONE.missed, NONE.invented, NONE.right) == (0.0, 0.0, Noise().right)
    assert Noise().scaled(2.0).invented == 1.6
    assert Noise().scaled(9.0).missed_small == 0.95


def test_named_specialists_have_confusions_of_categories_that_exist_and_not_the_same() -> None:
    pairs = [noise.systematic for noise in list(SPECIALISTS.values())[:2]]
    assert {name for each in pairs for pair in each for name in pair} <= set(SEEN)
    assert not set(pairs[0]) & set(pairs[1])
