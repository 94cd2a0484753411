"""Rows for tests of metrics and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.core import Answer, Question, Row, Sample, Score


def rows(scores: Sequence[tuple[str, float]], **more: Sequence[float]) -> list[Row[Any]]:
    """One row for each (cluster, value), with the value as the score `iou`; `more` adds scores by name."""
    return [
        Row(
            Sample(str(place), Question(cluster, None, "refer"), None, cluster),
            Answer((), None),
            Score({"iou": value, **{key: values[place] for key, values in more.items()}}),
        )
        for place, (cluster, value) in enumerate(scores)
    ]
