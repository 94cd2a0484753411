"""What `run`, `score` and `data` are told besides a task and a model, on the embedded benchmark."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import images
from harness.cli import main
from harness.evaluation.plan import MINIATURE, selected
from harness.metrics import java
from tasks import TASKS

needs_java = pytest.mark.skipif(java.java() is None, reason="there is no Java")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """`main` in this process, with results in a folder of the test's: status, stdout, stderr."""

    def called(command: str, *arguments: str | Path) -> tuple[int, str, str]:
        out = () if command == "data" else ("--out", tmp_path / "results")
        status = main([command, *map(str, arguments), *map(str, out)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return called


def run(call: Call, task: str, *more: str | Path, model: str = "oracle") -> dict[str, Any]:
    status, out, err = call("run", "--task", task, "--model", model, "--data", "miniature", "--json", *more)
    assert status == 0, err
    record: dict[str, Any] = json.loads(out)
    return record


@pytest.mark.parametrize(("task", "name"), [
    ("vqav2", "vqav2_val.json"), ("flickr30k", "flickr30k_test.json"), ("odinw_miniature", "odinw_miniature_val"),
])  # fmt: skip
def test_what_run_exports_score_marks_the_same(call: Call, tmp_path: Path, task: str, name: str) -> None:
    record = run(call, task, "--export", tmp_path / "told")
    predictions = ("--predictions", tmp_path / "told" / name)
    status, out, err = call("score", "--task", task, *predictions, "--data", "miniature", "--json")
    assert status == 0, err
    assert json.loads(out)["metrics"] == record["metrics"]


def test_another_form_of_asking_is_another_run(call: Call) -> None:
    brief, detailed = (
        run(call, "coco_caption", "--limit", "3", "--no-meteor", *more, model="florence2-nano")
        for more in ((), ("--prompt", "caption=detailed"))
    )
    assert brief["spec"]["fingerprint"] != detailed["spec"]["fingerprint"]
    assert brief["metrics"]["BLEU-1"] != detailed["metrics"]["BLEU-1"]
    status, _, err = call("run", "--task", "vqav2", "--model", "florence2-nano", "--prompt", "vqa=shouted")
    assert status == 2 and "vqa=bare|vqa|docvqa" in err


@needs_java
@pytest.mark.slow
def test_captions_by_the_official_pipeline_and_meteor_afterwards(call: Call) -> None:
    """A finished run is marked again for what is asked of it now, and asked nothing."""
    ours = run(call, "coco_caption", "--limit", "12", "--no-meteor", model="florence2-nano")
    assert "METEOR" not in ours["metrics"]
    both = run(
        call, "coco_caption", "--limit", "12", "--meteor", "--caption-scorer", "official", model="florence2-nano"
    )
    assert both["id"] == ours["id"]
    assert sorted(both["provenance"]["marking"]) == ["meteor", "official"]
    assert 0 < both["metrics"]["METEOR"]["low"] < both["metrics"]["METEOR"]["value"] < 100
    for name in ("CIDEr", "BLEU-4", "ROUGE-L"):
        assert both["metrics"][name]["value"] == pytest.approx(ours["metrics"][name]["value"], abs=1e-9)
    status, out, _ = call("score", ours["id"], "--data", "miniature", "--no-meteor", "--json")
    again = json.loads(out)
    assert status == 0 and again["metrics"] == ours["metrics"] and "date" in again["provenance"]["marked again"]


def test_a_java_that_does_not_run_costs_only_meteor(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from harness.metrics import meteor

    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho out of memory >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(java, "java", lambda: broken)
    meteor.kept.cache_clear()
    record = run(call, "coco_caption", "--limit", "4")
    assert record["metrics"]["CIDEr"]["value"] > 0
    assert record["metrics"]["METEOR"]["value"] is None
    assert "no METEOR: METEOR stopped: out of memory" in caplog.text
    status, _, err = call("run", "--task", "nocaps", "--model", "oracle", "--data", "miniature", "--meteor")
    assert status == 6 and "METEOR stopped" in err
    meteor.kept.cache_clear()


def test_no_java_is_said_and_spice_says_what_it_lacks(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.metrics import meteor

    monkeypatch.setattr("harness.evaluation.request.java", lambda: None)
    monkeypatch.setattr(java, "java", lambda: None)
    meteor.kept.cache_clear()  # another test may have started the program
    asked = ("--task", "textcaps", "--model", "oracle", "--data", "miniature", "--limit", "2")
    status, out, err = call("run", *asked)
    assert status == 0 and "METEOR" not in out
    assert "textcaps: no METEOR, since there is no Java (pip install florence2-harness[java])" in err
    assert call("run", *asked, "--meteor")[0] == call("run", *asked, "--spice")[0] == 6


def test_detection_by_hotcoco_is_the_same(call: Call) -> None:
    one = run(call, "coco_detection", "--limit", "40", model="florence2-nano")
    other = run(call, "coco_detection", "--limit", "40", "--detection-scorer", "hotcoco", model="florence2-nano")
    assert other["provenance"]["marking"] == ["hotcoco"]
    assert "region score x label score" in other["provenance"]["policy"]
    for name, estimate in one["metrics"].items():
        assert other["metrics"][name]["value"] == pytest.approx(estimate["value"], abs=1e-9)


def test_all_is_what_a_root_has(call: Call, miniature: Path, tmp_path: Path) -> None:
    shutil.copytree(miniature / "vizwiz", tmp_path / "root/vizwiz")
    asked = ("--model", "oracle", "--data", tmp_path / "root", "--json")
    status, out, err = call("run", "--task", "all", *asked)
    assert status == 0 and json.loads(out)["spec"]["task"] == "vizwiz"
    assert "not there: coco_caption, " in err and "odinw13" in err
    assert "odinw_miniature" not in err  # no published data has this task, so it is not missing
    status, _, err = call("run", "--task", "vizwiz,coco_caption", *asked)
    assert status == 3 and "coco_caption needs" in err  # named, it is meant


def names(asked: str, data: str, root: Path) -> list[str]:
    return [task.name for task in selected(asked, data, root)]


def test_all_on_the_embedded_benchmark_leaves_out_the_published_odinw(miniature: Path) -> None:
    assert set(TASKS) - set(names("all", MINIATURE, miniature)) == {"odinw13", "odinw35"}
    assert names("odinw*", MINIATURE, miniature) == ["odinw_miniature"]


def test_all_on_other_data_leaves_out_the_tasks_of_the_embedded_benchmark(miniature: Path, tmp_path: Path) -> None:
    assert set(TASKS) - set(names("all", "data", tmp_path)) == {"odinw_miniature"}
    assert names("vizwiz,odinw*", "data", tmp_path) == ["vizwiz", "odinw13", "odinw35"]
    assert names("all", "a copy of the embedded files", miniature) == list(TASKS)


def test_a_named_task_is_selected_whatever_the_data_has(miniature: Path, tmp_path: Path) -> None:
    assert names("odinw13,coco*", MINIATURE, miniature) == ["odinw13", "coco_caption", "coco_detection"]
    assert names("odinw_miniature", "data", tmp_path) == ["odinw_miniature"]


def test_run_of_all_on_the_embedded_benchmark_prints_no_missing_task(call: Call) -> None:
    status, _, err = call("run", "--task", "odinw*", "--model", "oracle", "--data", "miniature", "--limit", "3")
    assert status == 0 and "not there" not in err


def test_annotations_in_a_folder_are_told_apart(call: Call, miniature: Path, tmp_path: Path) -> None:
    run(call, "odinw_miniature", "--export", tmp_path / "told")
    predictions = ("--task", "odinw_miniature", "--predictions", tmp_path / "told/odinw_miniature_val", "--json")
    folder = tmp_path / "given"
    shutil.copytree(miniature / "odinw_miniature", folder, ignore=shutil.ignore_patterns("*.jpg"))
    hashes = []
    for _ in range(2):
        status, out, err = call("score", *predictions, "--annotations", folder)
        assert status == 0, err
        hashes.append(json.loads(out)["spec"]["data_hash"])
        [file] = (folder / "Balloons").rglob("*.json")
        file.write_text(file.read_text() + "\n")
    assert hashes[0] != hashes[1]


def test_images_are_packed_and_read_from_there(call: Call, miniature: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(miniature / "vizwiz", root / "vizwiz")
    named = ("--task", "vizwiz", "--data", root)
    status, out, err = call("data", "pack", *named)
    assert status == 0 and "80 images packed" in out, err
    assert "0 images packed (0 bytes), 80 before" in call("data", "pack", *named)[1]
    before = run(call, "vizwiz", "--limit", "5", model="florence2-nano")
    shutil.rmtree(root / "vizwiz/val")
    status, out, err = call("run", *named, "--limit", "5", "--model", "florence2-nano", "--json")
    assert status == 0, err
    assert json.loads(out)["metrics"] == before["metrics"]
    status, out, _ = call("data", "check", *named, "--decode")
    assert "packed   vizwiz/val: 80 images" in out
    data = bytearray((root / "vizwiz/val.lmdb/data.mdb").read_bytes())
    data[len(data) // 2] ^= 1
    (root / "vizwiz/val.lmdb/data.mdb").write_bytes(data)
    status, out, err = call("data", "check", *named, "--decode")
    assert status == 3 and ("wrong" in out or "unreadable" in out)
    images.release(images.store_path(root, "vizwiz/val"))  # a file that is mapped must not be cut
    (root / "vizwiz/val.lmdb/data.mdb").write_bytes(b"no LMDB")
    status, out, err = call("data", "check", "--task", "vizwiz,textvqa", "--data", root)
    assert status == 3 and "wrong " in out and "textvqa val:" in out  # and what comes after is checked


@pytest.mark.parametrize(("given", "status", "said"), [
    (("--seed", "-1"), 2, "--seed"),
    (("--weights", ""), 2, "--weights is empty"),
    (("--beams", "3", "--prompt", "vqa=bare"), 2, "--beams"),
    (("--export", "/dev/null/x"), 6, "Not a directory"),
])  # fmt: skip
def test_what_cannot_be_meant(call: Call, given: tuple[str, ...], status: int, said: str) -> None:
    asked = ("run", "--task", "vizwiz", "--model", "oracle", "--data", "miniature", "--limit", "2")
    found, _, err = call(*asked, *given)
    assert (found, said in err, err.count("error:")) == (status, True, 1)


def test_a_torn_record_stops_nothing_else(call: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, torn = (run(call, task, "--limit", "2") for task in ("vizwiz", "textvqa"))
    [record] = (path for path in (tmp_path / "results").rglob("run.json") if torn["id"] in str(path))
    record.write_text("{")
    status, out, _ = call("ls")
    assert status == 0 and whole["id"] in out and torn["id"] not in out
    assert "is no run record" in caplog.text
    assert call("show", whole["id"])[0] == 0
    assert run(call, "textvqa", "--limit", "2", "--fresh")["id"] == torn["id"]


@pytest.mark.parametrize("body", ["raise RuntimeError('broken')", "import sys; sys.exit(3)", "TASK = 5", "TASK ="])
def test_a_module_that_is_no_task(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    (tmp_path / "faulty_task.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faulty_task", raising=False)
    for name in ("faulty_task:TASK", "..faulty_task:TASK", "faulty_task:", "faulty_task:TASK[0]"):
        status, _, err = call("run", "--task", name, "--model", "oracle", "--data", "miniature")
        assert (status, err.count("\n"), err.startswith("error: ")) == (2, 1, True), err


def test_a_question_too_long_is_one_failure(call: Call, miniature: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(miniature / "textvqa", root / "textvqa")
    path = root / "textvqa/TextVQA_0.5.1_val.json"
    told = json.loads(path.read_text())
    told["data"] = told["data"][:3]
    told["data"][0]["question"] = "what is it " * 60
    path.write_text(json.dumps(told))
    status, out, err = call("run", "--task", "textvqa", "--model", "florence2-nano", "--data", root, "--json")
    record = json.loads(out)
    assert (status, record["status"], record["counts"]["failed"], record["counts"]["answered"]) == (
        7,
        "incomplete",
        1,
        2,
    )
    assert "this checkpoint has room for" in err


def test_of_one_image_there_is_no_cider(call: Call, tmp_path: Path) -> None:
    """The official code says 0."""
    record = run(call, "coco_caption", "--limit", "1", "--no-meteor")
    assert record["metrics"]["CIDEr"]["value"] is None
    assert record["metrics"]["BLEU-1"]["value"] > 0
    [scores] = (tmp_path / "results").rglob("scores.jsonl")
    assert json.loads(scores.read_text())["cider"] is None
    status, out, _ = call("show", record["id"])
    assert status == 0 and "CIDEr       –" in out and "CIDEr of one image" in out
