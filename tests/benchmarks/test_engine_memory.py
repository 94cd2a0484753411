"""The benchmark of an engine's memory runs its steps at a small size."""

from __future__ import annotations

from benchmarks.engine_memory import peaks, rows


def test_every_step_has_a_peak_and_none_falls() -> None:
    found = peaks(20)
    assert list(found) == ["start", "made", "answers written", "images filtered", "annotations filtered", "counted"]
    assert list(found.values()) == sorted(found.values())
    assert len({image.hash for image in rows(20)}) == 20
