"""The claims of a summary, against the paper and our runs."""

from __future__ import annotations

from dataclasses import replace

from harness import published
from harness.core import Estimate
from harness.report import claims
from tests.harness.report.runs import a_run

CLAIMS = published.claims()


def test_claim_is_reproduced_where_the_interval_holds_the_number_of_the_paper() -> None:
    verdicts = {value: claims.table(CLAIMS, [a_run(value=value)]).rows[0][5] for value in (136.1, 120.0)}
    assert verdicts == {136.1: "reproduced: 136.1 [135.1, 137.1]", 120.0: "not reproduced: 120.0 [119.0, 121.0]"}
    assert claims.table(CLAIMS, []).rows[0][5] == "not yet run"
    assert len(claims.table(CLAIMS, []).rows) == len(CLAIMS) == 21


def test_claim_without_an_interval_is_not_reproduced() -> None:
    run = a_run()
    run = replace(run, metrics={"CIDEr": Estimate(135.6, None, None, 1)})
    assert claims.table(CLAIMS, [run]).rows[0][5] == "not reproduced: 135.6"


def test_zero_shot_claim_is_not_checked_by_a_fine_tuned_run() -> None:
    assert claims.table(CLAIMS, [a_run(protocol="fine_tuned")]).rows[0][5] == "not yet run"


def test_claim_of_a_study_and_claim_without_a_check_say_so() -> None:
    checked = {claim.id: row[5] for claim, row in zip(CLAIMS, claims.table(CLAIMS, []).rows, strict=True)}
    assert checked["abl_prompts"] == "studied with small models: reports/studies"
    assert checked["fld_images"] == "not checked here"
