"""One room for the command line, the gate and notebooks: what it refuses, and what it never does."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import harness
from baselines import Entry, Setting
from harness.core import Answer, Failure, Question, Text, Ticket
from harness.errors import ModelError, UsageError
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.request import Request
from tasks import miniature
from tasks.miniature import train_files

ROOT = Path(__file__).parents[3]


@dataclass
class Saying:
    """A Model that says one word, to the tickets that it is told to answer."""

    word: str = "yes"
    tickets: tuple[int, ...] | None = None

    @property
    def fingerprint(self) -> str:
        return f"saying:{self.word}"

    @property
    def provenance(self) -> dict[str, Any]:
        return {}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        asked = [ticket for ticket, _ in questions]
        for ticket in asked if self.tickets is None else self.tickets:
            yield ticket, Answer((self.word,), Text((self.word,)))


def test_object_with_three_members_is_a_model(tmp_path: Path) -> None:
    run = harness.evaluate("vizwiz", Saying(), limit=4, data="miniature", out=tmp_path)
    assert run.spec.model == "Saying"
    assert run.counts["asked now"] == 4
    again = harness.evaluate("vizwiz", Saying(tickets=()), limit=4, data="miniature", out=tmp_path)
    assert again == run  # nothing was queried, or the second model would have answered nothing


@pytest.mark.parametrize(("tickets", "said"), [
    ((0, 1, 99), "answered ticket 99, which was never given to it, or twice"),
    ((0, 0), "answered ticket 0, which was never given to it, or twice"),
    ((0,), "left 3 of 4 questions without an answer or a Failure"),
])  # fmt: skip
def test_model_that_breaks_the_contract_is_one_line(tmp_path: Path, tickets: tuple[int, ...], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        harness.evaluate("vizwiz", Saying(tickets=tickets), limit=4, data="miniature", out=tmp_path)


def test_settings_of_a_built_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Saying is built already"):
        harness.evaluate("vizwiz", Saying(), device="cpu", data="miniature", out=tmp_path)
    with pytest.raises(UsageError, match="2 tasks with 2 splits"):
        harness.evaluate("vizwiz,textvqa", Saying(), data="miniature", out=tmp_path)
    with pytest.raises(UsageError, match="model oracle has no option 'beams'; it has no options of its own"):
        harness.evaluate("vizwiz", "oracle", beams=3, data="miniature", out=tmp_path)
    with pytest.raises(UsageError, match="--device: model oracle takes no such setting"):
        harness.evaluate("vizwiz", "oracle", device="cpu", data="miniature", out=tmp_path)


@dataclass(frozen=True)
class Shots:
    shots: int = 0


def test_model_with_examples_is_built_for_each_task_after_the_one_before_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models of 80 billion parameters do not fit; the model here holds itself, as networks may."""
    root = tmp_path / "training"
    train_files.write(root, train_files.Images(coco=2, signs=3, vizwiz=3, flickr30k=1))
    monkeypatch.setattr(miniature, "ensure_training", lambda: root)
    built: list[weakref.ref[Saying]] = []
    pools: list[set[str]] = []

    def build(setting: Setting, options: Shots) -> Saying:
        assert [model() for model in built] == [None] * len(built)
        assert setting.examples is not None and setting.examples.count == 2
        pools.append({sample.question.image_name.split("/")[0] for sample in setting.examples.pool})
        model = Saying()
        model.__dict__["itself"] = model
        built.append(weakref.ref(model))
        return model

    entry = Entry(name="two", about="", build=build, options=Shots, shots=lambda options: options.shots)
    request = Request(
        task="vizwiz,textvqa", model=entry, options={"shots": 2}, limit=2, data="miniature", out=tmp_path / "results"
    )
    gc.disable()
    try:
        runs = [evaluated.run for evaluated in evaluate_each(request)]
    finally:
        gc.enable()
    assert [(run.spec.task, run.spec.model, run.spec.protocol) for run in runs] == [
        ("vizwiz", "two (2 shots)", "few_shot"), ("textvqa", "two (2 shots)", "few_shot")
    ]  # fmt: skip
    assert pools == [{"vizwiz"}, {"textvqa"}]


def test_comment_in_every_file_of_the_model_makes_no_answer_stale(tmp_path: Path) -> None:
    """A copy of the project whose model files each have one more comment resumes the run of the original."""
    copy = tmp_path / "copy"
    for package in ("harness", "tasks", "baselines"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    run = [sys.executable, "-m", "harness", "run", "--task", "vizwiz", "--model", "florence2-nano", "--limit", "2"]
    run += ["--data", "miniature", "--out", str(tmp_path / "results")]

    def called() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        return subprocess.run(run, cwd=copy, env=environment, capture_output=True, text=True, check=True)

    assert "nothing was queried" not in called().stderr
    for path in (copy / "harness/florence2").rglob("*.py"):
        path.write_text(path.read_text() + "\n# a comment\n")
    assert "nothing was queried" in called().stderr


def test_public_interface_is_lazy_and_complete() -> None:
    """Importing it loads no torch, pandas or transformers; every name that it lists is there."""
    code = "import sys, harness; print(sorted({'torch', 'pandas', 'transformers', 'numpy'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
    for name in harness.__all__:
        assert getattr(harness, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'evalute'; it has Answer"):
        _ = harness.evalute  # type: ignore[attr-defined]


def test_adapter_of_weights_trained_on_the_task_is_filed_as_fine_tuned_with_what_was_merged(tmp_path: Path) -> None:
    base, folder = ROOT / "baselines/weights/florence2-nano-ft", tmp_path / "adapter"
    folder.mkdir()
    module = "base_model.model.model.language_model.encoder.layers.0.fc1"
    factors = {f"{module}.lora_A.weight": torch.zeros(2, 128), f"{module}.lora_B.weight": torch.zeros(512, 2)}
    save_file(factors, folder / "adapter_model.safetensors")
    stated = {"peft_type": "LORA", "lora_alpha": 4, "base_model_name_or_path": str(base)}
    (folder / "adapter_config.json").write_text(json.dumps(stated))
    asked: dict[str, Any] = {"limit": 1, "data": "miniature", "out": tmp_path / "results", "protocol": None}
    run = harness.evaluate("vizwiz", "florence2-nano", weights=str(folder), **asked)
    assert run.spec.protocol == "fine_tuned"
    assert run.provenance["seen"].startswith("trained on this task's train")
    [merged, tokenizer, preprocessing] = run.provenance["model"]["checkpoint"]
    assert merged == f"the PEFT adapter in {folder} (LoRA of rank 2 on 1 modules) is merged onto {base}"
    assert tokenizer.endswith(f"that of {base} is used") and preprocessing.endswith(f"that of {base} is used")
    plain = harness.evaluate("vizwiz", "florence2-nano-ft", **asked)  # the factors are zeros
    assert run.metrics == plain.metrics
    assert "checkpoint" not in plain.provenance["model"]
