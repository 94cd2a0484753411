"""Training of models that write text: which weights are adapted, parts of a step, and references over the epochs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from baselines import paligemma
from baselines.paligemma_training import teach
from baselines.text_training import AnswerLesson, TextLearner
from harness.core import Question, Sample, Size, Text
from harness.errors import DataError
from harness.training.mixture import Unit, batch_of
from harness.training.parallel import set_step_totals
from harness.training.rivals import LORA_RECIPE
from tests.baselines import pupils
from tests.baselines import test_paligemma as tiny

PT = tiny.ENTRIES["paligemma-3b-pt-224"]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("start"), "gemma", "where")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pupils.root(tmp_path_factory.mktemp("images"))


def learner(start: Path, **changes: Any) -> TextLearner:
    recipe = replace(LORA_RECIPE, plan=replace(LORA_RECIPE.plan, precision="float32"), **changes)
    checkpoint: Any = PT.checkpoint.__self__  # type: ignore[union-attr]
    return teach(str(start), recipe, "cpu", checkpoint=checkpoint, variant=paligemma._GENERAL)


def units(pupil: TextLearner, root: Path) -> list[Unit]:
    """Four images with a question each, with answers of 1 to 4 words."""
    made = []
    for number, (colour, *_) in enumerate(pupils.THINGS):
        ids = pupil.writer.prompt_ids("where" + " is" * number), pupil.writer.answer_ids("red " * (number + 1))
        pixels = pupil.resizing.resize(Image.open(root / f"{colour}.png"))
        made.append(Unit(pixels, colour, "ab"[number % 2], [(np.array(ids[0]), np.array(ids[1]))]))
    return made


def test_adapters_are_on_the_language_models_linear_maps_alone(start: Path) -> None:
    pupil = learner(start, lora=4)
    pupil.begin({})
    trained = {name for name, parameter in pupil.model.named_parameters() if parameter.requires_grad}
    # 2 layers, 7 linear maps, 2 factors; nothing in the vision tower, which has q_proj, k_proj and v_proj too
    assert len(trained) == 2 * 7 * 2
    assert all("language_model.layers." in name and ".lora_" in name for name in trained)
    config = pupil.model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 32, 0.05)
    assert (config.base_model_name_or_path, config.revision) == (str(start.resolve()), None)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_of_two_parts_are_those_of_the_whole_step(start: Path, images: Path, checkpointing: bool) -> None:
    """With and without activation checkpointing; `set_step_totals` gives each part the counts of the step."""
    gradients = []
    for parts in ([slice(0, 4)], [slice(0, 2), slice(2, 4)]):
        pupil = learner(start, lora=2, lora_dropout=0.0, checkpointing=checkpointing and len(parts) == 2)
        pupil.begin({})
        with torch.no_grad():
            for name, parameter in pupil.model.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(0.05)
        lesson = AnswerLesson(pupil.model, pupil.writer, 0, torch.float32)
        made = units(pupil, images)
        batches = [batch_of(made[part], joined=pupil.joined) for part in parts]
        set_step_totals(batches)
        for batch in batches:
            lesson(batch)[0].backward()
        gradients.append([p.grad for p in pupil.model.parameters() if p.requires_grad])
    assert any(gradient.abs().max() > 1e-4 for gradient in gradients[0])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-6)


def test_each_reference_is_an_example_and_the_commonest_answer_the_only_one(start: Path) -> None:
    pupil = learner(start)
    caption = Sample("c", Question("x.png", None, "caption"), Text(("a star", "red")), "x.png")
    assert [len(answer) for _, answer in pupil.examples(caption, Path())] == [3, 2]  # words and the end
    vqa = Sample("v", Question("x.png", None, "vqa", "what ?"), Text(("red", "blue", "blue")), "x.png")
    [(prompt, answer)] = pupil.examples(vqa, Path())
    assert (prompt, answer) == (pupil.writer.prompt_ids("answer en what ?"), pupil.writer.answer_ids("blue"))
    assert pupil.examples(replace(vqa, target=None), Path()) == []


def test_question_that_cannot_be_asked_names_its_sample(start: Path) -> None:
    pupil = learner(start)
    sample = Sample("s7", Question("x.png", Size(9, 9), "vqa", "what is <image> ?"), Text(("red",)), "x.png")
    with pytest.raises(DataError, match=r"sample s7: the prompt .* has <image> in it"):
        pupil.examples(sample, Path())
    other = replace(sample, question=replace(sample.question, kind="read"))
    with pytest.raises(DataError, match="sample s7 is a 'read' question, which this model cannot be taught"):
        pupil.examples(other, Path())


def test_language_changes_with_the_tokenizer_and_origin_with_the_pixels(start: Path, tmp_path: Path) -> None:
    first, other = learner(start), learner(tiny.save(tmp_path, "gemma", "more words"))
    assert first.language == learner(start).language != other.language
    assert first.origin == learner(start).origin
    first.loaded.processors[0].image_mean = [0.1] * 3
    assert first.origin != learner(start).origin
