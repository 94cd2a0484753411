"""What asking took: the sums of two shards by arithmetic, and lines that cannot be read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.data_engine.costs import FILE, Cost, Spent, add, costs, spent_on
from tests.harness.data_engine.rows import CAPTIONER, DETECTOR, ORIGINS


def spent(kind: str, origin: str, images: int, seconds: float, **fields: object) -> Spent:
    given = {"shard": 0, "questions": images, "device": "cpu", **fields}
    return Spent(kind=kind, origin=origin, images=images, seconds=seconds, **given)  # type: ignore[arg-type]


def test_cost_is_seconds_of_one_device_by_kind_and_origin_dearest_first(tmp_path: Path) -> None:
    """A second try adds its seconds and no image; two workers of a cluster spend twice the seconds of the clock."""
    for line in (
        spent("caption", CAPTIONER.id, 20, 0.75),
        spent("caption", CAPTIONER.id, 0, 0.25, questions=3),
        spent("caption", CAPTIONER.id, 30, 1.0, shard=1, devices=1, device="cuda"),
        spent("detect", DETECTOR.id, 50, 50.0, devices=2),
        spent("describe", CAPTIONER.id, 10, 0.1),
        spent("caption", "unknown", 0, 3.0),
    ):
        add(tmp_path, line)
    found = costs(tmp_path, ORIGINS)
    assert found == (
        Cost("detector", 50, 100.0, "detect", 50, "cpu"),
        Cost("captioner", 50, 2.0, "caption", 53, "cpu, cuda"),
        Cost("captioner", 10, 0.1, "describe", 10, "cpu"),
        Cost("unknown", 0, 3.0, "caption", 0, "cpu"),
    )


def test_rate_of_twenty_five_images_a_second_is_58_days_for_the_papers_images() -> None:
    """25 images in a second: a million take 40,000 s, which are 0.463 days; 126 million take 58 days."""
    fast = Cost("captioner", 25, 1.0)
    assert fast.images_per_second == 25 and fast.days_per_million == pytest.approx(40_000 / 86_400)
    assert 126 * (fast.days_per_million or 0) == pytest.approx(58, abs=0.5)
    assert Cost("a", 0, 3.0).days_per_million is None and Cost("a", 5, 0.0).images_per_second is None


def test_devices_are_those_of_the_process_or_of_the_workers() -> None:
    def model(**provenance: object) -> Any:
        return SimpleNamespace(provenance=provenance)

    assert spent_on(model(device="cpu"), 2.0) == {"seconds": 2.0, "device": "cpu"}
    assert spent_on(model(), 2.0) == {"seconds": 2.0, "device": ""}
    cluster = {"workers": 3, "devices": {"cuda": 2, "cpu": 1}}
    assert spent_on(model(device="cuda", executor=cluster), 2.0) == {
        "seconds": 2.0, "devices": 3, "device": "cuda, cpu",
    }  # fmt: skip


def test_line_that_was_cut_off_is_left_out_and_the_next_one_is_whole(tmp_path: Path) -> None:
    assert costs(tmp_path, ORIGINS) == ()
    add(tmp_path, spent("caption", CAPTIONER.id, 20, 1.0))
    with (tmp_path / FILE).open("ab") as stream:
        stream.write(b'{"kind": "capt')
    assert costs(tmp_path, ORIGINS)[0].images == 20
    add(tmp_path, spent("caption", CAPTIONER.id, 5, 1.0))
    assert costs(tmp_path, ORIGINS)[0].images == 25
