"""Promises: what a file may say, how each is judged (by numbers worked out in comments), and what CI is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness import gates, store
from harness.cli import gating
from harness.comparison import Compared
from harness.core import Estimate, Run, RunSpec, Score
from harness.errors import UsageError
from harness.gates import Promise, Verdict
from harness.report import verdicts
from harness.statistics import Difference

Call = Callable[..., tuple[int, str, str]]
ONE = Promise(name="one", task="refcoco", model="m", at_least=80.0)
WORSE = Promise(name="worse", task="refcoco", model="m", not_worse_than="run", margin=2.0)


def run_of(**metrics: Estimate) -> Run:
    spec = RunSpec(data="d", data_hash="h", task="refcoco", version=2, split="val", model="m", fingerprint="f")
    return Run(schema=1, id="0", spec=spec, status="complete", headline="R", metrics=metrics)


@pytest.mark.parametrize(("value", "low", "high", "state", "chance"), [
    (80.0, 78.0, 82.0, "kept", ""),
    (79.9, 78.0, 82.0, "broken", "within its interval"),
    (70.0, 68.0, 72.0, "broken", "beyond its interval"),
    (70.0, None, None, "broken", "no interval"),
    (None, None, None, "undecided", "not defined"),
])  # fmt: skip
def test_a_bound_is_hard(value: float, low: float, high: float, state: str, chance: str) -> None:
    found = gates.bounded(ONE, "one", run_of(R=Estimate(value, low, high, 9)), "more")
    assert found.state == state
    assert chance in found.chance


def test_a_bound_on_what_is_not_there_is_broken() -> None:
    found = gates.bounded(replace(ONE, metric="CIDEr"), "one", run_of(R=Estimate(1.0, None, None, 9)), "")
    assert found.state == "broken"
    assert "there are R" in found.came


def compared(value: float, low: float | None, high: float | None) -> Compared:
    return Compared(90.0, 90.0 + value, Difference(value, low, high, 0.5, 100), "", None)


@pytest.mark.parametrize(("metric", "value", "low", "high", "state", "told"), [
    ("R", 0.0, 0.0, 0.0, "kept", ""),
    ("R", -1.0, -1.9, -0.1, "kept", ""),  # worse for sure, but by no more than 2
    ("R", -3.0, -4.0, -2.5, "broken", "beyond noise"),
    ("R", -3.0, -4.0, -0.1, "broken", "beyond noise"),
    # 3 lost, up to 1 gained: the upper half is 4 wide and has to be 3, so (4 / 3) squared of 100 images: 177.8
    ("R", -3.0, -7.0, 1.0, "undecided", "about 178 images"),
    # 1 lost, down to 4: the lower half is 3 wide and the room to the margin is 1, so 9 times the images
    ("R", -1.0, -4.0, 2.0, "undecided", "about 900 images"),
    ("R", -2.0, -4.0, 0.5, "undecided", "another margin"),
    ("unreadable", 3.0, 2.5, 4.0, "broken", "beyond noise"),  # more of what is bad
    ("unreadable", -3.0, -4.0, -2.5, "kept", ""),
    ("R", 0.0, None, None, "kept", ""),
    ("R", -1.0, None, None, "undecided", "no interval"),
    ("R", -3.0, None, None, "broken", "no interval"),
])  # fmt: skip
def test_not_worse_needs_the_margin_and_the_interval(
    metric: str, value: float, low: float, high: float, state: str, told: str
) -> None:
    found = gates.no_worse(WORSE, "worse", metric, compared(value, low, high), 100, "")
    assert found.state == state
    assert told in found.chance


def test_what_cannot_be_told_is_red_unless_allowed() -> None:
    wide = compared(-1.0, -4.0, 2.0)
    assert gates.no_worse(WORSE, "worse", "R", wide, 100, "").red
    assert not gates.no_worse(replace(WORSE, undecided="passes"), "worse", "R", wide, 100, "").red


def test_a_slower_decode_given_as_recorded_timings() -> None:
    promise = Promise(name="speed", timings="t.json", at_least=0.95)
    base = [1.00, 1.02, 0.99, 1.01, 1.00, 1.03, 0.98, 1.00]
    slower = [one * factor for one, factor in zip(base, (1.2, 1.25, 1.15, 1.2, 1.3, 1.2, 1.18, 1.22), strict=True)]
    found = gates.quick(promise, base, slower, "")
    assert found.state == "broken"
    assert "p = 0.0039" in found.chance  # all of 8 ranks on one side: 1 / 2 ** 8
    assert gates.quick(promise, base, base, "").state == "kept"
    assert gates.quick(promise, slower, base, "").state == "kept"
    unclear = [1.5, 0.9, 1.2, 1.0]  # ratios 0.67, 1.13, 0.83, 1.01: a median of 0.92 by chance
    assert gates.quick(promise, [1.0, 1.02, 0.99, 1.01], unclear, "").state == "undecided"
    with pytest.raises(ValueError, match="equally many"):
        gates.quick(promise, [1.0], [], "")


def test_a_changed_mark_under_the_same_version_is_named() -> None:
    before = run_of(R=Estimate(50.0, 40.0, 60.0, 2))
    marks = {"a": Score({"hit": 1.0}), "b": Score({"hit": 0.0})}
    same = gates.same_marking("m", before, 2, marks, marks, before.metrics, "")
    assert same.state == "kept"
    other = marks | {"b": Score({"hit": 0.5})}
    found = gates.same_marking("m", before, 2, other, marks, before.metrics, "")
    assert found.state == "broken"
    assert "hit of b 0.5, which was 0.0" in found.came
    assert gates.same_marking("m", before, 3, other, marks, before.metrics, "").state == "undecided"
    fewer = gates.same_marking("m", before, 2, marks, marks, {}, "")
    assert fewer.state == "broken"
    assert gates.same_marking("m", before, 2, {"a": marks["a"]}, marks, before.metrics, "").state == "broken"


def test_golden_prompts() -> None:
    golden = {"caption brief": ["What does the image describe?"], "vqa bare": ["a"]}
    assert [one.state for one in gates.same_prompts(golden, golden)] == ["kept"]
    found = gates.same_prompts(golden, {"caption brief": ["What is this?"], "new form": ["b"]})
    assert {one.name: one.state for one in found} == {
        "prompt caption brief": "broken", "prompt new form": "broken", "prompt vqa bare": "broken",
    }  # fmt: skip


@pytest.mark.parametrize(("text", "told"), [
    ("", "promises nothing"),
    ("promise = 3", "tables"),
    ("[promise.x", "is no TOML"),
    ("[promise.x]\ntask='a'\nmodel='b'", "either at_least"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nnot_worse_than='c'", "either at_least"),
    ("[promise.x]\ntask='a'\nat_least=1", "a task and a model"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_leest=1", "did you mean 'at_least'"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least='1'", "is no int or float"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=nan", "not finite"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=true", "is no int or float"),
    ("[promise.x]\ntask='a'\nmodel='b'\nnot_worse_than='c'\nmargin=-1", "0 or more"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nlimit=0", "at least one image"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nundecided='maybe'", "'broken' or 'passes'"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nmetric='speed'", "beside a peer"),
    ("other=1\n[promise.x]\ntask='a'\nmodel='b'\nat_least=1", "it has other"),
])  # fmt: skip
def test_a_wrong_file_is_said_where(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "gates.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"gates\.toml") as error:
        gates.read(path)
    assert told in str(error.value)


def test_the_files_of_a_gate_hold_nothing_that_is_markup() -> None:
    found = [
        Verdict("a <b>|x", "broken", "p & q", "came\n::error::planted", "no\x00ise", "more"),
        Verdict("b", "undecided", "p", "c", passes=True),
        Verdict("c", "kept", "p", "c"),
    ]
    suite = ElementTree.fromstring(verdicts.junit(found))
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "3", "failures": "1", "errors": "0", "skipped": "1"}
    assert [case.get("name") for case in suite] == ["a <b>|x", "b", "c"]
    lines = verdicts.github(found).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning"]  # none planted
    assert "&lt;b&gt;\\|x" in verdicts.summary(found)
    assert json.loads(json.dumps(verdicts.as_json(found)))[0]["red"]


# ---------------------------------------------------------------------------- the command, and what it has to catch

HERE = Path(__file__).parents[2]


def gate(call: Call, tmp_path: Path, text: str, *more: str) -> tuple[int, dict[str, Any], str]:
    path = tmp_path / "gates.toml"
    path.write_text(text)
    status, out, complaint = call("gate", "--promises", path, "--json", *more)
    return status, {one["name"]: one for one in json.loads(out)}, complaint


PAIRED = f"""
[promise.worse]
task = "refcoco"
model = "florence2-nano-ft"
limit = 6
not_worse_than = "{HERE}/results"
margin = 2.0
"""
FROZEN = f'frozen = "{HERE}/baselines/frozen"\n'


def test_kept_then_red_for_a_shifted_box_decoder(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gate(call, tmp_path, PAIRED)[0] == 0
    from harness.florence2 import locations

    true = locations.from_bin
    monkeypatch.setattr(locations, "from_bin", lambda number, side: true(number, side) + 0.2 * side)
    status, found, complaint = gate(call, tmp_path, PAIRED)
    assert status == 5
    assert found["worse"]["state"] == "broken"
    assert "beyond noise" in found["worse"]["chance"]
    assert "1 of 1 promises do not hold: worse" in complaint


def test_red_for_a_dropped_ban_of_repeats(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promise = """
[promise.parity]
task = "coco_caption"
model = "florence2-nano-ft"
metric = "parity"
peer = "transformers"
images = 12
at_least = 100.0
"""
    assert gate(call, tmp_path, promise)[0] == 0
    from harness.florence2 import search

    monkeypatch.setattr(search, "ban_repeats", lambda *_: None)
    status, found, _ = gate(call, tmp_path, promise)
    assert status == 5
    assert found["parity"]["state"] == "broken"


def test_red_for_a_changed_prompt(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.florence2 import prompts

    monkeypatch.setitem(prompts.PROMPTS, "<CAPTION>", "What does this image describe?")
    status, found, _ = gate(call, tmp_path, FROZEN, "--only", "prompt*")
    assert status == 5
    assert [name for name, one in found.items() if one["red"]] == ["prompt caption brief"]


def test_red_for_a_wrong_idf(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gate(call, tmp_path, FROZEN, "--only", "marking coco_caption")[0] == 0
    from harness.metrics import cider

    true = cider.Order.likeness  # with one image more in idf's numerator than there are
    monkeypatch.setattr(cider.Order, "likeness", lambda self, images, image: true(self, images + 1, image))
    status, found, _ = gate(call, tmp_path, FROZEN, "--only", "marking coco_caption")
    assert status == 5
    assert "raise the task's version" in found["marking coco_caption"]["chance"]
    assert found["marking coco_caption"]["came"].startswith("cider of ")


def test_red_for_a_slower_decode_as_recorded(call: Call, tmp_path: Path) -> None:
    promise = '[promise.speed]\ntimings = "t.json"\nat_least = 0.95\n'
    head = [1.3, 1.31, 1.29, 1.3, 1.35, 1.28, 1.3, 1.4]
    (tmp_path / "t.json").write_text(json.dumps({"base": [1.0] * 8, "head": head}))
    status, found, _ = gate(call, tmp_path, promise)
    assert (status, found["speed"]["state"]) == (5, "broken")
    (tmp_path / "t.json").write_text('{"base": [1.0]}')
    status, found, _ = gate(call, tmp_path, promise)
    assert status == 5
    assert "no timings" in found["speed"]["came"]


def test_red_for_a_task_or_a_run_that_is_gone(call: Call, tmp_path: Path) -> None:
    gone = PAIRED.replace('"refcoco"', '"refcocoo"') + PAIRED.replace("worse]", "lost]").replace("results", "nowhere")
    status, found, _ = gate(call, tmp_path, gone)
    assert status == 5
    assert "no task" in found["worse"]["came"]
    assert found["lost"]["red"]


def test_a_vanished_task_is_named(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks

    monkeypatch.delitem(tasks.TASKS, "vizwiz")
    status, found, _ = gate(call, tmp_path, FROZEN, "--only", "marking vizwiz")
    assert status == 5
    assert "no task" in found["marking vizwiz"]["came"]


def test_a_committed_record_is_never_read_in_place_of_a_run(call: Call, tmp_path: Path) -> None:
    status, _, _ = call("gate", "--promises", HERE / "baselines/gates.toml", "--only", "nothing")
    assert status == 2
    path = tmp_path / "gates.toml"
    path.write_text(PAIRED)
    assert call("gate", "--promises", path, "--out", "kept")[0] == 0
    [(_, first)] = store.runs(tmp_path / "kept")
    assert call("gate", "--promises", path, "--out", "kept")[0] == 0
    [(_, second)] = store.runs(tmp_path / "kept")
    assert first.counts["asked now"] == second.counts["asked now"] > 0
    assert first.provenance["date"] <= second.provenance["date"]


def test_an_interrupted_gate_promises_nothing(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(gating.runner, "run", interrupted)
    path = tmp_path / "gates.toml"
    path.write_text('[promise.floor]\ntask="refcoco"\nmodel="whole-image"\nlimit=3\nat_least=99.0\n')
    status, _, said = call("gate", "--promises", path)
    expected = "interrupted; nothing is judged: a gate asks everything afresh, and begins anew"
    assert (status, said) == (130, f"error: {expected}")


def test_junit_and_github(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    path = tmp_path / "gates.toml"
    path.write_text('[promise.floor]\ntask="refcoco"\nmodel="whole-image"\nlimit=3\nat_least=99.0\n')
    status, out, _ = call("gate", "--promises", path, "--junit", "gate.xml")
    assert status == 5
    assert "::error title=gate floor::" in out
    assert ElementTree.parse(tmp_path / "gate.xml").getroot().get("failures") == "1"
    assert "| BROKEN | floor |" in (tmp_path / "summary.md").read_text()


def test_the_workflow_and_its_example_fit_together() -> None:
    yaml = pytest.importorskip("yaml")
    called = yaml.safe_load((HERE / ".github/workflows/gate.yml").read_text())
    example = yaml.safe_load((HERE / "docs/gate.yml").read_text())
    inputs = called[True]["workflow_call"]["inputs"]  # YAML 1.1 reads `on` as true
    given = example["jobs"]["gate"]["with"]
    assert given.keys() <= inputs.keys()
    assert {name for name, one in inputs.items() if one.get("required")} <= given.keys()
    assert len((HERE / "docs/gate.yml").read_text().splitlines()) <= 20
