"""The commands `ls`, `show`, `rm` and `export`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import store
from tests.harness.cli.calling import Call, evaluated


def test_run_show_export_score_report_rm(here: Call, root: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "results")
    run = ("run", "--task", "refcoco,refcoco_res", "--model", "oracle", "--data", root, *out)
    outcome = here(*run)
    assert outcome.status == 0
    assert "Acc@0.5     100.0" in outcome.out and "mIoU        100.0" in outcome.out
    assert "nothing was queried" not in outcome.err
    again = here(*run)
    assert (again.status, again.out, again.err.count("nothing was queried: this run was finished on 20")) == (
        0,
        outcome.out,
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


def test_torn_record_leaves_other_records_readable(
    here: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, torn = (evaluated(here, task, "--limit", "2") for task in ("vizwiz", "textvqa"))
    [record] = (path for path in (tmp_path / "results").rglob("run.json") if torn["id"] in str(path))
    record.write_text("{")
    status, out, _ = here("ls")
    assert status == 0 and whole["id"] in out and torn["id"] not in out
    assert "is not a run record" in caplog.text
    assert here("show", whole["id"])[0] == 0
    assert evaluated(here, "textvqa", "--limit", "2", "--fresh")["id"] == torn["id"]


def test_cider_of_single_image_is_undefined(here: Call, tmp_path: Path) -> None:
    """The official code says 0."""
    record = evaluated(here, "coco_caption", "--limit", "1", "--no-meteor")
    assert record["metrics"]["CIDEr"]["value"] is None
    assert record["metrics"]["BLEU-1"]["value"] > 0
    [scores] = (tmp_path / "results").rglob("scores.jsonl")
    assert json.loads(scores.read_text())["cider"] is None
    status, out, _ = here("show", record["id"])
    assert status == 0 and re.search("CIDEr +–", out) and "CIDEr of one image" in out


def test_ls_tells_states_apart_and_filters(here: Call, tmp_path: Path) -> None:
    whole = evaluated(here, "refcoco", model="whole-image")
    partial = evaluated(here, "vizwiz", "--limit", "2", "--name", "mine (v2)")
    table = here("ls").out
    assert f"{whole['id']}" in table and "complete" in table and "partial" in table
    for given, ids in (
        (("refcoco*",), {whole["id"]}),
        (("*vqa,viz*",), {partial["id"]}),
        (("--model", "mine*"), {partial["id"]}),
        (("--model", "florence2-*"), set()),
        (("--mine",), {whole["id"], partial["id"]}),
    ):
        assert {run["id"] for run in json.loads(here("ls", *given, "--json").out)} == ids
    [answers] = [path for path in (tmp_path / "results").rglob("answers.jsonl*") if whole["id"] in str(path)]
    answers.unlink()
    [line] = [line for line in here("ls", "refcoco").out.splitlines() if whole["id"] in line]
    assert "record" in line and "complete" not in line  # a result without its answers
    assert {run["id"] for run in json.loads(here("ls", "--mine", "--json").out)} == {partial["id"]}


def test_record_without_answers_is_queried_again(here: Call, tmp_path: Path) -> None:
    """As a fresh clone has them: the same command queries, and `score` and `export` say what is missing."""
    run = evaluated(here, "refcoco", "--limit", "3")
    [answers] = (tmp_path / "results").rglob("answers.jsonl*")
    answers.unlink()
    for command in (("score", run["id"]), ("export", run["id"], "p.json")):
        outcome = here(*command, "--data", "miniature")
        assert outcome.status == 3 and "33 of 33 samples have no answer" in outcome.complaint, outcome
    again = evaluated(here, "refcoco", "--limit", "3")
    assert again["counts"]["asked now"] == again["counts"]["samples"]


@pytest.mark.parametrize("command", [
    ("score", "RUN", "--data", "miniature"), ("export", "RUN", "p.json", "--data", "miniature"), ("show", "RUN"),
    ("compare", "RUN", "RUN"), ("report", "--pictures", "2"), ("ls",), ("rm", "RUN"),
])  # fmt: skip
def test_record_never_imports_a_module(
    command: tuple[str, ...], here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evaluated(here, "refcoco", "--limit", "2")
    (tmp_path / "stranger.py").write_text("open('ran', 'w')\nTASK = MODEL = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    [record] = (tmp_path / "results").rglob("run.json")
    stored = json.loads(record.read_text())
    stored["spec"] |= {"task": "house_hunt", "model": "stranger:MODEL"}
    named = {"task from": "stranger:TASK", "model from": "stranger:MODEL", "entry": "stranger:MODEL"}
    stored["provenance"] |= named
    record.write_text(json.dumps(stored))
    outcome = here(*(run["id"] if one == "RUN" else one for one in command))
    assert not (tmp_path / "ran").exists() and "stranger" not in sys.modules
    if command[0] in ("score", "export", "compare"):
        assert outcome.status == 3 and "name it: --task stranger:TASK" in outcome.complaint
    else:
        assert outcome.status == 0, outcome.err


def test_edited_headline_is_reported_by_every_command(here: Call, tmp_path: Path) -> None:
    out = tmp_path / "results"
    a, b = (
        evaluated(here, "refcoco", "--out", out, "--limit", "6", model=model) for model in ("oracle", "whole-image")
    )
    [path] = out.rglob(f"{b['id']}/run.json")
    honest = here("ls", "--out", out)
    assert "edited" not in honest.out and honest.err == ""
    real = b["metrics"]["Acc@0.5"]["value"]
    record = json.loads(path.read_text())
    record["metrics"]["Acc@0.5"]["value"] = 99.5
    for checksum in (True, False):  # also where the checksum was removed, or a version before 0.14 wrote the record
        if not checksum:
            del record["provenance"]["checksum"]
        path.write_text(json.dumps(record))
        contradiction = f"the record of {b['id']} says Acc@0.5 99.5, but its kept answers give {real:.6g}"
        assert contradiction in here("compare", a["id"], b["id"], "--out", out).err
        assert contradiction in here("report", "--results", out, "--to", tmp_path / "page", "--pictures", "0").err
        assert contradiction in (tmp_path / "page/index.html").read_text().replace("The record", "the record")
        promise = (
            f'model = "whole-image"\ntask = "refcoco"\nlimit = 6\nnot_worse_than = "{path.parent}"\nmargin = 1.0\n'
        )
        (tmp_path / "gates.toml").write_text(f"[promise.p]\n{promise}")
        outcome = here("gate", "--promises", tmp_path / "gates.toml")
        assert (outcome.status, contradiction in " ".join(outcome.out.split())) == (5, True)
    record["provenance"]["checksum"] = "0"
    path.write_text(json.dumps(record))
    outcome = here("ls", "--out", out)
    assert "edited" in outcome.out and f"{path} was edited" in outcome.err
    assert f"{path} was edited" in here("show", b["id"], "--out", out).err
    assert here("score", b["id"], "--out", out).status == 0  # scores the kept answers again
    assert here("ls", "--out", out).err == ""
    assert json.loads(path.read_text())["metrics"]["Acc@0.5"]["value"] == real


REPLACEMENTS = ("null", "[]", "[1]", "{}", '{"a": 1}', '"x"', '""', "true", "-5", "0", "1e300", "1" + "0" * 400)


def _changed(record: Any) -> Iterator[str]:
    """The JSON of a record with each of its fields, at any depth, replaced by each of REPLACEMENTS, and removed."""

    def places(value: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(value, dict | list):
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                yield value, key
                yield from places(value[key])

    for container, key in list(places(record)):
        kept = container[key]
        for text in REPLACEMENTS:
            container[key] = "REPLACED"
            yield json.dumps(record).replace('"REPLACED"', text)
        container[key] = kept
        if isinstance(container, dict):
            rest = dict(container)
            del container[key]
            yield json.dumps(record)
            container.clear()
            container.update(rest)


def test_records_with_any_field_replaced_stop_no_command(
    here: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One thousand damaged and foreign records lie among two good ones; each is read, or named on one line."""
    good = [evaluated(here, "vizwiz", "--limit", "3", model=model) for model in ("oracle", "whole-image")]
    [path] = (path for path in (tmp_path / "results").rglob("run.json") if good[0]["id"] in str(path))
    record = json.loads(path.read_text())
    record["spec"]["data"] = "elsewhere"  # no images of it are here
    variants = list(_changed(record))
    for place, text in enumerate(variants):
        folder = tmp_path / f"results/damaged/{place}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(text.replace(f'"{good[0]["id"]}"', f'"{place}"'))  # no copies of one run
    read = sum(1 for _ in store.runs(tmp_path / "results")) - 2
    refused = len(variants) - read
    assert read > 100 and refused > 700
    for command in (
        ("ls",), ("ls", "--json"), ("export", "--jsonl", "runs.jsonl"), ("show", good[0]["id"]),
        ("compare", good[0]["id"], good[1]["id"]), ("report", "--pictures", "0"),
    ):  # fmt: skip
        caplog.clear()
        outcome = here(*command)
        assert outcome.status == 0, outcome.err
        named = [line for line in caplog.messages if "is not a run record: " in line or " has schema " in line]
        assert named and len(named) % refused == 0  # a command may read the records more than once
        assert all("\n" not in line and len(line) < 500 for line in named)
    assert good[0]["id"] in (tmp_path / "reports/runs.csv").read_text()
