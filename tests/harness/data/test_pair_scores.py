"""Result files of re-ranking: read what was written, and each way in which a file does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core import Answer, Match, Question, Row, Sample, Score, Text
from harness.data.pair_scores import NPZ, pair_of
from harness.errors import DataError

NAMES = ("image/a/b/caption/7", "caption/7/image/a/b", "image/12/caption/8")  # an image's name may contain a slash
SAMPLES = [Sample(name, Question("x.jpg", None, "match"), Text(("x",)), "x") for name in NAMES]
WHOLE: dict[str, Any] = {"image_ids": ["a/b", "12"], "caption_ids": [7, 8], "scores": [0.25, -3.0]}


def write(path: Path, **changes: Any) -> Path:
    with path.open("wb") as stream:
        np.savez(stream, **{name: np.array(value) for name, value in {**WHOLE, **changes}.items()})  # type: ignore[arg-type]
    return path


def test_pair_is_read_from_ids_of_both_directions() -> None:
    assert [pair_of(sample) for sample in SAMPLES] == [("a/b", "7"), ("a/b", "7"), ("12", "8")]


def test_pair_has_one_score_in_both_directions(tmp_path: Path) -> None:
    answers = NPZ.read(write(tmp_path / "a.npz"), SAMPLES)
    assert [answers[name].value for name in NAMES] == [Match(0.25), Match(0.25), Match(-3.0)]


def test_written_file_is_read_again(tmp_path: Path) -> None:
    values = (Match(0.1), Match(0.1), None)
    rows = [Row(sample, Answer(("",), value), Score({})) for sample, value in zip(SAMPLES, values, strict=True)]
    NPZ.write(tmp_path / "b.npz", rows)
    again = NPZ.read(tmp_path / "b.npz", SAMPLES)
    assert tuple(again[name].value for name in NAMES) == values


@pytest.mark.parametrize(("changes", "message"), [
    ({"scores": [1.0]}, "have the shapes"),
    ({"scores": ["a", "b"]}, "are not numbers"),
    ({"scores": [1.0, np.inf]}, "image 12 and caption 8 is infinite"),
    ({"image_ids": ["a/b", "a/b"], "caption_ids": [7, 7]}, "1 pairs have more than one score"),
    ({"image_ids": ["a/b", "13"]}, "have no score"),
    ({"image_ids": ["a/b", "12", "1"], "caption_ids": [7, 8, 9], "scores": [0, 1, 2]}, "no candidates of this run"),
])  # fmt: skip
def test_file_that_does_not_fit_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        NPZ.read(write(tmp_path / "c.npz", **changes), SAMPLES)
