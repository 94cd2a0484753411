"""Subjects of `bench`: a checkpoint with a task's questions, and a network with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from baselines import Setting, florence2
from baselines.florence2_bench import NEW_TOKENS, prepared
from harness.core import Question
from harness.errors import UsageError
from harness.florence2 import weights
from harness.florence2.config import NANO
from harness.speed.systems import RANDOM, Request

FOLDER = florence2.WEIGHTS / "florence2-nano"
SOURCE = florence2.Source("florence2-nano", NANO, FOLDER)
NOWHERE = florence2.Source("none", NANO, Path("nowhere"))


def test_random_weights_need_no_files_and_give_answers_of_fixed_length() -> None:
    setting = Setting(weights=RANDOM, device="cpu", batch_size=3)
    subject, queries, provenance = prepared(setting, florence2.Options(beams=2), Request(images=4), NOWHERE)
    assert subject.decoding.min_new_tokens == subject.decoding.max_new_tokens == NEW_TOKENS
    assert (subject.decoding.beams, subject.batch, subject.dtype) == (2, 3, torch.float32)
    assert (subject.model.config, subject.sha256, provenance) == (NANO, RANDOM, {})
    assert len(queries.pixels) == 4 and queries.pixels[0].shape == (NANO.image_size, NANO.image_size, 3)


def test_random_weights_take_resolution_and_length() -> None:
    setting = Setting(weights=RANDOM, device="cpu")
    options = florence2.Options(resolution=64)
    subject, queries, _ = prepared(setting, options, Request(images=1, new_tokens=7), NOWHERE)
    assert subject.decoding.min_new_tokens == subject.decoding.max_new_tokens == 7
    assert queries.pixels[0].shape == (64, 64, 3)
    with pytest.raises(UsageError, match="--new-tokens 257: this model has positions for 256"):
        prepared(setting, florence2.Options(), Request(images=1, new_tokens=257), NOWHERE)
    with pytest.raises(UsageError, match="--beams 0"):
        prepared(setting, florence2.Options(beams=0), Request(images=1), NOWHERE)


def test_checkpoint_has_the_questions_and_its_provenance(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "x.png")
    questions = [Question("x.png", None, "caption"), Question("x.png", None, "refer", text="a dog")]
    setting = Setting(root=tmp_path, device="cpu", batch_size=2)
    subject, queries, provenance = prepared(
        setting, florence2.Options(beams=1), Request(questions=questions, about="two", new_tokens=5), SOURCE
    )
    assert len(queries) == 2 and "two" in queries.about
    assert (subject.decoding.beams, subject.decoding.min_new_tokens, subject.decoding.max_new_tokens) == (1, 5, 5)
    assert (subject.batch, subject.sha256) == (2, weights.load(FOLDER).sha256)
    assert provenance["device"] == "cpu"


def test_length_without_a_request_is_that_of_the_options(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "x.png")
    request = Request(questions=[Question("x.png", None, "caption")], about="one")
    subject, _, _ = prepared(Setting(root=tmp_path, device="cpu"), florence2.Options(max_new_tokens=9), request, SOURCE)
    assert (subject.decoding.min_new_tokens, subject.decoding.max_new_tokens) == (0, 9)
