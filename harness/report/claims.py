"""What a summary of the paper claims, versus the paper and versus our runs."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import Run
from harness.published import Claim, Measure
from harness.report.ours import comparable, standing_for
from harness.report.tables import Table
from harness.report.text import number

HEAD = ("claim", "claimed", "verdict", "the paper", "where", "our runs", "note")
NOTES = (
    "Reproduced: the number of the paper (not the claimed one) lies in the 95 % interval of a run on all of that data.",
    "Studies of small models on synthetic scenes (reports/studies) repeat some experiments; they reproduce no number.",
)


def table(claims: Sequence[Claim], runs: Sequence[Run]) -> Table:
    """A row per claim: what is claimed, what the paper says, and whether our runs give the paper's number."""
    rows = [
        (
            claim.claim,
            claim.claimed,
            claim.verdict,
            claim.paper_value,
            claim.locator,
            _checked(claim, runs),
            claim.note,
        )
        for claim in claims
    ]
    return Table("claims", "Claims of a summary versus the paper", HEAD, rows, len(HEAD), NOTES)


def _checked(claim: Claim, runs: Sequence[Run]) -> str:
    if claim.study:
        return "studied with small models: reports/studies"
    return _reproduced(claim.measure, runs) if claim.measure else "not checked here"


def _reproduced(measure: Measure, runs: Sequence[Run]) -> str:
    names = (measure.task, measure.split, measure.metric)
    made = comparable(runs, measure.model, measure.protocol, names)
    if not made:
        return "not yet run"
    found = standing_for(made).metrics[measure.metric]
    within = found.low is not None and found.high is not None and found.low <= measure.paper <= found.high
    return f"{'reproduced' if within else 'not reproduced'}: {number(found)}"
