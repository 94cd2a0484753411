"""The sample of an audit: strata, sizes, the chance of each annotation, and its file."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core import Boxes, Size, Text
from harness.data_engine import audit
from harness.data_engine.records import Annotation, ImageRow, Origin, Record, Verdict
from harness.errors import DataError, UsageError
from tests.harness.data_engine import samples

DETECTOR = Origin(kind="specialist", name="detector", fingerprint="1", round=2)
ORIGINS = {DETECTOR.id: DETECTOR}


def one(place: int, boxes: int, dropped: int = 0, scores: bool = True) -> Record:
    """An image with boxes of which the first are dropped; a score of a box is its number / 100."""
    sha = f"{place:064x}"
    annotations = tuple(
        Annotation(
            image=sha, kind="region", value=Boxes(((float(number), 0.0, 90.0, 90.0),), ("a",)), origin=DETECTOR.id,
            score=number / 100 if scores else None,
        )
        for number in range(boxes)
    )  # fmt: skip
    verdicts = tuple(
        Verdict(annotation=each.id, status="dropped", stage="regions.score") for each in annotations[:dropped]
    )
    row = ImageRow(reference=f"{place}.jpg", sha256=sha, size=Size(100, 100))
    return Record(image=row, annotations=annotations, verdicts=verdicts)


def drawn(records: list[Record], sample: int, least: int, seed: int = 0) -> audit.AuditSample:
    return audit.draw(lambda: records, ORIGINS, sample=sample, least=least, seed=seed)


@pytest.mark.parametrize(
    ("counts", "sample", "least", "sizes"),
    [
        ([900, 100], 100, 20, [75, 25]),  # 20 each, and of the 60 left 60 * 880/960 = 55 and 60 * 80/960 = 5
        ([10, 990], 400, 20, [10, 390]),  # all of the small one
        ([50, 50, 50], 30, 20, [20, 20, 20]),  # 20 each, though the sample is smaller
        ([5, 6], 400, 20, [5, 6]),  # a census
        ([0, 40], 10, 5, [0, 10]),
    ],
)
def test_sizes_are_the_least_and_a_share(counts: list[int], sample: int, least: int, sizes: list[int]) -> None:
    assert audit.allocate(counts, sample, least) == sizes


def test_strata_are_kind_origin_score_and_status() -> None:
    records = [one(place, boxes=4, dropped=1) for place in range(40)]  # scores 0, 0.01, 0.02, 0.03; those of 0 dropped
    sample = drawn(records, 80, 10)
    counts = {item.stratum: 0 for item in sample.items}
    for item in sample.items:
        counts[item.stratum] += 1
    # The quartiles of 40 times (0, 0.01, 0.02, 0.03) are 0.0075, 0.015, 0.0225: one score in each bin.
    assert {(s.kind, s.origin, s.scores, s.status, s.count): n for s, n in counts.items()} == {
        ("region", "detector round 2", "below 0.0075", "dropped", 40): 20,
        ("region", "detector round 2", "0.0075 to 0.015", "kept", 40): 20,
        ("region", "detector round 2", "0.015 to 0.0225", "kept", 40): 20,
        ("region", "detector round 2", "from 0.0225", "kept", 40): 20,
    }
    assert {item.weight for item in sample.items} == {2.0}  # 40 annotations, 20 drawn


def test_fewer_score_bins_are_made_where_strata_would_not_fit() -> None:
    records = [one(place, boxes=4, dropped=1) for place in range(40)]
    # Four bins are four strata of 10.  Three bins (from 0.01 and from 0.02) are three strata, two (from 0.015) also:
    # below 0.015, one is dropped and one kept.  One bin is two strata.
    assert {item.stratum.scores for item in drawn(records, 30, 10).items} == {
        "below 0.01", "0.01 to 0.02", "from 0.02",
    }  # fmt: skip
    assert {item.stratum.scores for item in drawn(records, 25, 10).items} == {"any score"}
    assert {item.stratum.scores for item in drawn([one(1, 3, scores=False)], 30, 10).items} == {"no score"}


def test_strata_share_images() -> None:
    records = [one(place, boxes=8, dropped=4) for place in range(300)]
    sample = drawn(records, 160, 20)
    images = {item.image for item in sample.items}
    assert len(sample.items) == 160
    assert len(images) < 100  # of independent draws from eight strata, nearly 130 images: 300 * (1 - (1 - 20/300) ** 8)
    places = [item.image for item in sample.items]
    assert len([place for place, image in enumerate(places) if place == 0 or places[place - 1] != image]) == len(images)


def test_every_annotation_of_a_stratum_has_the_same_chance() -> None:
    """Images with 1, 2, 5 and 12 annotations: over 1,000 draws of 6 of 40, each is drawn in 15 %."""
    records = [one(place, boxes, scores=False) for place, boxes in enumerate([1, 2, 5, 12, 1, 2, 5, 12])]
    hits: Counter[str] = Counter()
    together = 0
    for seed in range(1000):
        sample = drawn(records, 6, 6, seed)
        assert len(sample.items) == 6
        hits.update(item.annotation for item in sample.items)
        together += len({item.image for item in sample.items}) < 6
    rates = np.array([hits[annotation.id] / 1000 for record in records for annotation in record.annotations])
    assert np.abs(rates - 0.15).max() < 4 * np.sqrt(0.15 * 0.85 / 1000)  # 4 standard errors: 0.045
    of_images = np.split(rates, np.cumsum([1, 2, 5, 12, 1, 2, 5]))
    assert abs(np.mean(of_images[3]) - np.mean(of_images[0])) < 0.04
    assert together > 0  # two annotations of an image can both be drawn


def test_sample_depends_on_the_seed_and_not_on_the_order_of_the_records() -> None:
    records = [one(place, boxes=4) for place in range(60)]
    sample = drawn(records, 40, 10)
    assert drawn(records[::-1], 40, 10) == sample
    assert {item.annotation for item in drawn(records, 40, 10, seed=1).items} != {i.annotation for i in sample.items}


def test_a_tenth_is_for_a_second_person() -> None:
    sample = drawn([one(place, boxes=4) for place in range(60)], 40, 10)
    assert sum(item.second for item in sample.items) == 4


def test_item_has_what_a_person_needs(miniature: Path) -> None:
    sample = audit.draw(lambda: samples.records(miniature, 2), samples.ORIGINS, sample=22, least=1)
    assert len(sample.items) == 22
    by_kind = {(item.stratum.kind, item.region is None): item for item in sample.items}
    phrase = by_kind["phrase", True]
    assert phrase.span is not None
    assert phrase.text[slice(*phrase.span)] == samples.PHRASE
    outline = by_kind["outline", False]
    assert (outline.label, outline.region) == ("car", outline.region)
    assert outline.value["kind"] == "polygons"
    described = by_kind["text", False]
    assert (described.value["texts"], described.label) == (["a shiny car"], "car")
    assert {item.stratum.status for item in sample.items} == {"kept", "dropped", "merged"}
    assert {item.stratum.origin for item in sample.items} == {"people", "detector", "captioner round 1"}


def test_sample_file_is_read_back_and_an_edited_one_refused(miniature: Path, tmp_path: Path) -> None:
    sample = audit.draw(lambda: samples.records(miniature, 3), samples.ORIGINS, sample=20, least=2)
    path = tmp_path / "sample.jsonl"
    audit.write_sample(path, sample)
    assert audit.read_sample(path) == sample
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match=r"sample\.jsonl was edited, cut off"):
        audit.read_sample(path)
    path.write_text("".join(lines).replace('"status": "kept"', '"status": "dropped"', 1))
    with pytest.raises(DataError, match="was edited"):
        audit.read_sample(path)
    path.write_text("{}\n")
    with pytest.raises(DataError, match=r"cannot be read: .*schema"):
        audit.read_sample(path)
    with pytest.raises(DataError, match="cannot be read"):
        audit.read_sample(tmp_path / "absent")


def test_an_audit_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to audit"):
        drawn([], 40, 10)
    with pytest.raises(UsageError, match="an audit of 0 annotations"):
        drawn([one(0, 1)], 0, 10)


def test_text_with_a_parent_that_is_gone_is_about_the_image() -> None:
    text = Annotation(image="0" * 64, kind="text", value=Text(("x",)), origin=DETECTOR.id, parents=("gone",))
    record = replace(one(0, 0), annotations=(text,))
    [item] = drawn([record], 4, 1).items
    assert (item.region, item.stratum.scores, item.weight) == (None, "no score", 1.0)


def test_origins_of_one_name_are_strata_of_their_own() -> None:
    other = replace(DETECTOR, fingerprint="2")
    records = [one(place, boxes=2, scores=False) for place in range(10)]
    changed = [replace(r, annotations=(r.annotations[0], replace(r.annotations[1], origin=other.id))) for r in records]
    sample = audit.draw(lambda: changed, {**ORIGINS, other.id: other}, sample=20, least=5)
    assert {item.stratum.origin for item in sample.items} == {
        f"detector round 2 ({DETECTOR.id[:8]})", f"detector round 2 ({other.id[:8]})",
    }  # fmt: skip
    assert sum({item.stratum: item.stratum.count for item in sample.items}.values()) == 20


def test_score_that_is_no_number_is_no_score() -> None:
    record = one(0, 3)
    odd = replace(record, annotations=(replace(record.annotations[0], score=float("nan")), *record.annotations[1:]))
    assert {item.stratum.scores for item in drawn([odd], 30, 1).items} >= {"no score"}
