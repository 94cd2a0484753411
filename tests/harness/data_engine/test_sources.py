"""Origins that do not count: ignored ones, and earlier versions of a specialist."""

from __future__ import annotations

from dataclasses import replace

from harness.data_engine.recipes import Recipe
from harness.data_engine.records import OF_FILE, Origin
from harness.data_engine.regions import Boxes
from harness.data_engine.sources import Sources
from tests.harness.data_engine.engines import ONE, ORIGINS, OTHER, PERSON, record, region, stages_of

BOX = (10.0, 10.0, 30.0, 30.0)
NEWER = replace(ONE, fingerprint="later")


def test_earlier_version_of_a_specialist_is_superseded_and_is_no_witness_for_the_later_one() -> None:
    old, new = region(BOX, origin=ONE), region(BOX, origin=NEWER)
    recipe = Recipe(name="r", stages=(Sources(), Boxes())).resolved({**ORIGINS, NEWER.id: NEWER})
    told = recipe.apply(record(old, new))
    assert stages_of(told) == {old.id: ("superseded", "sources.earlier")}
    assert [(each.id, told.measures[each.id]["witnesses"]) for each in told.kept()] == [(new.id, 1.0)]


def test_other_round_kind_or_name_is_another_source() -> None:
    others = [replace(NEWER, round=1), replace(NEWER, kind="model"), replace(NEWER, name="new")]
    origins = ORIGINS | {each.id: each for each in others}
    assert Sources().for_origins(origins).earlier == ()
    people = {each.id: each for each in (PERSON, replace(PERSON, fingerprint="later"))}
    assert Sources().for_origins(people).earlier == ()
    read = [replace(PERSON, fingerprint=f"{OF_FILE}{version}") for version in "12"]
    assert Sources().for_origins({each.id: each for each in read}).earlier == (read[0].id,)


def test_model_of_an_earlier_round_is_superseded_by_the_last_round() -> None:
    first, again, second = (
        Origin(kind="model", name=name, fingerprint=name, round=round_)
        for name, round_ in (("taught", 1), ("other", 1), ("taught", 2))
    )
    origins = ORIGINS | {each.id: each for each in (first, again, second)}
    assert Sources().for_origins(origins).earlier == (first.id, again.id)
    assert Sources(ignored=("taught round 2",)).for_origins(origins).ignored == (second.id,)


def test_ignored_origin_is_dropped_by_its_name() -> None:
    one, other = region(BOX), region(BOX, origin=OTHER)
    told = Sources(ignored=("one",)).for_origins(ORIGINS)(record(one, other))
    assert stages_of(told) == {one.id: ("dropped", "sources.ignored")}


def test_setting_is_a_list_of_names() -> None:
    recipe = Recipe(name="r", stages=(Sources(),)).with_settings(['sources.ignored=["one", "other"]'])
    assert recipe.stages == (Sources(ignored=("one", "other")),)
