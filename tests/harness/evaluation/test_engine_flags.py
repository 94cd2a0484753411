"""Flags from Python: the list of high scores, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.data_engine import flags
from harness.errors import DataError, UsageError
from harness.evaluation.engine_flags import Flagged, flag
from tests.harness.evaluation.engine_scenes import recipe, scenes


def test_high_scores_are_listed_highest_first_and_nothing_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores of 0, 0.1, 0.2 and 0.3 in the order of the images."""

    def scorer(pictures: Sequence[Any]) -> list[float]:
        return [place / 10 for place in range(len(pictures))]

    root = scenes(tmp_path / "scenes", 4)
    harness.engine.annotate(root, tmp_path / "e", recipe=recipe())
    monkeypatch.setattr(flags, "classifier", lambda: ("test", scorer))
    done = flag(tmp_path / "e", least=0.2)
    assert done == Flagged(4, (("scenes/9000003.jpg", 0.3), ("scenes/9000002.jpg", 0.2)))
    assert flag(tmp_path / "e", least=0.25).images == (("scenes/9000003.jpg", 0.3),)
    assert not [row for row in harness.engine.images(tmp_path / "e") if row.stage]
    harness.engine.filter(tmp_path / "e", ["images.nsfw=0.3"])
    assert [row.reference for row in harness.engine.images(tmp_path / "e") if row.stage] == ["scenes/9000003.jpg"]


def test_score_out_of_range_and_absent_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--least 2: a score from 0 to 1"):
        flag(tmp_path, least=2)
    with pytest.raises(DataError, match="is no engine folder"):
        flag(tmp_path)
