"""Which run a promise is measured against, and what a verdict says was promised."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.errors import UsageError
from harness.gates import judge
from harness.gates.promises import Gates, Promise
from tasks import TASKS


def test_reference_is_of_the_same_task_and_model_else_the_only_one(tmp_path: Path) -> None:
    own, floor = (
        harness.evaluate("vizwiz", model, data="miniature", limit=2, out=tmp_path / "kept", name=name)
        for model, name in (("oracle", "mine"), ("whole-image", "floor"))
    )
    harness.evaluate("textvqa", "oracle", data="miniature", limit=2, out=tmp_path / "kept")
    promise = Promise(name="a", task="vizwiz", model="oracle", not_worse_than="kept")
    assert judge._reference(promise, own, tmp_path)[1].id == own.id  # of the same name
    other = harness.evaluate("vizwiz", "oracle", data="miniature", limit=2, out=tmp_path / "r", name="third")
    with pytest.raises(UsageError, match=r"one run of vizwiz val in .*; there are "):
        judge._reference(promise, other, tmp_path)  # two, and neither is of its name
    named = Promise(name="a", task="vizwiz", model="oracle", not_worse_than=floor.id[:8])
    assert judge._reference(named, other, tmp_path / "kept")[1].id == floor.id


def test_promise_that_no_name_fits_is_a_usage_error(tmp_path: Path) -> None:
    gates = Gates((Promise(name="floor", task="vizwiz", model="oracle", at_least=1.0),), None)
    with pytest.raises(UsageError, match=r"--only ceiling: no promise of gates\.toml is called that"):
        judge.judge(gates, Path("gates.toml"), "ceiling", None, tmp_path)


def test_command_of_a_verdict_makes_the_run() -> None:
    promise = Promise(name="a", task="vizwiz", model="florence2-nano", limit=3, dtype="int8", options={"beams": 1})
    assert judge._command(promise, TASKS["vizwiz"]) == (
        "python -m harness run --task vizwiz --model florence2-nano --limit 3 --dtype int8 --beams 1"
    )
