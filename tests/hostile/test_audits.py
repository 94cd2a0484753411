"""E9: the intervals of simulated audits, with people wrong in 5 %, hold the audited error in 93 to 97 %."""

from __future__ import annotations

import pytest

from tests.harness.data_engine.audits import coverage, population
from tests.hostile import AUDITS


@pytest.mark.skipif(not AUDITS, reason="HOSTILE_AUDITS is 0; tests of the estimates have the short form")
def test_intervals_of_audits_hold_the_audited_error_in_93_to_97_percent() -> None:
    inside = coverage(population(1500, 0), AUDITS)
    margin = 2.6 * (0.05 * 0.95 / AUDITS) ** 0.5  # of the simulation itself
    assert all(0.93 - margin <= share <= 0.97 + margin for share in inside.values()), inside
