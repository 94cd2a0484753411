"""Rounds of the data engine: a model is taught what is kept, annotates the images again, and is combined with the rest.

A round begins from one fixed start, and not from the last round's weights, whose errors would compound.  The images
are dealt into folds; for each, a model is taught the kept annotations of all other folds, and asked about its own (see
`harness.data_engine.cross_fitting`).  Its answers are those of one more specialist, and the stage `combine` decides:
nothing is deleted.

The images with truth are the calibration set.  Thresholds are chosen on one half of it; a round is promoted only if its
F1 on the other half is better than that of the round it builds on, with an interval above 0.  A round that is not
promoted stays recorded, and nothing is built on it.

A killed round resumes: trainings from their states, questions from the answers, and the rest is made again.  The paper
(arXiv:2311.06242v1, section 4.2) iterates without a number for any of this; the rules are this project's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Kind, Model
from harness.data_engine import witnessing
from harness.data_engine.annotate import Specialist
from harness.data_engine.calibration import Object
from harness.data_engine.churn import churn
from harness.data_engine.cross_fitting import CrossFitted, fold_of
from harness.data_engine.filtering import filter_annotations
from harness.data_engine.judging import Judged, gain
from harness.data_engine.records import Origin, Record, digest
from harness.data_engine.round_states import Moves, Outcome, RoundState, Scores
from harness.data_engine.shards import Engine
from harness.errors import UsageError
from harness.store.lock import locked

STAGES = ("sources", "boxes", "combine")
LEAST_CHURN = 1.0  # percent of regions; a round that changes fewer is the last
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides on a round, besides the annotations that it teaches.

    `model` is a name and `start` the sha256 of the weights that every round begins from.  `recipe` describes the
    teaching.  `taught` are the kinds of questions that are taught (all that are kept, if it is empty), and `kinds`
    those that the taught model is asked.  `folds` is the number of parts of the images; with 1, the model is asked
    about what it was taught.  `truth` names the calibration set with its digest.  `precision` is the wanted one of
    what the model alone adds, from 0 to 1.
    """

    model: str
    start: str
    recipe: Mapping[str, Any]
    taught: tuple[Kind, ...]
    kinds: tuple[Kind, ...]
    folds: int
    truth: str
    precision: float


@dataclass(frozen=True)
class Parts:
    """What a round works with.

    - `teach(base, fold, folds, folder)` teaches the annotations that the round `base` keeps, without those of the fold
      (of all folds, if there is one alone), and returns the checkpoint; the same call resumes, or finds it.
    - `load(checkpoint)` returns the taught model.
    - `ask(specialist)` asks about all images what is not answered yet.
    - `truth` has the objects of the calibration images, by reference.
    """

    teach: Callable[[int, int, int, Path], Path]
    load: Callable[[Path], Model]
    ask: Callable[[Specialist], object]
    truth: Mapping[str, Sequence[Object]]


def refine(engine: Engine, rounds: int, settings: Settings, parts: Callable[[], Parts]) -> list[RoundState]:
    """The states of the rounds from 1 to `rounds`; those that are not there are made, an interrupted one is finished.

    `parts` is called before the first round that is made.  No further round is made after one that was not promoted
    with the same settings, or that changed less than 1 % of the regions: it would be taught the same.

    UsageError if another process makes a round, for a round that was begun with other settings or other annotations,
    for another start than the earlier rounds', and for a recipe without a stage that a round needs.
    """
    check(engine, rounds, settings)
    with _alone(engine):
        made: Parts | None = None
        states: list[RoundState] = []
        for number in range(1, rounds + 1):
            state = engine.state(number)
            if state is None or state.outcome is None:
                if (why := _pointless(states, settings)) and state is None:
                    log.warning("round %d is not made: %s", number, why)
                    break
                made = made or parts()
                state = _made(engine, state or _begun(engine, number, settings), settings, made)
            states.append(state)
    return states


def check(engine: Engine, rounds: int, settings: Settings) -> None:
    """UsageError for what `refine` refuses; nothing is written."""
    if rounds < 1 or settings.folds < 1:
        raise UsageError(f"--rounds {rounds} --folds {settings.folds}: at least 1")
    if not 0 < settings.precision <= 1:
        raise UsageError(f"--precision {settings.precision}: above 0 and at most 1")
    if not engine.rounds:
        raise UsageError(f"{engine.path} has no annotations yet; `engine annotate` asks for them")
    has = [stage.name for stage in engine.recipe.stages]
    if lacking := [name for name in STAGES if name not in has]:
        raise UsageError(
            f"the recipe {engine.recipe.name} has no stage {lacking[0]}, which a round needs: "
            f"`engine filter {engine.path} --recipe fld` gives it all"
        )
    for number in range(1, rounds + 1):
        state = engine.state(number)
        if state is None:
            continue
        if state.settings["start"] != settings.start:
            raise UsageError(
                f"every round begins from one start: round {number} began from weights {state.settings['start'][:16]}, "
                f"and these are {settings.start[:16]}; give the same --model and --weights"
            )
        if state.outcome is None or number == rounds:
            _refuse_other(engine, state, settings)


def _refuse_other(engine: Engine, state: RoundState, settings: Settings) -> None:
    """UsageError if a round was begun with other settings, or with other annotations."""
    now = _plain(settings)
    for name, before in state.settings.items():
        if before != now.get(name):
            what = f"{name} {_short(before)}, and not {_short(now.get(name))}"
            if name == "recipe" and isinstance(before, dict):
                what = "another teaching: " + ", ".join(_differences(before, now["recipe"]))
            way = "give the same settings" if state.outcome is None else f"give --rounds {state.round + 1} for another"
            raise UsageError(f"round {state.round} of {engine.path} was begun with {what}; {way}")
    if state.outcome is None and state.labels != labels_of(engine, state.base):
        raise UsageError(
            f"what {engine.path} keeps has changed since round {state.round} was begun: set the recipe back, or delete "
            f"{engine.path / f'round{state.round}'} to begin the round again"
        )


def labels_of(engine: Engine, round_: int) -> str:
    """The digest of all that a round's verdicts are made of: with another one, it may keep something else."""
    described = engine.decided_by(round_).described()
    return digest([engine.told_inputs(number, round_, described) for number in engine.shards])


def _pointless(states: Sequence[RoundState], settings: Settings) -> str:
    """Why another round would bring nothing; "" if it may."""
    if not states or (last := states[-1]).outcome is None:
        return ""
    if not last.outcome.promoted and last.settings == _plain(settings):
        return f"round {last.round} was not promoted, and another with the same settings is taught the same"
    moves = last.outcome.churn.get("region", Moves(0, 0, 0, 0, 0))
    if last.outcome.promoted and moves.share < LEAST_CHURN:
        return f"round {last.round} changed {moves.share:.2f} % of the regions, and {LEAST_CHURN:g} % is the least"
    return ""


def _begun(engine: Engine, number: int, settings: Settings) -> RoundState:
    """The state of a new round on what is kept now, which is kept in its file."""
    images = [image for image in engine.images() if not image.stage]
    if len(used := {fold_of(image.sha256, settings.folds) for image in images}) < settings.folds:
        raise UsageError(
            f"--folds {settings.folds}: the {len(images):,} images of {engine.path} fall into {len(used)} of them; "
            "give fewer"
        )
    filter_annotations(engine)
    base = engine.current
    state = RoundState(number, base, _plain(settings), labels_of(engine, base))
    engine.keep_state(state)
    return state


def _made(engine: Engine, state: RoundState, settings: Settings, parts: Parts) -> RoundState:
    """The state of a round after everything that is left of it."""
    folder = engine.path / f"round{state.round}" / "models"
    checkpoints = [
        parts.teach(state.base, fold, settings.folds, folder / f"fold{fold}") for fold in range(settings.folds)
    ]
    folds = {image.reference: fold_of(image.sha256, settings.folds) for image in engine.images()}
    model = CrossFitted([_loader(parts, path) for path in checkpoints], folds)
    origin: Origin | None = None
    for kind in settings.kinds:
        specialist = Specialist(kind, settings.model, model, round=state.round)
        parts.ask(specialist)
        origin = specialist.origin
    if origin is None:
        raise ValueError("a round asks at least one kind of question")
    engine = replace(engine)  # reads the origins again
    choosing, judging = halves(parts.truth, {image.reference: image.sha256 for image in engine.images()})
    if not state.thresholds:
        raw = _raw_records(engine, state.round, choosing)
        origins = engine.origins_of(state.round)
        chosen = witnessing.chosen(raw, choosing, engine.recipe, origins, settings.precision)
        state = msgspec.structs.replace(state, thresholds=chosen)
        engine.keep_state(state)
    filter_annotations(engine, round_=state.round)
    state = msgspec.structs.replace(state, outcome=_outcome(engine, state, judging))
    engine.keep_state(state)
    _say(state)
    return state


def _loader(parts: Parts, checkpoint: Path) -> Callable[[], Model]:
    return lambda: parts.load(checkpoint)


def halves(
    truth: Mapping[str, Sequence[Object]], digests: Mapping[str, str]
) -> tuple[dict[str, Sequence[Object]], dict[str, Sequence[Object]]]:
    """The calibration images of an engine in two halves: to choose thresholds on, and to judge a round on.

    `digests` has the SHA-256 of each image of the engine.
    """
    there = sorted((digest([digests[reference]]), reference) for reference in truth.keys() & digests.keys())
    return (
        {reference: truth[reference] for _, reference in there[::2]},
        {reference: truth[reference] for _, reference in there[1::2]},
    )


def _raw_records(engine: Engine, round_: int, truth: Mapping[str, object]) -> list[Record]:
    return [
        record
        for number in engine.shards
        for record in engine.raw_records(number, round_)
        if record.image.reference in truth
    ]


def _outcome(engine: Engine, state: RoundState, truth: Mapping[str, Sequence[Object]]) -> Outcome:
    """The scores of a round and of the one it builds on, its churn, and whether it is promoted."""
    before = Judged.of(engine.records(state.base), truth)
    after = Judged.of(engine.records(state.round), truth)
    found = gain(before, after)
    return Outcome(
        promoted=found.low is not None and found.low > 0,
        images=before.images,
        before=_scores(before),
        after=_scores(after),
        gain=(found.value or 0.0, found.low, found.high),
        churn=churn(zip(engine.records(state.base), engine.records(state.round), strict=True)),
    )


def _scores(judged: Judged) -> Scores:
    return Scores(judged.precision(), judged.recall(), judged.f1())


def _say(state: RoundState) -> None:
    """Logs whether a round was promoted, and why."""
    if state.outcome is None:
        return
    value, low, high = state.outcome.gain
    interval = "no interval" if low is None or high is None else f"[{low:+.2f}, {high:+.2f}]"
    verdict = "promoted" if state.outcome.promoted else "NOT promoted, and nothing is built on it"
    log.info("round %d is %s: F1 %+.2f %s on %d images", state.round, verdict, value, interval, state.outcome.images)


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """One process at a time makes rounds of a folder; UsageError for a second one."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(engine.path / "locks" / "rounds"))
        except UsageError as error:
            raise UsageError(f"another process makes a round of {engine.path}; wait for its end") from error
        yield


def _plain(settings: Settings) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings))
    return plain


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The settings of a teaching that differ, each with both values."""
    for name in sorted(before.keys() | now.keys()):
        one, other = before.get(name), now.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other)
        elif one != other:
            yield f"{name} {_short(one)}, and not {_short(other)}"
