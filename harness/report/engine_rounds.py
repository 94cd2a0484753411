"""The rounds of an engine folder as tables: whether each was promoted and why, and what it changed by kind."""

from __future__ import annotations

from collections.abc import Sequence

from harness.data_engine.round_states import Outcome, RoundState, Scores
from harness.report.tables import Table

BEGUN = "not finished"


def tables(states: Sequence[RoundState]) -> list[Table]:
    """The tables `rounds` and `churn` of all rounds that were begun; none without a round."""
    if not states:
        return []
    return [_rounds(states), _churn([(state, state.outcome) for state in states if state.outcome is not None])]


def _rounds(states: Sequence[RoundState]) -> Table:
    head = [
        "round", "on round", "model", "verdict", "images", "F1 before", "F1 after", "gain [95 %]",
        "precision before", "after", "recall before", "after",
    ]  # fmt: skip
    rows = [
        [
            str(state.round), str(state.base), str(state.settings.get("model", "")), _verdict(state.outcome),
            *_numbers(state.outcome),
        ]
        for state in states
    ]  # fmt: skip
    notes = [
        "kept regions on calibration images that no threshold of the round was chosen on, in percent; a round is "
        "promoted if the 95 % interval of its gain in F1, by image, is above 0",
        "nothing is built on a round that was not promoted; its annotations stay recorded",
    ]
    return Table("rounds", "Rounds: promoted or not", head, rows, 4, notes)


def _verdict(outcome: Outcome | None) -> str:
    return BEGUN if outcome is None else "promoted" if outcome.promoted else "not promoted"


def _numbers(outcome: Outcome | None) -> list[str]:
    if outcome is None:
        return [""] * 8
    value, low, high = outcome.gain
    ends = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
    pairs = [_pair(outcome.before, outcome.after, name) for name in ("f1", "precision", "recall")]
    return [f"{outcome.images:,}", *pairs[0], f"{value:+.2f}{ends}", *pairs[1], *pairs[2]]


def _pair(before: Scores, after: Scores, name: str) -> list[str]:
    return [f"{getattr(before, name):.1f}", f"{getattr(after, name):.1f}"]


def _churn(states: Sequence[tuple[RoundState, Outcome]]) -> Table:
    rows = [
        [
            str(state.round), kind, f"{moves.before:,}", f"{moves.after:,}", f"{moves.added:,}", f"{moves.dropped:,}",
            f"{moves.moved:,}", f"{moves.share:.1f}",
        ]
        for state, outcome in states
        for kind, moves in outcome.churn.items()
    ]  # fmt: skip
    head = ["round", "kind", "kept before", "kept after", "added", "dropped", "moved", "changed, %"]
    notes = ["moved: another box, label or origin at the same place (IoU of at least 0.5)"] if rows else []
    return Table("churn", "Churn of rounds", head, rows, 2, notes)
