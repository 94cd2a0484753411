"""The claims of a summary of the paper, versus the paper and versus our runs."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import Run
from harness.published import Claim, Measure
from harness.report.ours import comparable, no_run, representative
from harness.report.tables import Table
from harness.report.text import number

HEAD = ("claim", "claimed value", "verdict", "value in the paper", "location", "our runs", "note")
NOTES = (
    "Reproduced: the 95 % interval of a run on the full split contains the number in the paper (not the claimed one).",
    "Studies of small models on synthetic scenes (reports/studies) repeat some experiments but reproduce no number.",
)


def table(claims: Sequence[Claim], runs: Sequence[Run]) -> Table:
    """One row per claim: the claimed value, the value in the paper, and whether our runs reproduce the paper."""
    rows = [
        (
            claim.claim,
            claim.claimed,
            claim.verdict,
            claim.paper_value,
            claim.locator,
            _check(claim, runs),
            claim.note,
        )
        for claim in claims
    ]
    return Table("claims", "Claims of a summary versus the paper", HEAD, rows, len(HEAD), NOTES)


def _check(claim: Claim, runs: Sequence[Run]) -> str:
    if claim.study:
        return "studied with small models: reports/studies"
    if claim.miniature:
        return f"in miniature: {claim.miniature}"
    return _reproduction(claim.measure, runs) if claim.measure else "not checked"


def _reproduction(measure: Measure, runs: Sequence[Run]) -> str:
    names = (measure.task, measure.split, measure.metric)
    candidates = comparable(runs, measure.model, measure.protocol, names)
    if not candidates:
        return no_run(runs, measure.model, measure.protocol, names)
    estimate = representative(candidates).metrics[measure.metric]
    within = estimate.low is not None and estimate.high is not None and estimate.low <= measure.paper <= estimate.high
    return f"{'reproduced' if within else 'not reproduced'}: {number(estimate)}"
