"""Texts: elements counted by hand in real sentences, and every rule at its bound."""

from __future__ import annotations

import pytest

from harness.data_engine import texts
from harness.data_engine.parsing import parse
from harness.data_engine.records import Length
from harness.data_engine.texts import BANDS, Texts, elements, is_broken, measured, repetition
from tests.harness.data_engine.rows import CAPTIONER, ORIGINS, PERSON, reasons, record, region, text

RIDER = "A man in a red shirt is riding a brown horse on the beach."
DOGS = (
    "The image shows three small dogs and a large black cat sitting on a wooden bench near Big Ben. "
    "In the background, there are green trees."
)
TENNIS = "A tennis player swings her racket."


@pytest.mark.parametrize(
    ("sentence", "objects", "proper", "attributes", "actions"),
    [
        (RIDER, "man shirt horse beach", "", "red brown", "riding"),
        # "Big Ben" is proper; "are" is a form of "be"; three numbers and adjectives before dogs, cat, bench and trees
        (
            DOGS,
            "image dogs cat bench background trees",
            "Big Ben",
            "three small large black wooden green",
            "shows sitting",
        ),
        (TENNIS, "player racket", "", "", "swings"),  # "tennis" is the first part of a compound
        ("A broken window and a smiling child.", "window child", "", "broken smiling", ""),  # participles as adjectives
        ("Two people.", "people", "", "Two", ""),
        ("", "", "", "", ""),
    ],
)
def test_elements_are_those_counted_by_hand(
    sentence: str, objects: str, proper: str, attributes: str, actions: str
) -> None:
    [parsed] = parse([sentence])
    found = [" ".join(parsed.words[place].text for place in places) for places in elements(parsed)]
    assert found == [objects, proper, attributes, actions]


def test_complexity_is_the_mean_degree_counted_by_hand() -> None:
    """man: A, in, riding = 3; shirt: a, red, in = 3; horse: a, brown, riding = 3; beach: the, on = 2.

    riding: man, is, horse, on and the full stop = 5; it is the root.
    """
    numbers = measured(parse([RIDER])[0])
    assert numbers["object_complexity"] == (3 + 3 + 3 + 2) / 4
    assert numbers["action_complexity"] == 5
    assert (numbers["words"], numbers["objects"], numbers["attributes"], numbers["actions"]) == (14, 4, 2, 1)


def test_text_without_elements_has_complexity_zero() -> None:
    numbers = measured(parse(["Hello!"])[0])
    assert (numbers["objects"], numbers["object_complexity"], numbers["action_complexity"]) == (0, 0, 0)


def test_repetition_is_the_share_of_trigrams_seen_before() -> None:
    """a dog and / dog and a / and a dog / a dog and / dog and a / and a dog: three of six were there before."""
    assert repetition("A dog and a dog and a dog") == 0.5
    assert repetition("dog dog dog dog dog") == pytest.approx(2 / 3)
    assert repetition(RIDER) == 0
    assert repetition("two words") == 0


@pytest.mark.parametrize(
    ("words", "length", "rule"),
    [
        (RIDER, "brief", ""),
        (" \n", "brief", "empty"),
        ("a dog <loc_3>", "brief", "broken"),
        ("a d\ufffdg runs", "brief", "broken"),
        ("a dog\x1b[2J runs", "brief", "broken"),
        ("visit www.example.com for a dog", "brief", "broken"),
        ("12 34", "brief", "broken"),
        ("Dog.", "brief", "words"),
        ("Dog.", "category", ""),
        ("the dog that runs over a field", "category", "words"),
        ("a dog and a dog and a dog", "brief", "repeated"),
        ("Hello there.", "brief", "object_complexity"),
        ("A man in a red shirt is riding a brown horse on", "detailed", "unfinished"),
        (RIDER, "detailed", ""),
        (RIDER, "more_detailed", "words"),
        (RIDER + " " + DOGS + ' It says "Stop."', "more_detailed", ""),
    ],
)
def test_text_that_breaks_a_rule_is_dropped_with_its_name(words: str, length: Length, rule: str) -> None:
    each = text(words, length)
    assert reasons(Texts()(record(each))) == ({each.id: f"texts.{rule}"} if rule else {})


def test_objects_at_the_bound_are_kept_and_above_it_dropped_with_numbers() -> None:
    things = ["dog", "cat", "horse", "table", "chair", "lamp", "book", "car", "tree", "house", "boat", "ball", "hat"]
    thirteen = text("A " + ", a ".join(things[:-1]) + " and a hat.")
    twelve = text("A " + ", a ".join(things[:-2]) + " and a hat.")
    after = Texts()(record(thirteen, twelve))
    [verdict] = after.verdicts
    assert (verdict.annotation, verdict.stage) == (thirteen.id, "texts.objects")
    assert (verdict.measured, verdict.bound) == (13, 12)
    assert after.measures[twelve.id]["objects"] == 12


def test_actions_are_required_only_where_the_recipe_says_so() -> None:
    still = text("A red bowl on a table.")
    assert reasons(Texts()(record(still))) == {}
    assert reasons(Texts(action_complexity=1)(record(still))) == {still.id: "texts.action_complexity"}
    riding = text(RIDER)
    assert reasons(Texts(action_complexity=5)(record(riding))) == {}
    assert reasons(Texts(action_complexity=5.1)(record(riding))) == {riding.id: "texts.action_complexity"}


def test_complexity_is_not_required_of_a_region() -> None:
    box = region((0, 0, 10, 10), "stop sign")
    of_region = text("Hello there.", parents=(box.id,))
    assert reasons(Texts()(record(box, of_region))) == {}


def test_texts_of_people_are_measured_and_never_dropped() -> None:
    theirs, other = text("dog", origin=PERSON), text("dog", origin=CAPTIONER)
    after = Texts().for_origins(ORIGINS)(record(theirs, other))
    assert reasons(after) == {other.id: "texts.words"}
    assert after.measures[theirs.id]["words"] == 1


def test_dropped_text_is_not_looked_at_again_and_stage_changes_nothing_else() -> None:
    before = record(text("dog"), text(RIDER), region((0, 0, 5, 5), "dog"))
    once = Texts()(before)
    assert Texts()(once).verdicts == once.verdicts
    assert once.annotations == before.annotations and before.verdicts == ()


@pytest.mark.parametrize("settings", [{"bands": {"brief": (5, 2)}}, {"bands": {"short": (1, 2)}}, {"repeated": 1.5}])
def test_setting_that_cannot_be_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"bands|repeated"):
        Texts(**settings)  # type: ignore[arg-type]


def test_band_of_a_recipe_replaces_that_of_its_length_alone() -> None:
    stage = Texts(bands={"brief": (1, 3)})
    long, one = text(RIDER), text("dog", "detailed")
    verdicts = {verdict.annotation: verdict for verdict in stage(record(long, one)).verdicts}
    assert (verdicts[long.id].measured, verdicts[long.id].bound) == (14, 3)
    assert (verdicts[one.id].measured, verdicts[one.id].bound) == (1, BANDS["detailed"][0])


def test_records_parsed_ahead_are_the_same_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three texts: the first has the texts of two records, and the last what is left."""
    batches: list[list[str]] = []
    monkeypatch.setattr(texts, "parse", lambda said: batches.append(list(said)) or [])
    given = [record(text("one cat"), text("two cats")), record(text("three cats")), record(), record(text("four cats"))]
    assert list(texts.parsed_ahead(given, 3)) == given
    assert batches == [["one cat", "two cats", "three cats"], ["four cats"]]


@pytest.mark.parametrize("words", ["A dog's ball.", "Ein Hund läuft über die Straße.", "a dog\non a mat", "a “sign”"])
def test_prose_is_not_broken(words: str) -> None:
    assert not is_broken(words)
