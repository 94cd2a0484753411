"""Rounds: what is promoted, what is refused, what each model is asked, and that a killed round ends as another."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.data_engine.cross_fitting import fold_of
from harness.data_engine.filtering import filter_annotations
from harness.data_engine.judging import Judged
from harness.data_engine.records import Annotation
from harness.data_engine.regions import Boxes
from harness.errors import UsageError
from harness.protocols.rounds import halves
from harness.store.lock import locked
from tasks.miniature.specialists import Noise
from tests.harness.protocols.round_worlds import GOOD, World, objects, truths

ROOT = Path(__file__).parents[3]
BAD = replace(Noise(), missed=0.9, missed_small=0.9, invented=4.0, confused=0.9)


@pytest.fixture(scope="module")
def round0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return World(tmp_path_factory.mktemp("round0")).annotated().folder


@pytest.fixture
def world(round0: Path, tmp_path: Path) -> World:
    shutil.copytree(round0, tmp_path / "w")
    moved = World(tmp_path / "w")
    engine = moved.engine
    object.__setattr__(engine, "data", str(moved.root))
    engine.with_recipe(engine.recipe)
    return moved


def all_kept(world: World, round_: int | None = None) -> list[Annotation]:
    return [each for record in world.engine.records(round_) for each in record.kept()]


def test_better_round_is_promoted_and_everything_is_then_read_from_it(world: World) -> None:
    before = all_kept(world)
    [state] = world.refine()
    assert state.outcome.promoted
    value, low, _ = state.outcome.gain
    assert 0 < low < value
    assert world.engine.current == 1
    _, judging = halves(objects(world.truths), {i.reference: i.sha256 for i in world.engine.images()})
    f1 = [Judged.of(world.engine.records(round_), judging).f1() for round_ in (0, 1)]
    assert (state.outcome.before.f1, state.outcome.after.f1) == tuple(f1)
    assert value == pytest.approx(f1[1] - f1[0])
    assert state.outcome.images == len(judging) == 30
    assert all_kept(world, 0) == before != all_kept(world)
    assert world.engine.lineage(2) == (0, 1, 2)


def test_nothing_of_a_round_is_deleted_and_each_that_is_not_kept_says_why(world: World) -> None:
    raw = {each.id for number in world.engine.shards for each in world.engine.raw(number, 0)}
    world.refine()
    every = {each.id for record in world.engine.records() for each in record.annotations}
    assert raw < every
    reasons = {
        (verdict.status, verdict.stage)
        for record in world.engine.records()
        for verdict in record.status().values()
        if verdict.stage.startswith("combine")
    }
    expected = {("merged", "confirmed"), ("superseded", "disputed"), ("dropped", "alone")}
    assert reasons >= {(status, f"combine.{rule}") for status, rule in expected}
    verdicts = [verdict for record in world.engine.records() for verdict in record.verdicts]
    disputed = [each for each in verdicts if each.stage == "combine.disputed"]
    assert all(None not in (each.by, each.measured, each.bound) for each in disputed)


def test_each_image_is_asked_of_the_model_that_was_not_taught_it_and_once(world: World) -> None:
    world.refine(folds=3)
    assert world.taught == [(0, 0, 3), (0, 1, 3), (0, 2, 3)]
    digests = {image.reference: image.sha256 for image in world.engine.images()}
    asked = world.asked()
    assert sorted(asked) == sorted(f"round1 fold{fold_of(sha, 3)} {name}" for name, sha in digests.items())
    [origin] = [each for each in world.engine.origins.values() if each.kind == "model"]
    assert (origin.name, origin.round) == ("taught", 1)
    assert origin.fingerprint.startswith("cross-fitted:v1:3:simulated:")


def test_worse_round_is_recorded_and_not_promoted_and_said_aloud(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    before, kept = world.digest(), all_kept(world)
    world.noise = BAD
    with caplog.at_level(logging.INFO):
        [state] = world.refine()
    assert not state.outcome.promoted
    assert "round 1 is NOT promoted, and nothing is built on it: F1" in caplog.text
    assert world.engine.current == 0
    assert all_kept(world) == kept
    after = world.digest()
    assert {key: after[key] for key in before} == before
    assert len(list(world.engine.answers(1))) == 60  # recorded
    assert filter_annotations(world.engine).made == 0  # its model is no witness in round 0
    assert world.engine.lineage(2) == (0, 2)


def test_second_run_teaches_and_asks_nothing(world: World) -> None:
    states = world.refine()
    asked, digest = world.asked(), world.digest()
    world.taught.clear()
    assert world.refine() == states
    assert (world.asked(), world.digest(), world.taught) == (asked, digest, [])


def test_second_round_is_taught_the_first_and_supersedes_its_model(world: World) -> None:
    first, second = world.refine(2)
    assert (first.base, second.base) == (0, 1)
    assert world.taught == [(0, 0, 2), (0, 1, 2), (1, 0, 2), (1, 1, 2)]
    origin = next(id_ for id_, each in world.engine.origins.items() if each.round == 1)
    stages = {
        verdict.stage
        for record in world.engine.records(2)
        for each in record.annotations
        if each.origin == origin and (verdict := record.status()[each.id])
    }
    assert stages == {"sources.earlier"}


def test_round_after_one_that_was_not_promoted_needs_other_settings_and_builds_on_the_last_promoted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.noise = BAD
    assert len(world.refine(2)) == 1
    assert "round 2 is not made: round 1 was not promoted, and another with the same settings is taught" in caplog.text
    world.noise = GOOD
    first, second = world.refine(2, recipe={"steps": 50})
    assert (first.outcome.promoted, second.outcome.promoted, second.base) == (False, True, 0)
    assert world.taught[-2:] == [(0, 0, 2), (0, 1, 2)]
    origins = world.engine.origins_of(2).values()
    assert [each.round for each in origins if each.kind == "model"] == [2]


def test_round_that_changes_almost_nothing_is_the_last(world: World, caplog: pytest.LogCaptureFixture) -> None:
    [state] = world.refine()
    moves = replace_churn(state)
    world.engine.keep_state(moves)
    assert len(world.refine(2)) == 1
    assert "round 2 is not made: round 1 changed 0.50 % of the regions, and 1 % is the least" in caplog.text


def replace_churn(state: Any) -> Any:
    """The state with one change among 200 regions."""
    import msgspec

    from harness.data_engine.round_states import Moves

    outcome = msgspec.structs.replace(state.outcome, churn={"region": Moves(200, 199, 0, 1, 0)})
    return msgspec.structs.replace(state, outcome=outcome)


def test_threshold_of_a_person_comes_before_that_of_the_round(world: World) -> None:
    """`filter --set` changes a promoted round, and asks nothing."""
    world.refine()
    asked, before = world.asked(), len(all_kept(world))
    engine = world.engine
    engine = engine.with_recipe(engine.recipe.with_settings(["combine.alone.taught round 1=0.0"]))
    assert filter_annotations(engine).made == 3
    assert len(all_kept(world)) > before
    assert world.asked() == asked


@pytest.mark.parametrize(
    ("changes", "rounds", "message"),
    [
        ({"folds": 3}, 1, "round 1 of .* was begun with folds 2, and not 3; give --rounds 2 for another"),
        ({"recipe": {"steps": 6}}, 1, "another teaching: steps 5, and not 6; give --rounds 2"),
        ({"start": "t" * 64}, 2, "every round begins from one start: round 1 began from weights ssssssssssssssss, and"),
        ({"folds": 0}, 2, "--rounds 2 --folds 0: at least 1"),
        ({}, 0, "--rounds 0 --folds 2: at least 1"),
        ({"precision": 90.0}, 2, "--precision 90.0: above 0 and at most 1"),
    ],
)
def test_other_settings_are_refused_and_nothing_is_lost(
    world: World, changes: dict[str, Any], rounds: int, message: str
) -> None:
    world.refine()
    digest, asked = world.digest(), world.asked()
    with pytest.raises(UsageError, match=message):
        world.refine(rounds, **changes)
    assert (world.digest(), world.asked()) == (digest, asked)


def interrupted(world: World) -> None:
    """Begins a round, which ends when the model is asked."""

    def broken(*of: object) -> None:
        raise KeyboardInterrupt

    parts = replace(world.parts(), ask=broken)
    world.parts = lambda: parts  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        world.refine()
    del world.parts


def test_interrupted_round_refuses_other_settings_and_other_annotations(world: World) -> None:
    interrupted(world)
    assert world.engine.current == 0
    assert len(all_kept(world)) > 0
    with pytest.raises(UsageError, match=r"was begun with precision 0\.9, and not 0\.8; give the same settings"):
        world.refine(precision=0.8)
    engine = world.engine
    engine.with_recipe(engine.recipe.with_settings(["boxes.nms=0.6"]))
    with pytest.raises(UsageError, match=r"keeps has changed since round 1 was begun: set the recipe back, or delete"):
        world.refine()
    engine.with_recipe(engine.recipe)
    assert world.refine()[0].outcome is not None


def test_second_process_is_refused(world: World) -> None:
    with (
        locked(world.engine.path / "locks" / "rounds"),
        pytest.raises(UsageError, match=r"another process makes a round of .*; wait for its end"),
    ):
        world.refine()
    assert world.taught == []


def test_recipe_without_the_combination_and_folder_without_annotations_are_refused(world: World) -> None:
    engine = world.engine
    engine.with_recipe(replace(engine.recipe, stages=(Boxes(),)))
    with pytest.raises(UsageError, match=r"has no stage sources, which a round needs: `engine filter .* --recipe fld`"):
        world.refine()
    shutil.rmtree(engine.path / "round0")
    with pytest.raises(UsageError, match="has no annotations yet; `engine annotate` asks for them"):
        world.refine()


def test_more_folds_than_the_images_fill_are_refused(world: World) -> None:
    with pytest.raises(UsageError, match=r"--folds 500: the 60 images of .* fall into \d\d of them; give fewer"):
        world.refine(folds=500)
    assert not (world.engine.path / "round1").exists()


def test_halves_of_the_truth_are_apart_and_hold_the_images_of_the_engine_alone() -> None:
    truth = objects(truths(11))
    choosing, judging = halves(truth, {name: name * 8 for name in list(truth)[:9]})
    assert (len(choosing), len(judging)) == (5, 4)
    assert not choosing.keys() & judging.keys()
    assert choosing.keys() | judging.keys() == set(list(truth)[:9])


def started(folder: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.harness.protocols.round_worlds", str(folder), "60", str(kill_at)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_killed_round_ends_as_an_undisturbed_one_and_asks_nothing_twice(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.folder, tmp_path / "killed")
    undisturbed = started(world.folder, 0)
    assert undisturbed.returncode == 0, undisturbed.stderr
    kills = 0
    for point in (1, -3, *range(3, 60, 3)):  # each process gets further
        if started(tmp_path / "killed", point).returncode == 0:
            break
        kills += 1
    assert kills > 4  # origins, state, answers, raw files, thresholds, verdicts of three shards
    killed = World(tmp_path / "killed")
    assert killed.digest() == world.digest()
    assert killed.engine.state(1) == world.engine.state(1)
    asked = killed.asked()
    assert set(asked) == set(world.asked())
    assert len(asked) <= len(world.asked()) + 2  # the question that each of two kills interrupted
