"""The studies: their arms, and the paper's figures against the published tables."""

from __future__ import annotations

import csv

import pytest

from harness import published
from harness.errors import UsageError
from harness.protocols import studies
from harness.protocols.studies import STUDIES

PUBLISHED = published.CSV.parent


def test_studies_have_a_baseline_arm_and_known_claims() -> None:
    assert list(STUDIES) == [
        "granularity",
        "prompts",
        "init",
        "resolution",
        "scale",
        "optimiser",
        "decoding",
        "locations",
    ]
    claims = {row["id"] for row in csv.DictReader((PUBLISHED / "claims.csv").read_text().splitlines())}
    for study in STUDIES.values():
        assert study.against in study.arms
        assert set(study.paper) <= set(study.arms)
        assert set(study.claims) <= claims


def test_find_unknown_study_raises() -> None:
    assert studies.find("scale") is STUDIES["scale"]
    with pytest.raises(UsageError, match="no study is called 'size'; there are granularity, prompts"):
        studies.find("size")


ROWS = {
    ("granularity", "image"): "Image-level model",
    ("granularity", "image+region"): "Image-Region model",
    ("granularity", "image+region+pixel"): "Image-Region-Pixel model",
    ("init", "L"): "Florence-2 Base: L Pre only (BART), no vision pre-training, unfrozen",
    ("init", "V"): "Florence-2 Base: V Pre only (UniCL), no language pre-training, unfrozen",
    ("init", "V+L"): "Florence-2 Base: V Pre + L Pre, unfrozen",
    ("init", "V+L frozen"): "Florence-2 Base: V Pre + L Pre, vision encoder FROZEN",
    ("scale", "small, 1 %"): "Florence-2 Base, 0.12M images",
    ("scale", "small, 10 %"): "Florence-2 Base, 0.36M images",
    ("scale", "small, all"): "Florence-2 Base, 12M images",
    ("scale", "larger, all"): "Florence-2 Large (ablation)",
}
COLUMNS = (
    ("COCO caption", "CIDEr"), ("COCO detection", "AP"), ("Flickr30k grounding", "R@1"), ("RefCOCO RES", "mIoU"),
)  # fmt: skip


def test_figures_of_the_paper_equal_the_published_table() -> None:
    """Tables 10 to 12 and Figure 7, by arm and metric, against `published.csv`."""
    lines = (PUBLISHED / "published.csv").read_text().splitlines()
    rows = [row for row in csv.DictReader(lines) if row["table"].startswith(("F7_", "T10_", "T11_", "T12_"))]
    known = {(row["model"], row["task"], row["metric"]): float(row["value"]) for row in rows}
    for (study, arm), model in ROWS.items():
        assert STUDIES[study].paper[arm] == tuple(known[model, *column] for column in COLUMNS)
    assert {(study.name, arm) for study in STUDIES.values() for arm in study.paper} == ROWS.keys()


def test_full_arm_has_twice_the_side_and_four_times_the_steps() -> None:
    arm = STUDIES["resolution"].arms["low, then high"]
    full = studies.full(arm)
    assert [phase.side for phase in full.phases] == [64, 128]
    assert sum(phase.steps for phase in full.phases) == 4 * sum(phase.steps for phase in arm.phases)
