"""claims.csv and claims.toml: the claims of a summary, and how each claim is checked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness import published
from harness.protocols.studies import STUDIES
from harness.published.claim import parse
from tasks import TASKS

ROWS = """id,claim,claimed_value,metric,verdict,paper_value,paper_locator,note
zs,a caption,135.6,CIDEr,agrees,135.6,Table 4,
abl,"regions, too, help",,,differs,,Figure 7,not at all
"""
CHECKS = """
[measured]
zs = { model = "m", protocol = "zero_shot", task = "t", split = "val", metric = "CIDEr", paper = 135.6 }

[studied]
abl = "granularity"
"""


def test_claims_of_the_committed_file_are_complete() -> None:
    claims = published.claims()
    assert len(claims) == len({claim.id for claim in claims}) == 23
    assert [claim.claimed for claim in claims[:1]] == ["135.6 CIDEr"]


def test_parse_claim_with_a_check_has_a_measure_or_a_study() -> None:
    measured, studied = parse(ROWS, CHECKS)
    assert measured.measure is not None and (measured.measure.paper, measured.study) == (135.6, "")
    assert (studied.measure, studied.study, studied.claim) == (None, "granularity", "regions, too, help")
    assert (measured.claimed, studied.claimed) == ("135.6 CIDEr", "")
    assert [claim.measure for claim in parse(ROWS, "")] == [None, None]


@pytest.mark.parametrize("claim", [claim for claim in published.claims() if claim.measure], ids=lambda claim: claim.id)
def test_measured_claim_of_the_committed_file_equals_the_published_figure(claim: published.Claim) -> None:
    measure = claim.measure
    assert measure is not None
    assert measure.metric in TASKS[measure.task].metrics
    name = {"florence2-l": "Florence-2-L", "florence2-l-ft": "Florence-2-L"}[measure.model]
    [figure] = [
        figure for figure in published.figures(measure.task, measure.split, measure.metric)
        if (figure.model, figure.protocol) == (name, measure.protocol)
    ]  # fmt: skip
    assert figure.value == measure.paper
    assert figure.text in claim.paper_value


def test_claim_that_was_tried_in_miniature_has_the_numbers_of_the_record() -> None:
    tried = {claim.id: claim.miniature for claim in published.claims() if claim.miniature}
    assert tried.keys() == {"engine_filtering", "engine_specialists"}
    rows = json.loads((Path(__file__).parents[3] / "benchmarks/records/engine.json").read_text())["filters"]
    f1 = {row["arm"]: row["F1"]["value"] for row in rows if (row["noise"], row["specialists"]) == (1.0, 1)}
    assert f"from {f1['raw']:.1f} to {f1['all']:.1f}" in tried["engine_filtering"]
    assert parse(ROWS, "[miniature]\nabl = 'tried'")[1].miniature == "tried"


def test_studied_claims_of_the_committed_file_match_the_studies() -> None:
    studied = {claim.id: claim.study for claim in published.claims() if claim.study}
    assert studied == {name: study.name for study in STUDIES.values() for name in study.claims}


@pytest.mark.parametrize(
    ("rows", "checks", "message"),
    [
        (ROWS.replace("note\n", "remark\n"), CHECKS, "claims.csv: unknown or missing columns: note, remark"),
        (ROWS.replace("Table 4,", "Table 4"), CHECKS, "claims.csv, line 2: 7 cells for 8 columns"),
        (ROWS, CHECKS.replace("abl =", "ablation ="), "claims.toml: no claim ablation in claims.csv"),
        (ROWS, CHECKS.replace("zs =", "ft ="), "claims.toml: no claim ft in claims.csv"),
        (ROWS, CHECKS.replace("paper =", "papers ="), "claims.toml: Object contains unknown field `papers`"),
        (ROWS, CHECKS.replace("[studied]", "[studies]"), "claims.toml: Object contains unknown field `studies`"),
        (ROWS, CHECKS.replace('split = "val", ', ""), "claims.toml: Object missing required field `split`"),
        (ROWS, CHECKS.replace("zero_shot", "one_shot"), "claims.toml: Invalid enum value 'one_shot'"),
    ],
)
def test_parse_unknown_column_key_or_claim_raises_value_error(rows: str, checks: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        parse(rows, checks)
