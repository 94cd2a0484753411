"""The command line, as a person types it: results to stdout, one line to stderr where something is wrong."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from harness import store
from harness.cli import application, main
from harness.florence2.config import with_text
from harness.training.vocabulary import learn
from tests import refer_files
from tests.hub import COMMIT, serving
from tests.layouts import write_original
from tests.twins import TINY, twins

ROOT = Path(__file__).parents[3]
LITERAL = ("run", "--task", "refcoco_res", "--model", "florence2-l")


class Told(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The last line of stderr, which must be the one that says what was wrong."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


def call(*arguments: str | Path, **environment: str) -> Told:
    """`python -m harness ...` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Told(done.returncode, done.stdout, done.stderr)


Call = Callable[..., Told]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Call:
    """`main` in this process: quick."""

    def call_here(*arguments: str | Path) -> Told:
        status = main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return Told(status, told.out, told.err)

    return call_here


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RefCOCO root of two images, in the published files."""
    folder = tmp_path_factory.mktemp("data")
    refer_files.write(folder)
    images = folder / "coco/train2014"
    images.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for number in (7, 8):
        pixels = draw.integers(0, 256, (10, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"COCO_train2014_{number:012d}.jpg")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint in Microsoft's layout, float16, with a tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    twin = twins(with_text(TINY, vocab=1400), ending=10.0)
    state = {k: v for k, v in twin.theirs.state_dict().items() if "embed_tokens" not in k and "lm_head" not in k}
    write_original(with_text(TINY, vocab=1400), state, folder)
    learn(["the left one the red car in the image"] * 3, 1399).backend.save(str(folder / "tokenizer.json"))
    return folder


# ---------------------------------------------------------------------------- the literal command, three ways


def test_weights_from_the_hub_then_offline(root: Path, checkpoint: Path, tmp_path: Path) -> None:
    settings = {"FLORENCE2_HARNESS_DATA": str(root), "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
    with serving({("microsoft/Florence-2-large", "f0acedb"): checkpoint}) as hub:
        first = call(*LITERAL, "--out", tmp_path / "a", HF_ENDPOINT=hub.url, **settings)
        assert first.status == 0, first.err
        assert any("/resolve/f0acedb/model.safetensors" in one or COMMIT in one for one in hub.asked)
        at_hand = call("models", "--json", HF_ENDPOINT=hub.url, **settings)
    large = next(one for one in json.loads(at_hand.out) if one["name"] == "florence2-l")
    assert large["revision"] == "f0acedb"
    assert COMMIT in large["at_hand"]
    again = call(*LITERAL, "--out", tmp_path / "b", "--json", HF_ENDPOINT=hub.url, **settings)  # the server is gone
    assert again.status == 0, again.err
    record = json.loads(again.out)
    assert f"mIoU        {record['metrics']['mIoU']['value']:.1f}" in first.out
    assert record["spec"]["data"] == root.name


def test_no_weights_and_no_network(root: Path, tmp_path: Path) -> None:
    told = call(
        *LITERAL, "--out", tmp_path,
        FLORENCE2_HARNESS_DATA=str(root), HF_HOME=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9",
    )  # fmt: skip
    assert told.status == 4
    assert "microsoft/Florence-2-large at revision f0acedb" in told.complaint
    assert "--weights FOLDER" in told.complaint
    assert told.out == ""


def test_no_data_root(tmp_path: Path) -> None:
    told = call(*LITERAL, "--out", tmp_path)
    assert told.status == 2
    assert told.err.strip().count("\n") == 0
    assert (
        "--data ROOT" in told.complaint and "FLORENCE2_HARNESS_DATA" in told.complaint and "miniature" in told.complaint
    )
    told = call(*LITERAL, "--out", tmp_path, FLORENCE2_HARNESS_DATA=str(tmp_path / "nowhere"))
    assert told.status == 3
    assert "is not a folder" in told.complaint
    (tmp_path / "empty").mkdir()
    told = call(*LITERAL, "--data", tmp_path / "empty", "--out", tmp_path)
    assert told.status == 3
    assert "refs(unc).p" in told.complaint


def test_an_interrupted_download_is_resumed(root: Path, checkpoint: Path, tmp_path: Path) -> None:
    settings = {"FLORENCE2_HARNESS_DATA": str(root), "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
    with serving({("microsoft/Florence-2-large", "f0acedb"): checkpoint}) as hub:
        hub.break_after = (checkpoint / "model.safetensors").stat().st_size // 2
        told = call(*LITERAL, "--out", tmp_path / "a", HF_ENDPOINT=hub.url, **settings)
        assert told.status == 6
        assert "fetching model.safetensors broke off" in told.complaint
        assert "the same command resumes it" in told.complaint
        hub.break_after = None
        assert call(*LITERAL, "--out", tmp_path / "a", HF_ENDPOINT=hub.url, **settings).status == 0


# ---------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(("arguments", "status", "said"), [
    (["run", "--task", "refcocoo", "--model", "oracle"], 2, "did you mean"),
    (["run", "--task", "refcoco", "--model", "florence2-nan"], 2, "did you mean florence2-nano"),
    (["run", "--task", "refcoco", "--model", "gpt"], 2, "no model is called 'gpt'"),
    (["run", "--task", "refcoco", "--model", "oracle", "--split", "tets"], 2, "it has val, testA, testB, train"),
    (["run", "--task", "refcoco", "--model", "oracle", "--limit", "0"], 2, "at least one image"),
    (["run", "--task", "refcoco", "--model", "oracle", "--limit", "many"], 2, 'unable to convert "many"'),
    (["run", "--task", "refcoco", "--model", "oracle", "--protocol", "magic"], 2, "zero_shot or fine_tuned"),
    (["run", "--task", "refcoco"], 2, "--model"),
    (["run", "--taks", "refcoco", "--model", "oracle"], 2, "--task"),
    (["rnu"], 2, 'Did you mean "run"'),
    (["show", "nothing"], 2, "no run has the id"),
    (["score"], 2, "needs a RUN"),
    (["score", "--task", "refcoco", "--predictions", "nowhere.json", "--data", "miniature"], 3, "predictions nowhere"),
    (["score", "--task", "refcoco*", "--predictions", "x.json"], 2, "names 6 tasks"),
    (["report"], 2, "there are no runs"),
    (["train", "--recipe", "mega", "--to", "x"], 2, "there are base-stage1"),
    (["run", "--task", "refcoco", "--model", "florence2-nano", "--weights", "./nowhere"], 4, "no such folder"),
])  # fmt: skip
def test_one_line_and_the_right_status(
    arguments: list[str],
    status: int,
    said: str,
    here: Call,
    tmp_path: Path,
    miniature: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    told = here(*arguments)
    assert told.status == status
    assert said in told.complaint
    assert told.complaint.startswith("error: ")
    assert told.out == ""


def test_settings_of_a_checkpoint_that_cannot_be_meant(
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
        told = here(*run, *more)
        assert (told.status, said in told.complaint) == (status, True), told


def test_truncated_weights(here: Call, root: Path, checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    told = here("run", "--task", "refcoco", "--model", "florence2-b", "--data", root, "--weights", broken)
    assert (told.status, "truncated" in told.complaint) == (4, True)


def test_a_corrupt_image_leaves_the_run_incomplete(here: Call, root: Path, checkpoint: Path, tmp_path: Path) -> None:
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
    told = here(*run)
    assert told.status == 7
    assert "no result" in told.out and "cannot be decoded" in told.out
    image.unlink()
    told = here(*run)
    assert told.status == 7
    assert "is not there" in told.out
    image.write_bytes(whole)
    told = here(*run, "--json")
    assert told.status == 0
    record = json.loads(told.out)
    assert record["status"] == "complete"
    assert 0 < record["counts"]["asked now"] < record["counts"]["samples"]  # the others were kept


def test_a_pickle_with_code_in_it(here: Call, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    mark = tmp_path / "ran"

    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(mark),))

    (copy / "refer/refcoco/refs(unc).p").write_bytes(pickle.dumps([Harmful()]))
    told = here("run", "--task", "refcoco", "--model", "oracle", "--data", copy, "--out", tmp_path / "r")
    assert (told.status, "holds code" in told.complaint) == (3, True)
    assert not mark.exists()


def test_results_that_cannot_be_written(here: Call, root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    told = here("run", "--task", "refcoco", "--model", "oracle", "--data", root, "--out", tmp_path / "file")
    assert told.status == 6


# ---------------------------------------------------------------------------- the way through


def test_run_show_export_score_report_rm(here: Call, root: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "results")
    run = ("run", "--task", "refcoco,refcoco_res", "--model", "oracle", "--data", root, *out)
    told = here(*run)
    assert told.status == 0
    assert "Acc@0.5     100.0" in told.out and "mIoU        100.0" in told.out
    assert "nothing was queried" not in told.err
    again = here(*run)
    assert (again.status, again.out, again.err.count("nothing was queried: this run was finished on 20")) == (
        0,
        told.out,
        2,
    )
    listed = json.loads(here("ls", *out, "--json").out)
    assert {one["spec"]["task"] for one in listed} == {"refcoco", "refcoco_res"}
    rec = next(one for one in listed if one["spec"]["task"] == "refcoco")
    assert rec["id"] in here("show", rec["id"][:6], *out).out

    predictions = tmp_path / "predictions.json"
    assert here("export", rec["id"], predictions, "--data", root, *out).status == 0
    marked = here("score", "--task", "refcoco", "--predictions", predictions, "--data", root, *out, "--json")
    assert json.loads(marked.out)["metrics"] == rec["metrics"]
    again = here("score", rec["id"], "--data", root, *out, "--json")
    assert json.loads(again.out)["metrics"] == rec["metrics"]

    page = here("report", "--results", tmp_path / "results", "--to", tmp_path / "report", "--data", root)
    assert page.status == 0
    assert (tmp_path / "report/index.html").is_file()
    for one in listed:
        assert here("rm", one["id"], *out).status == 0
    assert not list((tmp_path / "results").rglob(f"*{rec['id']}*/run.json"))


def test_predictions_that_lack_a_sentence(here: Call, root: Path, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("[]")
    told = here("score", "--task", "refcoco", "--predictions", tmp_path / "p.json", "--data", root, "--out", tmp_path)
    assert (told.status, "have no answer" in told.complaint) == (3, True)


def test_marking_and_reporting_without_torch(root: Path, tmp_path: Path) -> None:
    """`torch` is made unimportable; only what asks a network may miss it."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise ImportError('torch is not installed here')")
    settings = {"PYTHONPATH": str(tmp_path), "FLORENCE2_HARNESS_DATA": str(root)}
    out = ("--out", tmp_path / "results")
    assert (
        call("run", "--task", "refcoco_res,refcocog_res", "--model", "whole-image", *out, **settings).status == 3
    )  # only one is there
    told = call("run", "--task", "refcoco", "--model", "oracle", *out, "--json", **settings)
    assert told.status == 0, told.err
    name = json.loads(told.out)["id"]
    predictions = tmp_path / "p.json"
    for arguments in (
        ("score", name, *out),
        ("export", name, predictions, *out),
        ("score", "--task", "refcoco", "--predictions", predictions, *out),
        ("report", "--results", tmp_path / "results", "--to", tmp_path / "page"),
        ("ls", *out),
        ("show", name, *out),
        ("tasks",),
        ("models",),
        ("data", "list"),
        ("data", "check", "--task", "refcoco", "--data", "miniature"),
        ("--help",),
    ):
        done = call(*arguments, **settings)
        assert done.status == 0, (arguments, done.err)


def test_an_interrupted_run_goes_on(miniature: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle of the embedded model's run; the same command asks only what is left."""
    run = ("run", "--task", "refcoco", "--model", "florence2-nano", "--limit", "30", "--out", str(tmp_path))
    command = [sys.executable, "-m", "harness", *run]
    settings: dict[str, Any] = {"cwd": ROOT, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    settings["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # background shells ignore it
    with subprocess.Popen(command, **settings) as process:
        while process.poll() is None and not any(path.stat().st_size for path in tmp_path.rglob("answers.jsonl")):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.strip().splitlines()[-1] == (
        "error: interrupted; what was done is kept; run the same command again to resume"
    )
    record = json.loads(call(*run, "--json").out)
    assert record["status"] == "partial"
    assert 0 < record["counts"]["asked now"] < record["counts"]["samples"]


def test_data_check_names_what_is_missing(here: Call, root: Path, tmp_path: Path) -> None:
    told = here("data", "check", "--task", "refcoco", "--data", root, "--split", "val")
    assert told.status == 0  # whole, though of two images of the published ones
    assert "differs  4 samples (published: 10,834), 2 images, 4 objects" in told.out
    told = here("data", "check", "--task", "refcoco", "--data", root, "--split", "testB")
    assert told.status == 3 and "testB; it has testA, val" in told.out.replace("'", "")
    told = here("data", "check", "--task", "refcoco", "--data", tmp_path)
    assert told.status == 3
    assert "coco/train2014" in told.out and "https://cocodataset.org" in told.out


def test_the_commands_are_these() -> None:
    """Adding one is a decision."""
    names = {name for name in application() if not name.startswith("-")}
    making = {"run", "score", "bench", "train", "finetune", "recipes", "ablate"}
    assert names == making | {"compare", "gate", "tasks", "models", "data", "ls", "show", "rm", "export", "report"}


def test_a_report_follows_a_run_in_progress(here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written while the run holds its lock, then once more when it is done; a stopped run is called so."""
    out = tmp_path / "results"
    ran = here("run", "--task", "refcoco", "--model", "whole-image", "--data", "miniature", "--out", out)
    assert ran.status == 0
    [(folder, record)] = store.runs(out)
    finished = folder.path.joinpath("run.json").read_bytes()
    folder.write_run(store.with_status(record, status="running", metrics={}, counts={}))
    lines = (folder.path / "answers.jsonl").read_text().splitlines(keepends=True)
    (folder.path / "answers.jsonl").write_text("".join(lines[:40]))
    assert "interrupted" in here("ls", "--out", out).out
    seen: list[str] = []
    lock = folder.locked()
    lock.__enter__()
    assert "running" in here("ls", "--out", out).out

    def wait(seconds: float) -> None:
        assert seconds == 2
        seen.append((tmp_path / "report/index.html").read_text())
        (folder.path / "answers.jsonl").write_text("".join(lines))
        folder.path.joinpath("run.json").write_bytes(finished)
        lock.__exit__(None, None, None)

    monkeypatch.setattr("harness.cli.report.time.sleep", wait)
    told = here("report", "--results", out, "--to", tmp_path / "report", "--pictures", "4", "--watch", "2")
    assert told.status == 0
    [during] = seen
    assert '<meta http-equiv="refresh" content="2">' in during
    assert '<td class="number">40</td>' in during and "running" in during
    after = (tmp_path / "report/index.html").read_text()
    assert "refresh" not in after and f'<td class="number">{len(lines)}</td>' in after


def test_all_runs_as_one_table(here: Call, tmp_path: Path) -> None:
    out = tmp_path / "results"
    assert here("run", "--task", "refcoco", "--model", "whole-image", "--data", "miniature", "--out", out).status == 0
    [(_, record)] = store.runs(out)
    jsonl, parquet = tmp_path / "runs.jsonl", tmp_path / "runs.parquet"
    assert here("export", "--jsonl", jsonl, "--parquet", parquet, "--out", out).status == 0
    pandas = pytest.importorskip("pandas")
    for frame in (pandas.read_json(jsonl, lines=True, dtype=False), pandas.read_parquet(parquet)):
        assert list(frame["metric"]) == list(record.metrics)
        [headline] = frame[frame["headline"]]["value"]
        assert headline == record.metrics[record.headline].value
    assert here("export", "--out", out).status == 2
    assert here("export", record.id, "--jsonl", jsonl, "--out", out).status == 2
