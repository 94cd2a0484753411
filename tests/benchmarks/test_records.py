"""Which committed records are replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import records
from harness import store
from harness.core import Estimate, Run
from tests import toy

SCORE = Estimate(50.0, 40.0, 60.0, 9)


def run(**changes: Any) -> Run:
    base = Run(
        schema=1, id="a", spec=replace(toy.spec(toy.task()), data=records.DATA), status="complete", headline="accuracy",
        metrics={"accuracy": SCORE}, counts={"samples": 9, "asked now": 9}, timings={"seconds": 1.0},
    )  # fmt: skip
    return replace(base, **changes)


@pytest.mark.parametrize(("after", "equal"), [
    (replace(SCORE, value=50.04), True),
    (replace(SCORE, value=50.06), False),
    (replace(SCORE, low=39.9), False),
    (replace(SCORE, high=None), False),
    (replace(SCORE, n=8), False),
    (replace(SCORE, value=50.0 + 100 / 9), True),  # one of nine samples flipped
    (replace(SCORE, value=50.0 + 100 / 9, low=40.0 + 200 / 9), True),
    (replace(SCORE, value=50.0 + 100 / 9, low=40.0 + 300 / 9), False),
    (replace(SCORE, value=50.0 + 200 / 9), False),
    (replace(SCORE, value=50.0 + 110 / 9), False),  # no whole sample
])  # fmt: skip
def test_estimates_agree_within_half_of_last_digit_or_one_sample(after: Estimate, equal: bool) -> None:
    assert records.alike(SCORE, after) is equal


@pytest.mark.parametrize(("changes", "equal"), [
    ({"timings": {"seconds": 9.0}}, True),
    ({"counts": {"samples": 9, "asked now": 0}}, True),  # the others were kept from before
    ({"counts": {"samples": 8, "asked now": 9}}, False),
    ({"metrics": {"accuracy": SCORE, "METEOR": SCORE}}, True),  # needs Java
    ({"metrics": {"accuracy": SCORE, "CIDEr": SCORE}}, False),
    ({"spec": toy.spec(toy.task(version=2))}, False),
])  # fmt: skip
def test_records_are_equal_except_for_timings_and_meteor(changes: dict[str, Any], equal: bool) -> None:
    assert records.same(run(), run(**changes)) is equal


def test_renewed_writes_changed_records_and_removes_others(tmp_path: Path) -> None:
    first, second, gone = (
        run(spec=replace(toy.spec(toy.task()), data=records.DATA, split=split)) for split in ("val", "test", "gone")
    )
    paths = {name: store.run_folder(tmp_path, of.spec) for name, of in (("a", first), ("b", second), ("c", gone))}
    store.RunFolder(paths["a"]).write_run(first)
    store.RunFolder(paths["c"]).write_run(gone)
    before = (paths["a"] / "run.json").read_bytes()
    close = replace(first, metrics={"accuracy": replace(SCORE, value=50.01)})
    assert list(records.renewed([close, second], tmp_path)) == [f"removed {paths['c']}", f"new {paths['b']}"]
    assert (paths["a"] / "run.json").read_bytes() == before
    assert not paths["c"].exists()
    changed = replace(first, metrics={"accuracy": replace(SCORE, value=51.0)})
    assert list(records.renewed([changed, second], tmp_path)) == [f"renewed {paths['a']}"]
    written = store.RunFolder(paths["a"]).read_run()
    assert written is not None
    assert written.metrics["accuracy"].value == 51.0
    assert written.timings == {}  # timings differ from machine to machine
