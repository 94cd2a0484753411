"""The prompts of samples: recorded, made again and proven by their digest, or unknown."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.core import Answer, Phrase, Question, Row, Run, Sample, Score, Size, Trail
from harness.evaluation.viewing import Live
from harness.viewer.prompts import examples, sent
from tests.harness.viewer.viewed import run_of

SIZE = Size(100, 50)
PROMPT = "Locate the phrases in the caption: the red car"


def run(forms: Any) -> Run:
    return replace(run_of("a"), provenance={"model": {"prompts": forms}})


def row(*prompts: str, question: Question | None = None, recorded: bool = False) -> Row[Any]:
    """A sample whose answer has the digest of these prompts, or the prompts themselves."""
    digest = hashlib.sha256(repr(prompts).encode()).hexdigest()[:8]
    answer = Answer(("",) * len(prompts), None, trail=Trail(digest, "", "", ""), prompts=prompts if recorded else ())
    question = question or Question("x.png", SIZE, "refer", text="the red car")
    return Row(Sample("s", question, None, "x"), answer, Score({}))


def test_prompts_are_made_again_by_the_form_of_the_record() -> None:
    assert sent(run({"refer": "grounding"}), row(PROMPT), SIZE) == [PROMPT]
    found = Question("x.png", SIZE, "find", phrases=(Phrase("cat"), Phrase("dog")))
    each = ("Locate cat in the image.", "Locate dog in the image.")
    assert sent(run({"find": "each"}), row(*each, question=found), SIZE) == list(each)
    region = Question("x.png", None, "name", region=(10.0, 10.0, 20.0, 20.0))
    # Bins are 0.1 x 0.05 pixels: 10 / 0.1 = 100, 10 / 0.05 = 200, and so on.
    text = "What is the region <loc_100><loc_200><loc_200><loc_400>?"
    assert sent(run({"name": "category"}), row(text, question=region), SIZE) == [text]
    assert sent(run({"name": "category"}), row(text, question=region), None) == []  # needs the size


@pytest.mark.parametrize(
    "forms", [{"refer": "open"}, {"refer": "none"}, {}, None, "grounding", {"refer": 3}, {"refer": "paraphrase"}]
)
def test_prompts_with_another_digest_or_form_are_not_shown(forms: Any) -> None:
    assert sent(run(forms), row(PROMPT), SIZE) == []


def test_recorded_prompts_are_shown_as_they_are() -> None:
    assert sent(run_of("a"), row("<image> what?", recorded=True), None) == ["<image> what?"]
    bare = row(PROMPT)
    assert sent(run({"refer": "grounding"}), replace(bare, answer=Answer(("",), None)), SIZE) == []


def test_examples_have_the_first_sample_of_each_kind() -> None:
    caption = Question("x.png", SIZE, "caption")
    rows = [row("other"), row(PROMPT), row(PROMPT), row("What does the image describe?", question=caption)]
    found = examples(run({"refer": "grounding", "caption": "brief"}), rows)
    assert [(each["kind"], each["prompts"]) for each in found] == [
        ("refer", [PROMPT]), ("caption", ["What does the image describe?"]),
    ]  # fmt: skip


@pytest.mark.parametrize("task", ["refcoco", "coco_detection"])
def test_prompts_of_a_real_run_are_those_of_its_questions(tmp_path: Path, task: str) -> None:
    """Florence-2 with the weights of the project; the digest was taken when the prompt was sent."""
    run = harness.evaluate(task, "florence2-nano", data="miniature", limit=2, out=tmp_path)
    shown, _ = Live(tmp_path).shown(run.id)
    for row in shown.rows:
        question = row.sample.question
        expected = f"Locate the phrases in the caption: {question.text}"
        if task == "coco_detection":
            expected = "Locate the objects with category name in the image."
        assert sent(shown.run, row, question.size) == [expected]
