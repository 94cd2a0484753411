"""RapidOCR on the signs of the embedded benchmark: words, places and scores, and what is refused."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import baselines
from baselines import Setting, rapidocr
from harness.core import Answer, Failure, Quads, Question, Sample, Size, Source, Text
from harness.errors import ResourceError, UsageError
from harness.geometry.boxes import iou
from tasks import TASKS

SIGNS = 8


def test_missing_package_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rapidocr.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"rapidocr is not installed: pip install 'florence2-harness\[ocr\]'"):
        baselines.find("rapidocr").load(Setting())
    assert baselines.find("rapidocr").at_hand() == ""


@pytest.fixture(scope="module")
def engine() -> Any:
    return pytest.importorskip("rapidocr", reason=rapidocr.INSTALL)


@pytest.fixture(scope="module")
def signs(miniature: Path) -> list[Sample[Quads]]:
    """The first signs of ICDAR's task whose words are to be read; "###" marks others."""
    every = TASKS["icdar2015"].load(Source(miniature, TASKS["icdar2015"].splits[0]))
    return [each for each in every if each.target and "###" not in each.target.labels][:SIGNS]


@pytest.fixture(scope="module")
def readings(engine: Any, miniature: Path, signs: list[Sample[Quads]]) -> list[Quads]:
    """Everything that rapidocr reads on the signs, however unsure."""
    model = baselines.find("rapidocr").load(Setting(root=miniature), text_score=0.0, enlarge=2.0)
    answers = dict(model.answer((place, sign.question) for place, sign in enumerate(signs)))
    return [value for place in range(len(signs)) if isinstance(value := getattr(answers[place], "value", None), Quads)]


def box(quad: Any) -> tuple[float, float, float, float]:
    corners = np.array(quad)
    return (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())  # type: ignore[return-value]


def test_most_words_are_read_where_they_are(readings: list[Quads], signs: list[Sample[Quads]]) -> None:
    """A trial over sixty of the words read 51 (85 %): well over half of the few here are read."""
    assert len(readings) == SIGNS
    right = total = 0
    for found, sign in zip(readings, signs, strict=True):
        assert sign.target is not None
        for quad, word in zip(sign.target.quads, sign.target.labels, strict=True):
            total += 1
            places = [box(each) for each, label in zip(found.quads, found.labels, strict=True) if label == word]
            right += any(iou(place, box(quad)) > 0.4 for place in places)
    assert right >= 0.6 * total


def test_scores_are_probabilities_and_quads_go_clockwise(readings: list[Quads]) -> None:
    for found in readings:
        assert found.scores is not None and len(found.scores) == len(found.labels) == len(found.quads)
        assert all(0 <= score <= 1 for score in found.scores)
        for (left, top), (right, _), (_, bottom), _ in found.quads:
            assert left < right and top < bottom


def precision(readings: list[Quads], signs: list[Sample[Quads]], least: float) -> tuple[float, int]:
    """The share of readings of this score that are a word of their sign, and how many words are read."""
    kept = [
        label in sign.target.labels
        for found, sign in zip(readings, signs, strict=True)
        if sign.target is not None
        for label, score in zip(found.labels, found.scores or (), strict=True)
        if score >= least
    ]
    return sum(kept) / len(kept), sum(kept)


def test_score_filter_raises_the_precision_of_natural_readings(
    readings: list[Quads], signs: list[Sample[Quads]]
) -> None:
    """E6 in short: a filter by score does to a real specialist what it does to a simulated one."""
    raw, words = precision(readings, signs, 0.0)
    filtered, left = precision(readings, signs, 0.8)
    assert filtered >= raw
    assert left >= words - 2


def test_text_of_an_image_is_its_lines_and_blank_images_have_none(engine: Any, tmp_path: Path) -> None:
    model = baselines.find("rapidocr").load(Setting(root=tmp_path))
    Image.new("RGB", (200, 120), (240, 240, 240)).save(tmp_path / "blank.png")
    (tmp_path / "broken.png").write_bytes(b"broken")
    found = dict(model.answer([
        (0, Question("blank.png", Size(200, 120), "ocr")),
        (1, Question("blank.png", Size(200, 120), "ocr_regions")),
        (2, Question("broken.png", None, "ocr")),
    ]))  # fmt: skip
    assert isinstance(found[0], Answer) and found[0].value == Text(("",))
    assert isinstance(found[1], Answer) and found[1].value == Quads(())
    assert isinstance(found[2], Failure)


def test_places_are_those_of_the_image_however_it_is_enlarged(engine: Any, miniature: Path, signs: list[Any]) -> None:
    places = []
    for enlarge in (1.5, 2.0):
        model = baselines.find("rapidocr").load(Setting(root=miniature), enlarge=enlarge)
        [(_, answer)] = model.answer([(0, signs[1].question)])
        assert isinstance(answer, Answer) and isinstance(answer.value, Quads)
        places.append(box(answer.value.quads[0]))
    assert iou(*places) > 0.8


def test_fingerprint_names_version_models_and_settings(engine: Any, tmp_path: Path) -> None:
    entry = baselines.find("rapidocr")
    made = [entry.load(Setting(root=tmp_path), **options) for options in ({}, {"text_score": 0.0}, {"enlarge": 2.0})]
    assert len({model.fingerprint for model in made}) == 3
    version = importlib.metadata.version("rapidocr")
    assert made[0].fingerprint == (
        f"rapidocr {version}, models {rapidocr.digests()}, text_score=0.5 enlarge=1, version {rapidocr.ANSWERS_VERSION}"
    )
    assert len(rapidocr.digests().split()) == 3
    assert made[0].provenance["onnxruntime"] == importlib.metadata.version("onnxruntime")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"text_score": 1.5}, "--text-score 1.5: from 0 to 1"), ({"enlarge": 0.5}, "--enlarge 0.5: from 1 to 8")],
)
def test_option_out_of_range_is_refused(engine: Any, options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        baselines.find("rapidocr").load(Setting(), **options)
