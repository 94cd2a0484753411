"""Licences of what is exported, formats by name, and files that are written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core import Boxes
from harness.data_engine.export import Exported, Licences, export, written_aside
from harness.data_engine.records import Annotation, Origin, Record, Verdict
from harness.errors import UsageError
from tests.harness.data_engine import samples

RULE = Origin(kind="rule", name="agreement", fingerprint="v1")
NAMELESS = Origin(kind="model", name="scraper", fingerprint="x")
ORIGINS = {**samples.ORIGINS, RULE.id: RULE, NAMELESS.id: NAMELESS}


@pytest.fixture
def records(miniature: Path) -> list[Record]:
    return samples.records(miniature, 3)


def with_boxes(record: Record, *origins: Origin) -> Record:
    """The record with a box of each origin, and one that a rule made of them all, which are then merged."""
    value = Boxes(((1.0, 1.0, 9.0, 9.0),), ("x",))
    boxes = [Annotation(image=record.image.sha256, kind="region", value=value, origin=each.id) for each in origins]
    fused = replace(boxes[0], origin=RULE.id, parents=tuple(each.id for each in boxes))
    verdicts = [Verdict(annotation=each.id, status="merged", stage="boxes.agreement", by=fused.id) for each in boxes]
    return record.extended([*boxes, fused], verdicts=verdicts)


def exported(
    records: list[Record], to: Path, licences: list[str] | None = None
) -> tuple[Exported, list[dict[str, object]]]:
    counts = export(lambda: records, ORIGINS, Path(), to, "jsonl", licences=licences)
    return counts, [json.loads(line) for line in to.read_text().splitlines()]


def test_kept_annotations_are_exported_with_their_licences(records: list[Record], tmp_path: Path) -> None:
    counts, lines = exported(records, tmp_path / "a.jsonl")
    assert (counts.images, counts.annotations, counts.left_out) == (3, 3 * 8, {})  # 11, less 2 dropped and 1 merged
    licences = {(each["origin"]["name"], each["licence"]) for line in lines for each in line["annotations"]}  # type: ignore[attr-defined]
    assert licences == {("people", "CC-BY-4.0"), ("detector", "Apache-2.0"), ("captioner", "MIT")}


def test_licence_of_a_rule_s_annotation_is_that_of_its_parents(records: list[Record], tmp_path: Path) -> None:
    record = with_boxes(records[0], samples.DETECTOR, samples.CAPTIONER)
    _, [line] = exported([record], tmp_path / "a.jsonl")
    assert line["annotations"][-1]["licence"] == "Apache-2.0 and MIT"  # type: ignore[index]
    counts, [line] = exported([record], tmp_path / "a.jsonl", ["CC-BY-4.0", "Apache-2.0"])
    assert {each["licence"] for each in line["annotations"]} == {"CC-BY-4.0", "Apache-2.0"}  # type: ignore[attr-defined]
    assert counts.left_out == {"annotations of other licences": 3}  # two texts, and the box that is of both


def test_unknown_licence_is_refused_unless_told(records: list[Record], miniature: Path, tmp_path: Path) -> None:
    unknown = samples.record(miniature, records[0].image.reference, licence="")
    with pytest.raises(UsageError, match=r"licence of 1 images is unknown: give --licence any .*, or --licence .*MIT"):
        exported([records[1], unknown], tmp_path / "a.jsonl")
    assert not (tmp_path / "a.jsonl").exists()
    fused = with_boxes(records[1], samples.DETECTOR, NAMELESS)
    with pytest.raises(UsageError, match="licence of what agreement said is unknown"):
        exported([fused], tmp_path / "a.jsonl")
    assert exported([unknown, fused], tmp_path / "a.jsonl", ["any"])[0].images == 2
    counts, lines = exported([records[1], unknown], tmp_path / "a.jsonl", ["unknown", "MIT"])
    assert [line["licence"] for line in lines] == [""]
    assert counts.left_out == {"images of other licences": 1, "annotations of other licences": 6}


def test_licence_that_nothing_has_is_refused(records: list[Record], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing has the licence 'GPL'; there are Apache-2\.0, CC-BY-4\.0, MIT"):
        exported(records, tmp_path / "a.jsonl", ["MIT", "GPL"])


def test_rule_whose_parents_are_gone_has_an_unknown_licence(records: list[Record]) -> None:
    lost = Annotation(
        image=records[0].image.sha256, kind="region", value=Boxes(((1.0, 1.0, 9.0, 9.0),), ("x",)), origin=RULE.id,
        parents=("gone",),
    )  # fmt: skip
    assert Licences(ORIGINS).of(replace(records[0], annotations=(lost,))) == {lost.id: ("",)}


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no format 'yolo' to export; there are coco, jsonl, parquet"):
        export(lambda: (), {}, tmp_path, tmp_path / "x", "yolo")


def test_interrupted_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.json"
    with written_aside(path) as partial:
        partial.write_text("old")
    with pytest.raises(KeyboardInterrupt), written_aside(path) as partial:
        partial.write_text("ne")
        raise KeyboardInterrupt
    assert [(each.name, each.read_text()) for each in path.parent.iterdir()] == [("a.json", "old")]
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is below a file"), written_aside(tmp_path / "file/a.json"):
        pass
    with pytest.raises(UsageError, match="is a folder"), written_aside(tmp_path / "sub"):
        pass
