"""The index and the details of a run's samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.core import Answer, Mask, Polygons, Question, Row, Sample, Score, Size, Text
from harness.report.breakdown import Breakdown
from harness.viewer import samples
from tests.harness.viewer.viewed import BOX, library, picture, shown_of


def test_index_has_one_list_for_each_sample_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "INDEXED", 5)
    shown = shown_of("alpha", picture(tmp_path))
    head = samples.head(shown, "", shown.parts)
    assert (head["count"], head["kind"], head["indexed"]) == (12, "refer", 5)
    parts = [samples.index(shown, shown.parts, number, library([shown])) for number in range(4)]
    assert [len(part) for part in parts] == [5, 5, 2, 0]
    second = dict(zip(head["columns"], parts[0][1], strict=True))  # place 1: (1 + 5) % 3 is 0, so it is wrong
    assert second["id"] == "s1" and second["question"] == "thing 1" and second["score"] == 0
    assert head["outcomes"][second["outcome"]] == "wrong" and second["mistakes"] == ["background"]
    first = dict(zip(head["columns"], parts[0][0], strict=True))
    assert head["outcomes"][first["outcome"]] == "unparsable" and first["mistakes"] == ["missed"]
    assert first["image"].endswith(".jpg")


def test_details_have_shapes_tokens_and_scores(tmp_path: Path) -> None:
    shown = shown_of("alpha", picture(tmp_path))
    detail = samples.details(shown, shown.parts, 0, library([shown]))[2]
    assert detail["target"] == [{"kind": "box", "points": [1.0, 1.0, 60.0, 60.0]}]
    assert detail["answer"] == [{"kind": "box", "points": list(BOX), "label": "car", "score": 0.88}]
    assert [piece[1:] for piece in detail["raw"][0]] == [(0, -1), (0, 0), (0, 1), (0, 2), (0, 3)]
    assert detail["scores"] == {"hit": 1.0, "iou": 0.8} and detail["size"] == [160, 160]
    assert samples.details(shown, shown.parts, 7, library([shown])) == []


def test_size_of_an_image_is_read_where_annotations_lack_it(tmp_path: Path) -> None:
    shown = shown_of("alpha", picture(tmp_path), 3)
    rows = [
        replace(row, sample=replace(row.sample, question=Question(name, None, "refer", text="t")))
        for row, name in zip(shown.rows, ("x.png", "gone.png", "x.png"), strict=True)
    ]
    shown = replace(shown, rows=tuple(rows))
    found = samples.details(shown, shown.parts, 0, library([shown]))
    assert [detail["size"] for detail in found] == [[160, 160], None, [160, 160]]
    assert {piece[1] for piece in found[1]["raw"][0]} == {-1}


def test_samples_without_pictures_have_none(tmp_path: Path) -> None:
    shown = shown_of("alpha", picture(tmp_path), 3)
    [*details] = samples.details(shown, shown.parts, 0, library([shown], pictures=0))
    assert [detail["image"] for detail in details] == ["", "", ""]


def test_text_mask_and_hidden_targets_are_told_apart(tmp_path: Path) -> None:
    question = Question("x.png", Size(4, 2), "segment", text="t")
    rows = (
        Row(Sample("a", question, Mask(Size(4, 2), b"08"), "x.png"), Answer(("",), Polygons(())), Score({"iou": 0.0})),
        Row(Sample("b", question, Text(("one", "two")), "x.png"), Answer(("x",), Text(("x",))), Score({"m": 0.0})),
        Row(Sample("c", question, None, "x.png"), Answer(("x",), None), Score({}, readable=False)),
    )
    shown = replace(shown_of("alpha", picture(tmp_path), 1), rows=rows)
    mask, text, hidden = samples.details(shown, Breakdown(), 0, library([shown]))
    assert mask["target"][0]["kind"] == "mask" and mask["parsed"]
    assert text["references"] == ["one", "two"] and text["texts"] == ["x"]
    assert hidden["hidden"] and not hidden["parsed"] and not text["hidden"]
