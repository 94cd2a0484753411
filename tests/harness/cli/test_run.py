"""The command `run`: results to stdout, one line to stderr where something is wrong."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import baselines
from baselines import Entry, Setting
from harness.cli import application
from harness.core import Model
from harness.errors import CheckpointError
from harness.evaluation import fetching
from harness.metrics import java
from tests import origin, published_files
from tests.harness.cli.calling import LITERAL, ROOT, Call, evaluated, process
from tests.hub import COMMIT, serving

needs_java = pytest.mark.skipif(java.java() is None, reason="there is no Java")


def test_weights_are_fetched_from_the_hub_and_found_offline(root: Path, checkpoint: Path, tmp_path: Path) -> None:
    settings = {"FLORENCE2_HARNESS_DATA": str(root), "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
    with serving({("microsoft/Florence-2-large", "f0acedb"): checkpoint}) as hub:
        first = process(*LITERAL, "--out", tmp_path / "a", HF_ENDPOINT=hub.url, **settings)
        assert first.status == 0, first.err
        assert any("/resolve/f0acedb/model.safetensors" in one or COMMIT in one for one in hub.asked)
        at_hand = process("models", "--json", HF_ENDPOINT=hub.url, **settings)
    large = next(one for one in json.loads(at_hand.out) if one["name"] == "florence2-l")
    assert large["revision"] == "f0acedb"
    assert COMMIT in large["at_hand"]
    again = process(*LITERAL, "--out", tmp_path / "b", "--json", HF_ENDPOINT=hub.url, **settings)  # the server is gone
    assert again.status == 0, again.err
    record = json.loads(again.out)
    assert re.search(rf"mIoU +{record['metrics']['mIoU']['value']:.1f}\b", first.out)
    assert record["spec"]["data"] == root.name


def test_no_weights_and_no_network(root: Path, tmp_path: Path) -> None:
    outcome = process(
        *LITERAL, "--out", tmp_path,
        FLORENCE2_HARNESS_DATA=str(root), HF_HOME=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9",
    )  # fmt: skip
    assert outcome.status == 4
    assert "microsoft/Florence-2-large at revision f0acedb" in outcome.complaint
    assert "--weights FOLDER" in outcome.complaint
    assert outcome.out == ""


def test_run_fetches_missing_data_first_where_asked(
    here: Call, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain `run` says in one line how to fetch; --fetch does so, and keeps stdout for the result."""
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(fetching, "TABLE", published_files.without_sums(tmp_path))
    named = ("run", "--task", "refcoco", "--model", "oracle", "--data", tmp_path / "root", "--json")
    outcome = here(*named)
    assert outcome.status == 3
    assert f"`python -m harness data fetch --task refcoco --data {tmp_path / 'root'}` fetches it" in outcome.complaint
    with origin.serving(published_files.published(miniature, tmp_path / "made")) as server:
        monkeypatch.setenv("FLORENCE2_HARNESS_MIRROR", server.url)
        outcome = here(*named, "--fetch")
    assert outcome.status == 0, outcome.err
    assert json.loads(outcome.out)["status"] == "complete" and "Apache-2.0" in outcome.err


def test_fetch_of_own_annotations_is_refused(here: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    own = ("--annotations", tmp_path / "mine.json")
    outcome = here("run", "--task", "coco_detection", "--model", "oracle", "--fetch", *own)
    assert outcome.status == 2 and "--fetch is of published data" in outcome.complaint


def test_no_data_root(tmp_path: Path) -> None:
    outcome = process(*LITERAL, "--out", tmp_path)
    assert outcome.status == 2
    assert outcome.err.strip().count("\n") == 0
    assert (
        "--data ROOT" in outcome.complaint
        and "FLORENCE2_HARNESS_DATA" in outcome.complaint
        and "miniature" in outcome.complaint
    )
    outcome = process(*LITERAL, "--out", tmp_path, FLORENCE2_HARNESS_DATA=str(tmp_path / "nowhere"))
    assert outcome.status == 3
    assert "is not a folder" in outcome.complaint
    (tmp_path / "empty").mkdir()
    outcome = process(*LITERAL, "--data", tmp_path / "empty", "--out", tmp_path)
    assert outcome.status == 3
    assert "refs(unc).p" in outcome.complaint


def test_interrupted_download_is_resumed(root: Path, checkpoint: Path, tmp_path: Path) -> None:
    settings = {"FLORENCE2_HARNESS_DATA": str(root), "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
    with serving({("microsoft/Florence-2-large", "f0acedb"): checkpoint}) as hub:
        hub.break_after = (checkpoint / "model.safetensors").stat().st_size // 2
        outcome = process(*LITERAL, "--out", tmp_path / "a", HF_ENDPOINT=hub.url, **settings)
        assert outcome.status == 6
        assert "fetching model.safetensors broke off" in outcome.complaint
        assert "the same command resumes it" in outcome.complaint
        hub.break_after = None
        assert process(*LITERAL, "--out", tmp_path / "a", HF_ENDPOINT=hub.url, **settings).status == 0


@pytest.mark.parametrize(("arguments", "status", "said"), [
    (["run", "--task", "refcocoo", "--model", "oracle"], 2, "did you mean"),
    (["run", "--task", "refcoco", "--model", "florence2-nan"], 2, "did you mean florence2-nano"),
    (["run", "--task", "refcoco", "--model", "gpt"], 2, "no model is called 'gpt'"),
    (["run", "--task", "refcoco", "--model", "oracle", "--split", "tets"], 2, "it has val, testA, testB, train"),
    (["run", "--task", "refcoco", "--model", "oracle", "--limit", "0"], 2, "at least one image"),
    (["run", "--task", "refcoco", "--model", "oracle", "--limit", "many"], 2, 'unable to convert "many"'),
    (["run", "--task", "refcoco", "--model", "oracle", "--protocol", "magic"], 2, "zero_shot, few_shot or fine_tuned"),
    (["run", "--task", "refcoco"], 2, "--model"),
    (["run", "--taks", "refcoco", "--model", "oracle"], 2, "--task"),
    (["rnu"], 2, 'Did you mean "run"'),
    (["show", "nothing"], 2, "no run has the id"),
    (["score"], 2, "needs a RUN"),
    (["score", "--task", "refcoco", "--predictions", "nowhere.json", "--data", "miniature"], 3, "predictions nowhere"),
    (["score", "--task", "refcoco*", "--predictions", "x.json"], 2, "names 7 tasks"),
    (["report"], 2, "there are no runs"),
    (["train", "--recipe", "mega", "--to", "x"], 2, "there are base-stage1"),
    (["run", "--task", "refcoco", "--model", "florence2-nano", "--weights", "./nowhere"], 4, "no such folder"),
])  # fmt: skip
def test_mistake_is_one_line_with_its_status(
    arguments: list[str],
    status: int,
    said: str,
    here: Call,
    tmp_path: Path,
    miniature: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = here(*arguments)
    assert outcome.status == status
    assert said in outcome.complaint
    assert outcome.complaint.startswith("error: ")
    assert outcome.out == ""


def test_impossible_settings_of_a_checkpoint_are_refused(
    here: Call, root: Path, checkpoint: Path, tmp_path: Path
) -> None:
    run = (
        "run",
        "--task",
        "refcoco",
        "--model",
        "florence2-b",
        "--data",
        root,
        "--weights",
        checkpoint,
        "--out",
        tmp_path,
    )
    for more, status, said in (
        (["--dtype", "int4"], 2, "float32, bfloat16, float16, int8, float8"),
        (["--beams", "0"], 2, "at least 1"),
        (["--batch-size", "0"], 2, "at least 1"),
        (["--max-new-tokens", "65"], 2, "positions for 64"),
        (["--device", "cuda:99"], 6, "cannot be used here"),
        (["--resolution", "3"], 2, "at least 32"),
    ):
        outcome = here(*run, *more)
        assert (outcome.status, said in outcome.complaint) == (status, True), outcome


def test_truncated_weights(here: Call, root: Path, checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    outcome = here("run", "--task", "refcoco", "--model", "florence2-b", "--data", root, "--weights", broken)
    assert (outcome.status, "truncated" in outcome.complaint) == (4, True)


def test_corrupt_image_leaves_run_incomplete(here: Call, root: Path, checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    image = copy / "coco/train2014/COCO_train2014_000000000007.jpg"
    whole = image.read_bytes()
    run = (
        "run",
        "--task",
        "refcoco",
        "--model",
        "florence2-b",
        "--weights",
        checkpoint,
        "--data",
        copy,
        "--out",
        tmp_path / "r",
    )
    image.write_bytes(whole[: len(whole) // 3])
    outcome = here(*run)
    assert outcome.status == 7
    assert "no result" in outcome.out and "cannot be decoded" in outcome.out
    image.unlink()
    outcome = here(*run)
    assert outcome.status == 7
    assert "is not there" in outcome.out
    image.write_bytes(whole)
    outcome = here(*run, "--json")
    assert outcome.status == 0
    record = json.loads(outcome.out)
    assert record["status"] == "complete"
    assert 0 < record["counts"]["asked now"] < record["counts"]["samples"]  # the others were kept


def test_pickle_with_code_is_refused(here: Call, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    mark = tmp_path / "ran"

    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(mark),))

    (copy / "refer/refcoco/refs(unc).p").write_bytes(pickle.dumps([Harmful()]))
    outcome = here("run", "--task", "refcoco", "--model", "oracle", "--data", copy, "--out", tmp_path / "r")
    assert (outcome.status, "holds code" in outcome.complaint) == (3, True)
    assert not mark.exists()


def test_unwritable_results_are_one_line(here: Call, root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    outcome = here("run", "--task", "refcoco", "--model", "oracle", "--data", root, "--out", tmp_path / "file")
    assert outcome.status == 6


def test_interrupted_run_resumes(miniature: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle of the embedded model's run; the same command asks only what is left."""
    run = ("run", "--task", "refcoco", "--model", "florence2-nano", "--limit", "30", "--out", str(tmp_path))
    command = [sys.executable, "-m", "harness", *run]
    settings: dict[str, Any] = {"cwd": ROOT, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    settings["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # background shells ignore it
    with subprocess.Popen(command, **settings) as running:
        while running.poll() is None and not any(path.stat().st_size for path in tmp_path.rglob("answers.jsonl")):
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, complaint = running.communicate(timeout=60)
    assert running.returncode == 130
    assert complaint.strip().splitlines()[-1] == (
        "error: interrupted; finished work is kept; run the same command again to resume"
    )
    record = json.loads(process(*run, "--json").out)
    assert record["status"] == "partial"
    assert 0 < record["counts"]["asked now"] < record["counts"]["samples"]


def test_commands_are_listed() -> None:
    """Adding one is a decision."""
    names = {name for name in application() if not name.startswith("-")}
    making = {"run", "score", "bench", "serve", "train", "finetune", "recipes", "ablate", "engine"}
    assert names == making | {
        "compare",
        "merge",
        "gate",
        "tasks",
        "models",
        "data",
        "ls",
        "show",
        "rm",
        "export",
        "push",
        "report",
        "view",
    }


def test_another_form_of_asking_is_another_run(here: Call) -> None:
    brief, detailed = (
        evaluated(here, "coco_caption", "--limit", "3", "--no-meteor", *more, model="florence2-nano")
        for more in ((), ("--prompt", "caption=detailed"))
    )
    assert brief["spec"]["fingerprint"] != detailed["spec"]["fingerprint"]
    assert brief["metrics"]["BLEU-1"] != detailed["metrics"]["BLEU-1"]
    status, _, err = here("run", "--task", "vqav2", "--model", "florence2-nano", "--prompt", "vqa=shouted")
    assert status == 2 and "vqa=bare|vqa|docvqa" in err


@needs_java
@pytest.mark.slow
def test_official_caption_pipeline_equals_ours_and_meteor_is_added_later(here: Call) -> None:
    """A finished run is marked again for what is asked of it now, and asked nothing."""
    ours = evaluated(here, "coco_caption", "--limit", "12", "--no-meteor", model="florence2-nano")
    assert "METEOR" not in ours["metrics"]
    both = evaluated(
        here, "coco_caption", "--limit", "12", "--meteor", "--caption-scorer", "official", model="florence2-nano"
    )
    assert both["id"] == ours["id"]
    assert sorted(both["provenance"]["marking"]) == ["meteor", "official"]
    assert 0 < both["metrics"]["METEOR"]["low"] < both["metrics"]["METEOR"]["value"] < 100
    for name in ("CIDEr", "BLEU-4", "ROUGE-L"):
        assert both["metrics"][name]["value"] == pytest.approx(ours["metrics"][name]["value"], abs=1e-9)
    status, out, _ = here("score", ours["id"], "--data", "miniature", "--no-meteor", "--json")
    again = json.loads(out)
    assert status == 0 and again["metrics"] == ours["metrics"] and "date" in again["provenance"]["marked again"]


def test_broken_java_costs_only_meteor(
    here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, no_meteor: None
) -> None:
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho out of memory >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(java, "java", lambda: broken)
    record = evaluated(here, "coco_caption", "--limit", "4")
    assert record["metrics"]["CIDEr"]["value"] > 0
    assert record["metrics"]["METEOR"]["value"] is None
    assert "no METEOR: METEOR's program ended: out of memory" in caplog.text
    status, _, err = here("run", "--task", "nocaps", "--model", "oracle", "--data", "miniature", "--meteor")
    assert status == 6 and "METEOR's program ended" in err


def test_missing_java_is_reported_and_spice_is_refused(
    here: Call, monkeypatch: pytest.MonkeyPatch, no_meteor: None
) -> None:
    monkeypatch.setattr("harness.evaluation.request.java", lambda: None)
    monkeypatch.setattr(java, "java", lambda: None)
    asked = ("--task", "textcaps", "--model", "oracle", "--data", "miniature", "--limit", "2")
    status, out, err = here("run", *asked)
    assert status == 0 and "METEOR" not in out
    assert "textcaps: no METEOR, since there is no Java (pip install florence2-harness[java])" in err
    assert here("run", *asked, "--meteor")[0] == here("run", *asked, "--spice")[0] == 6


def test_hotcoco_gives_equal_detection_metrics(here: Call) -> None:
    one = evaluated(here, "coco_detection", "--limit", "40", model="florence2-nano")
    other = evaluated(here, "coco_detection", "--limit", "40", "--detection-scorer", "hotcoco", model="florence2-nano")
    assert other["provenance"]["marking"] == ["hotcoco"]
    assert "region score x label score" in other["provenance"]["policy"]
    for name, estimate in one["metrics"].items():
        assert other["metrics"][name]["value"] == pytest.approx(estimate["value"], abs=1e-9)


def test_all_selects_the_tasks_of_a_root(here: Call, miniature: Path, tmp_path: Path) -> None:
    shutil.copytree(miniature / "vizwiz", tmp_path / "root/vizwiz")
    asked = ("--model", "oracle", "--data", tmp_path / "root", "--json")
    status, out, err = here("run", "--task", "all", *asked)
    assert status == 0 and json.loads(out)["spec"]["task"] == "vizwiz"
    assert "not there: coco_caption, " in err and "odinw13" in err
    assert "odinw_miniature" not in err  # no published data has this task, so it is not missing
    status, _, err = here("run", "--task", "vizwiz,coco_caption", *asked)
    assert status == 3 and "coco_caption needs" in err  # named, it is meant


def test_run_of_all_on_the_embedded_benchmark_prints_no_missing_task(here: Call) -> None:
    status, _, err = here("run", "--task", "odinw*", "--model", "oracle", "--data", "miniature", "--limit", "3")
    assert status == 0 and "not there" not in err


@pytest.mark.parametrize(("given", "status", "said"), [
    (("--seed", "-1"), 2, "--seed"),
    (("--weights", ""), 2, "--weights is empty"),
    (("--beams", "3", "--prompt", "vqa=bare"), 2, "--beams"),
    (("--export", "/dev/null/x"), 6, "Not a directory"),
])  # fmt: skip
def test_impossible_options_are_refused(here: Call, given: tuple[str, ...], status: int, said: str) -> None:
    asked = ("run", "--task", "vizwiz", "--model", "oracle", "--data", "miniature", "--limit", "2")
    found, _, err = here(*asked, *given)
    assert (found, said in err, err.count("error:")) == (status, True, 1)


@pytest.mark.parametrize("body", ["raise RuntimeError('broken')", "import sys; sys.exit(3)", "TASK = 5", "TASK ="])
def test_module_without_a_task_is_refused(
    here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    (tmp_path / "faulty_task.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faulty_task", raising=False)
    for name in ("faulty_task:TASK", "..faulty_task:TASK", "faulty_task:", "faulty_task:TASK[0]"):
        status, _, err = here("run", "--task", name, "--model", "oracle", "--data", "miniature")
        assert (status, err.count("\n"), err.startswith("error: ")) == (2, 1, True), err


def test_too_long_question_is_one_failure(here: Call, miniature: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(miniature / "textvqa", root / "textvqa")
    path = root / "textvqa/TextVQA_0.5.1_val.json"
    outcome = json.loads(path.read_text())
    outcome["data"] = outcome["data"][:3]
    outcome["data"][0]["question"] = "what is it " * 60
    path.write_text(json.dumps(outcome))
    status, out, err = here("run", "--task", "textvqa", "--model", "florence2-nano", "--data", root, "--json")
    record = json.loads(out)
    assert (status, record["status"], record["counts"]["failed"], record["counts"]["answered"]) == (
        7,
        "incomplete",
        1,
        2,
    )
    assert "this checkpoint has positions for" in err


def test_several_models_print_a_matrix_and_the_missing_runs(here: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("run", "--task", "refcoco,coco_detection,vizwiz", "--data", "miniature", "--limit", "2")
    status, out, error = here(*words, "--model", "whole-image,oracle-quantised")
    assert status == 0
    assert [line.split()[:3] for line in out.splitlines()[-4:]] == [
        ["task", "split", "metric"], ["refcoco", "val", "Acc@0.5"], ["coco_detection", "val2017", "mAP"],
        ["vizwiz", "val", "accuracy"],
    ]  # fmt: skip

    def build(setting: Setting, options: Any) -> Model:
        raise CheckpointError("its weights\x1b[31m are not there")

    lacks = Entry(name="lacks", about="", build=build, kinds=frozenset({"refer"}))
    monkeypatch.setattr(baselines, "MODELS", {**baselines.MODELS, "lacks": lacks})
    status, out, error = here(*words, "--model", "whole-image,lacks", "--json")
    assert status == 7
    assert [run["spec"]["task"] for run in json.loads(out)] == ["refcoco", "coco_detection", "vizwiz"]
    assert "  lacks, all tasks: its weights" in error and "\x1b" not in error
    assert "1 failed; the reason and the command that tries again are above" in error


def test_several_models_run_where_pydantic_is_loaded(here: Call) -> None:
    """Trackers and spaCy load it, and cyclopts then validates every option with it."""
    pytest.importorskip("pydantic")
    words = ("run", "--task", "refcoco", "--data", "miniature", "--limit", "2")
    assert here(*words, "--model", "whole-image,random").status == 0


def test_option_of_one_model_is_refused_for_several(here: Call) -> None:
    status, _, error = here("run", "--task", "refcoco", "--model", "florence2-b,florence2-l", "--beams", "2")
    assert status == 2 and "--beams" in error


def test_run_logs_to_a_tracker_and_keeps_results_apart(here: Call, tmp_path: Path, root: Path) -> None:
    """TensorBoard holds the headline of the record; a finished run sends nothing."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = ("run", "--task", "refcoco", "--model", "oracle", "--data", root, "--log-to", "tensorboard", "--json")
    record = json.loads(here(*run).out)
    [folder] = (tmp_path / "tracking/tensorboard").iterdir()
    read = accumulator.EventAccumulator(str(folder)).Reload()
    [headline] = read.Scalars("Acc_0.5")
    assert (headline.step, headline.value) == (record["counts"]["samples"], record["metrics"]["Acc@0.5"]["value"])
    facts = read.Tensors("facts/text_summary")[0].tensor_proto.string_val[0].decode()
    assert f"run: {record['id']}" in facts and "task: refcoco" in facts
    assert json.loads(here(*run).out) == record
    assert len(list((tmp_path / "tracking/tensorboard").iterdir())) == 1
    assert [listed["id"] for listed in json.loads(here("ls", "--json").out)] == [record["id"]]


def test_run_with_an_unknown_tracker_is_refused(here: Call) -> None:
    outcome = here("run", "--task", "refcoco", "--model", "oracle", "--log-to", "comet")
    assert outcome.status == 2 and "comet" in outcome.complaint and "mlflow" in outcome.complaint
