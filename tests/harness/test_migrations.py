"""Results that version 0.13.1 wrote (tests/data/results_0_13_1) stay usable."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import migrations, runner, store
from harness.core import Question
from harness.evaluation.plan import samples_of
from harness.store import RunFolder

WEIGHTS = Path(__file__).parents[2] / "baselines/weights"
OLD = Path(__file__).parents[1] / "data/results_0_13_1"
MODELS = ("florence2-nano-ft", "whole-image", "oracle-quantised")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The results, with florence2-nano-ft's as version 0.13.1 would have kept them of the weights of today."""
    results = tmp_path / "results"
    shutil.copytree(OLD, results)
    [(folder, record)] = [pair for pair in store.runs(results) if pair[1].spec.model == "florence2-nano-ft"]
    old = fingerprints()[record.spec.model]
    name, _, rest = old.split(":", 2)
    weights = hashlib.sha256((WEIGHTS / record.spec.model / "model.safetensors").read_bytes()).hexdigest()
    new = f"{name}:{weights[:16]}:{rest}"
    (folder.path / "run.json").write_text((folder.path / "run.json").read_text().replace(old, new))
    _, samples, root = samples_of(record, "miniature")
    questions, images = {sample.id: sample.question for sample in samples}, runner.image_digests(root, samples)
    path = folder.path / "answers.jsonl"
    answers = [json.loads(line) for line in path.read_text().splitlines()]
    for answer in answers:
        question = questions[answer["id"]]
        answer["asked"] = runner.question_digest(question, new, images[question.image_name])
    path.write_text("".join(json.dumps(answer, separators=(",", ":")) + "\n" for answer in answers))
    return results


def fingerprints() -> dict[str, str]:
    """The fingerprint in each record of version 0.13.1, by model."""
    records = [json.loads(path.read_text()) for path in OLD.rglob("run.json")]
    return {record["spec"]["model"]: record["spec"]["fingerprint"] for record in records}


@pytest.mark.parametrize("model", MODELS)
def test_fingerprint_of_0_13_1_maps_to_answers_version_and_back(model: str) -> None:
    old = fingerprints()[model]
    now = migrations.current_fingerprint(old)
    assert now != old
    assert not any(digest in now for digest in migrations.DIGESTS.values())
    assert migrations.former_fingerprint(now) == old


def test_fingerprint_with_unknown_digest_is_unchanged() -> None:
    unknown = fingerprints()["florence2-nano-ft"].replace(migrations.DIGESTS["florence2"], "0123456789ab")
    assert migrations.current_fingerprint(unknown) == unknown
    assert migrations.is_of_unknown_code(unknown)
    assert not migrations.is_of_unknown_code(migrations.current_fingerprint(fingerprints()["florence2-nano-ft"]))


@pytest.mark.parametrize("model", MODELS)
def test_same_command_queries_nothing_after_upgrade(model: str, results: Path, call: Call) -> None:
    [(before, record)] = [pair for pair in store.runs(results) if pair[1].spec.model == model]
    stored = (before.path / "answers.jsonl").read_bytes()
    status, out, complaint = call(
        "run", "--task", "vizwiz", "--model", model, "--limit", "3", "--data", "miniature", "--json"
    )
    assert status == 0
    assert complaint.startswith("nothing was queried: this run was finished on 2026-11-29")
    assert json.loads(out)["metrics"] == json.loads(store.as_json(record.metrics))
    [(after, now)] = [pair for pair in store.runs(results) if pair[1].spec.model == model]
    assert after.path.name == now.id == record.id != before.path.name  # the folder was renamed to the new id
    assert (after.path / "answers.jsonl").read_bytes() == stored


def test_old_folder_is_found_by_either_id_and_scored_again(results: Path, call: Call) -> None:
    [(folder, record)] = [pair for pair in store.runs(results) if pair[1].spec.model == "florence2-nano-ft"]
    for name in (folder.path.name, record.id):
        status, out, _ = call("score", name, "--data", "miniature", "--json")
        assert status == 0
        assert json.loads(out)["metrics"]["accuracy"]["value"] == 100.0


def test_answers_of_smaller_limit_are_reused_by_larger_limit(results: Path, call: Call) -> None:
    """The 3 images of the smaller limit are among those of the larger one."""
    status, out, _ = call(
        "run", "--task", "vizwiz", "--model", "florence2-nano-ft", "--limit", "80", "--data", "miniature", "--json"
    )
    assert status == 0
    counts = json.loads(out)["counts"]
    assert counts["asked now"] == counts["samples"] - 3


def test_answers_with_unknown_digest_are_logged_and_not_reused(
    results: Path, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    [path] = results.rglob("florence2-nano-ft/*/*/run.json")
    path.write_text(path.read_text().replace(migrations.DIGESTS["florence2"], "0123456789ab"))
    answers = path.with_name("answers.jsonl")  # whose digests depend on the fingerprint
    answers.write_text(re.sub(r'"asked":"[0-9a-f]{12}:', '"asked":"000000000000:', answers.read_text()))
    status, out, _ = call(
        "run", "--task", "vizwiz", "--model", "florence2-nano-ft", "--limit", "3", "--data", "miniature", "--json"
    )
    assert status == 0
    assert json.loads(out)["counts"]["asked now"] == 3
    assert f"the answers in {path.parent.relative_to(Path.cwd())} are of harness 0.13.1" in caplog.text
    assert RunFolder(path.parent).has_answers


def test_question_has_former_digest_only_if_fingerprint_had_one() -> None:
    question = Question("1.png", None, "refer", "a dog")
    assert len(runner.digests(question, "mine:v1", "pixels")) == 1
    assert len(runner.digests(question, "whole-image:v1", "pixels")) == 2
