"""The reference run of a promise, the selection of promises, and the command in a verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import harness
from harness.errors import UsageError
from harness.gates import judge
from harness.gates.promises import Gates, Promise
from harness.speed import checkouts
from tasks import TASKS

Call = Callable[..., tuple[int, str, str]]


def test_reference_has_the_same_task_and_model_name_or_is_named_by_id(tmp_path: Path) -> None:
    own, floor = (
        harness.evaluate("vizwiz", model, data="miniature", limit=2, out=tmp_path / "kept", name=name)
        for model, name in (("oracle", "mine"), ("whole-image", "floor"))
    )
    harness.evaluate("textvqa", "oracle", data="miniature", limit=2, out=tmp_path / "kept")
    promise = Promise(name="a", task="vizwiz", model="oracle", not_worse_than="kept")
    assert judge._reference(promise, own, tmp_path)[1].id == own.id  # of two runs, the one with the same model name
    other = harness.evaluate("vizwiz", "oracle", data="miniature", limit=2, out=tmp_path / "r", name="third")
    with pytest.raises(UsageError, match=r"one run of vizwiz val in .*; there are "):
        judge._reference(promise, other, tmp_path)  # two runs, and neither has its model name
    named = Promise(name="a", task="vizwiz", model="oracle", not_worse_than=floor.id[:8])
    assert judge._reference(named, other, tmp_path / "kept")[1].id == floor.id


def test_glob_leaves_out_tasks_that_the_model_does_not_answer_and_a_name_does_not() -> None:
    def names(task: str, model: str) -> set[str]:
        return {task.name for task in judge._tasks_of(Promise(name="a", task=task, model=model, at_least=1.0))}

    assert names("*_retrieval,vizwiz", "clip-nano") == {"flickr30k_retrieval", "coco_retrieval", "vizwiz"}
    assert names("*retrieval,viz*", "clip-nano") == {"flickr30k_retrieval", "coco_retrieval"}
    assert names("*retrieval,viz*", "florence2-nano") == {"vizwiz"}


def test_only_without_a_matching_promise_is_a_usage_error(tmp_path: Path) -> None:
    gates = Gates((Promise(name="floor", task="vizwiz", model="oracle", at_least=1.0),), None)
    with pytest.raises(UsageError, match=r"--only ceiling: no promise of gates\.toml has that name"):
        judge.judge(gates, Path("gates.toml"), "ceiling", None, tmp_path)


def test_command_of_a_promise_has_its_settings_and_options() -> None:
    promise = Promise(name="a", task="vizwiz", model="florence2-nano", limit=3, dtype="int8", options={"beams": 1})
    assert judge._command(promise, TASKS["vizwiz"]) == (
        "python -m harness run --task vizwiz --model florence2-nano --limit 3 --dtype int8 --beams 1"
    )


@pytest.mark.parametrize(("slower", "status"), [(1.0, 0), (1.5, 5)])
def test_gate_fails_for_slower_benchmark(
    call: Call, project: Path, monkeypatch: pytest.MonkeyPatch, slower: float, status: int
) -> None:
    """The head takes `slower` times as long as the base in one benchmark, with noise of a few percent."""
    monkeypatch.chdir(project)
    count = iter(range(1000))

    def measured(side: Path, benchmarks: str) -> dict[str, float]:
        noise = 1 + 0.02 * (next(count) % 5)
        return {"one": noise * (slower if side == project else 1.0), "two": noise}

    interleaved = checkouts.interleaved
    monkeypatch.setattr(checkouts, "interleaved", lambda *given: interleaved(*given, measured=measured))
    (project / "gates.toml").write_text(
        '[promise.no-slower]\nbase = "HEAD~1"\nbenchmarks = "test_bench.py"\nat_least = 0.85\n'
    )
    assert judge.ROUNDS >= 6
    code, out, error = call("gate", "--promises", "gates.toml")
    assert code == status, error
    assert ("no-slower one" in error) == (status == 5)
    assert "no-slower two" in out


@pytest.mark.parametrize("text", [
    '{"base": [1.0]}', "[]", "null", "[" * 100_000, '{"base": ["1"], "head": ["1"]}', '{"base": [0], "head": [0]}',
    '{"base": null, "head": []}', '{"base": [1%s], "head": [1]}' % ("0" * 400),
])  # fmt: skip
def test_recorded_seconds_that_are_damaged_break_their_promise_on_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    gates = Gates((Promise(name="speed", task="", model="", timings="t.json", at_least=0.95),), None)
    [verdict] = judge.judge(gates, tmp_path / "gates.toml", None, None, tmp_path)
    assert verdict.state == "broken" and "t.json holds no timings" in verdict.measured


def test_damaged_record_among_the_references_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = harness.evaluate("vizwiz", "oracle", data="miniature", limit=2, out=tmp_path / "kept")
    (tmp_path / "kept/damaged").mkdir()
    (tmp_path / "kept/damaged/run.json").write_text('{"schema": 2, "spec": null}')
    promise = Promise(name="a", task="vizwiz", model="oracle", not_worse_than="kept")
    assert judge._reference(promise, own, tmp_path)[1].id == own.id
    assert "damaged/run.json is not a run record" in caplog.text
