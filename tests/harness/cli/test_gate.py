"""The command `gate`, and what it has to catch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness import store
from harness.gates import runs

Call = Callable[..., tuple[int, str, str]]

HERE = Path(__file__).parents[3]


def gate(call: Call, tmp_path: Path, text: str, *more: str) -> tuple[int, dict[str, Any], str]:
    path = tmp_path / "gates.toml"
    path.write_text(text)
    status, out, complaint = call("gate", "--promises", path, "--json", *more)
    return status, {one["name"]: one for one in json.loads(out)}, complaint


PAIRED = f"""
[promise.worse]
task = "refcoco"
model = "florence2-nano-ft"
limit = 12
not_worse_than = "{HERE}/baselines/frozen"
margin = 2.0
"""
FROZEN = f'frozen = "{HERE}/baselines/frozen"\n'


def test_gate_passes_and_fails_for_shifted_box_decoder(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gate(call, tmp_path, PAIRED)[0] == 0
    from harness.florence2 import locations

    true = locations.from_bin
    monkeypatch.setattr(locations, "from_bin", lambda number, side: true(number, side) + 0.2 * side)
    status, found, complaint = gate(call, tmp_path, PAIRED)
    assert status == 5
    assert found["worse"]["state"] == "broken"
    assert "beyond noise" in found["worse"]["reason"]
    assert "1 of 1 promises do not hold: worse" in complaint


def test_gate_fails_without_ban_of_repeats(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    from harness.florence2.decoding import search

    monkeypatch.setattr(search, "ban_repeats", lambda *_: None)
    status, found, _ = gate(call, tmp_path, promise)
    assert status == 5
    assert found["parity"]["state"] == "broken"


def test_gate_fails_for_changed_prompt(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.florence2 import prompts

    monkeypatch.setitem(prompts.PROMPTS, "<CAPTION>", "What does this image describe?")
    status, found, _ = gate(call, tmp_path, FROZEN, "--only", "prompt*")
    assert status == 5
    assert [name for name, one in found.items() if one["red"]] == ["prompt caption brief"]


def test_gate_fails_for_wrong_idf(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gate(call, tmp_path, FROZEN, "--only", "scoring coco_caption")[0] == 0
    from harness.metrics import cider

    true = cider.Order.likeness  # with one image more in idf's numerator than there are
    monkeypatch.setattr(cider.Order, "likeness", lambda self, images, image: true(self, images + 1, image))
    status, found, _ = gate(call, tmp_path, FROZEN, "--only", "scoring coco_caption")
    assert status == 5
    assert "raise the task's version" in found["scoring coco_caption"]["reason"]
    assert found["scoring coco_caption"]["measured"].startswith("cider of ")


def test_gate_fails_for_recorded_slower_decode(call: Call, tmp_path: Path) -> None:
    promise = '[promise.speed]\ntimings = "t.json"\nat_least = 0.95\n'
    head = [1.3, 1.31, 1.29, 1.3, 1.35, 1.28, 1.3, 1.4]
    (tmp_path / "t.json").write_text(json.dumps({"base": [1.0] * 8, "head": head}))
    status, found, _ = gate(call, tmp_path, promise)
    assert (status, found["speed"]["state"]) == (5, "broken")
    (tmp_path / "t.json").write_text('{"base": [1.0]}')
    status, found, _ = gate(call, tmp_path, promise)
    assert status == 5
    assert "no timings" in found["speed"]["measured"]


def test_gate_fails_for_missing_task_or_run(call: Call, tmp_path: Path) -> None:
    gone = PAIRED.replace('"refcoco"', '"refcocoo"') + PAIRED.replace("worse]", "lost]").replace(
        "baselines/frozen", "nowhere"
    )
    status, found, _ = gate(call, tmp_path, gone)
    assert status == 5
    assert "no task" in found["worse"]["measured"]
    assert found["lost"]["red"]


def test_missing_task_is_named(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks

    monkeypatch.setattr(tasks, "TASKS", {name: task for name, task in tasks.TASKS.items() if name != "vizwiz"})
    status, found, _ = gate(call, tmp_path, FROZEN, "--only", "scoring vizwiz")
    assert status == 5
    assert "is of the task 'vizwiz', which is neither this project's" in found["scoring vizwiz"]["measured"]


def test_gate_never_reads_a_committed_record_as_its_run(call: Call, tmp_path: Path) -> None:
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


def test_interrupted_gate_gives_no_verdict(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "evaluate_each", interrupted)
    path = tmp_path / "gates.toml"
    path.write_text('[promise.floor]\ntask="refcoco"\nmodel="whole-image"\nlimit=3\nat_least=99.0\n')
    status, _, said = call("gate", "--promises", path)
    expected = "interrupted; nothing was judged; the next gate starts again from the first promise"
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


def test_workflow_and_its_example_have_equal_inputs() -> None:
    yaml = pytest.importorskip("yaml")
    called = yaml.safe_load((HERE / ".github/workflows/gate.yml").read_text())
    example = yaml.safe_load((HERE / "docs/gate.yml").read_text())
    inputs = called[True]["workflow_call"]["inputs"]  # YAML 1.1 reads `on` as true
    given = example["jobs"]["gate"]["with"]
    assert given.keys() <= inputs.keys()
    assert {name for name, one in inputs.items() if one.get("required")} <= given.keys()
    assert len((HERE / "docs/gate.yml").read_text().splitlines()) <= 20


def test_gate_refuses_runs_that_differ_by_name(call: Call, tmp_path: Path) -> None:
    """A reference cut at 20 tokens, or of one image, is no reference for a run of 256 tokens, or of six images."""
    base = ("run", "--task", "refcoco_res", "--model", "florence2-nano-ft", "--data", "miniature", "--limit", "6")
    assert call(*base, "--max-new-tokens", "20", "--out", "short")[0] == 0
    assert call(*base[:-1], "1", "--out", "few")[0] == 0
    promise = """
[promise.worse]
task = "refcoco_res"
model = "florence2-nano-ft"
limit = 6
not_worse_than = "short"
margin = 2.0
"""
    status, found, _ = gate(call, tmp_path, promise)
    assert (status, found["worse"]["state"]) == (5, "broken")
    assert "not alike: decoding: " in found["worse"]["measured"] and "max_new_tokens=20" in found["worse"]["measured"]
    status, found, _ = gate(call, tmp_path, promise + "max_new_tokens = 20\n")
    assert status == 0, found
    assert "6 images" in found["worse"]["measured"]
    status, found, _ = gate(call, tmp_path, promise + 'differs = ["decoding"]\n')
    assert status == 0, found
    status, found, _ = gate(call, tmp_path, promise.replace('"short"', '"few"'))
    assert (status, "samples: " in found["worse"]["measured"]) == (5, True)


def test_gate_compares_precisions_only_if_the_promise_names_the_difference(call: Call, tmp_path: Path) -> None:
    promise = """
[promise.int8]
task = "refcoco"
model = "florence2-nano-ft"
dtype = "int8"
limit = 12
not_worse_than = "{HERE}/baselines/frozen"
margin = 8.0
"""
    promise = promise.replace("{HERE}", str(HERE))
    status, found, _ = gate(call, tmp_path, promise)
    assert (status, "precision: float32 versus int8" in found["int8"]["measured"]) == (5, True)
    status, found, _ = gate(call, tmp_path, promise + 'differs = ["precision"]\n')
    assert status == 0, found
