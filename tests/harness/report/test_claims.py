"""The table of claims versus the paper and our runs."""

from __future__ import annotations

from dataclasses import replace

from harness import published
from harness.core import Estimate
from harness.report import claims
from tests.harness.report.runs import a_run

CLAIMS = published.claims()


def test_table_claim_is_reproduced_if_the_interval_contains_the_number_of_the_paper() -> None:
    verdicts = {value: claims.table(CLAIMS, [a_run(value=value)]).rows[0][5] for value in (136.1, 120.0)}
    assert verdicts == {136.1: "reproduced: 136.1 [135.1, 137.1]", 120.0: "not reproduced: 120.0 [119.0, 121.0]"}
    assert claims.table(CLAIMS, []).rows[0][5] == "not run"
    assert len(claims.table(CLAIMS, []).rows) == len(CLAIMS) == 23


def test_table_claim_with_a_run_without_an_interval_is_not_reproduced() -> None:
    run = a_run()
    run = replace(run, metrics={"CIDEr": Estimate(135.6, None, None, 1)})
    assert claims.table(CLAIMS, [run]).rows[0][5] == "not reproduced: 135.6"


def test_table_zero_shot_claim_ignores_a_fine_tuned_run() -> None:
    assert claims.table(CLAIMS, [a_run(protocol="fine_tuned")]).rows[0][5] == "not run"


def test_table_claim_of_a_study_or_without_a_check_says_so() -> None:
    checks = {claim.id: row[5] for claim, row in zip(CLAIMS, claims.table(CLAIMS, []).rows, strict=True)}
    assert checks["abl_prompts"] == "studied with small models: reports/studies"
    assert checks["fld_images"] == "not checked"
