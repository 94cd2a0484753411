"""Operations of Florence-2: against torch's counter on the plain network, and on transformers' Florence-2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from baselines import Setting, find
from baselines.florence2 import WEIGHTS
from harness.core import Answer, Failure, Phrase, Question, Size
from harness.florence2 import prompts
from harness.florence2.bart import Cache
from harness.florence2.config import BASE, LARGE, NANO, Config
from harness.florence2.decoding.search import Decoding
from harness.florence2.model import Florence2
from harness.speed import cost, florence2_cost
from harness.speed.florence2_cost import Lengths

FOLDER = WEIGHTS / "florence2-nano-ft"


def operations(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def plain(config: Config) -> Florence2:
    with torch.device("meta"):
        return Florence2(config).to("meta").eval().requires_grad_(False)


@pytest.mark.parametrize(("config", "height", "width"), [
    (NANO, 128, 128), (NANO, 96, 200), (BASE, 768, 768), (BASE, 500, 352), (LARGE, 768, 768),
])  # fmt: skip
def test_operations_of_vision_are_those_that_torch_counts_on_the_plain_tower(
    config: Config, height: int, width: int
) -> None:
    tower = plain(config).vision
    with torch.inference_mode():
        counted = operations(lambda: tower(torch.empty(1, 3, height, width, device="meta")))
        cells = tower(torch.empty(1, 3, height, width, device="meta")).shape[1:3].numel()
    assert florence2_cost.of_vision(config.vision, height, width) == (counted, cells)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("answer", [1, 2, 9])
def test_operations_of_text_are_those_that_torch_counts_step_by_step(beams: int, answer: int) -> None:
    """The prefix has two tokens, start and forced first: an answer of n tokens has n - 1 chosen ones."""
    model, image, prompt = plain(NANO), 65, 11

    def run() -> None:
        memory = model.encode(torch.empty(1, image, 128, device="meta"), torch.empty(1, prompt, device="meta").long())
        model.decode(torch.empty(1, 2, device="meta").long(), memory, Cache.empty(NANO.text, 1, memory.keys))
        cache = Cache.empty(NANO.text, beams, memory.keys)
        cache.length = 2
        for number in range(answer - 1):
            model.lm_head(torch.empty(beams, 1, 128, device="meta"))
            if number < answer - 2:
                model.decode(torch.empty(beams, 1, device="meta").long(), memory, cache)

    with torch.inference_mode():
        counted = operations(run)
    assert florence2_cost.of_text(NANO, Decoding(beams=beams), image, Lengths(prompt, answer)) == counted


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    Image.effect_noise((90, 60), 80).convert("RGB").save(folder / "a.png")
    return folder


def test_query_has_the_operations_of_transformers_greedy_search_less_what_it_repeats(root: Path) -> None:
    """transformers decodes the two tokens of the prefix one after the other.

    So it has one more map to the vocabulary, 2 * 128 * 1536 operations; and its first token sees one token, where a
    prefill computes two: one pair of tokens less in each of 3 layers, 2 * 2 * 128 operations.
    """
    question = Question("a.png", Size(90, 60), "caption")
    theirs = find("hf-florence2-b").load(Setting(root=root, weights=str(FOLDER), device="cpu"), beams=1)
    ours = find("florence2-nano-ft").load(Setting(root=root, device="cpu"), beams=1)
    [(_, answer)] = ours.answer([(0, question)])
    [(_, same)] = theirs.answer([(0, question)])
    assert isinstance(answer, Answer) and isinstance(same, Answer) and answer.tokens == same.tokens > 3
    expected = round(cost.of_query(theirs, question)["GFLOPs"] * 1e9) - 2 * 128 * 1536 + 3 * 2 * 2 * 128
    assert round(cost.of_query(ours, question)["GFLOPs"] * 1e9) == expected


def test_question_with_several_prompts_encodes_its_image_once(root: Path) -> None:
    """`find` in the form `said` has a prompt for each category."""
    model = find("florence2-nano-ft").load(Setting(root=root, device="cpu"), prompt="find=said")
    question = Question("a.png", Size(90, 60), "find", phrases=(Phrase("dog"), Phrase("red ball")))
    texts = prompts.prompts_of(question, model.forms["find"], Size(90, 60))
    lengths: dict[int, int] = {}
    model.watch = lambda _, number, generated: lengths.__setitem__(number, len(generated.tokens))
    total, answer = florence2_cost.of_query(model, question)
    assert not lengths and model.watch is not None  # the count watches in its place, and gives it back
    list(model.answer([(0, question)]))
    vision, cells = florence2_cost.of_vision(NANO.vision, 128, 128)
    text = sum(
        florence2_cost.of_text(NANO, model.decoding, cells + 1, Lengths(len(model.tokenizer.encode(text)), length))
        for text, length in zip(texts, (lengths[0], lengths[1]), strict=True)
    )
    assert total == vision + 2 * (cells + 1) * 160 * 128 + text
    assert isinstance(answer, Answer) and answer.tokens == sum(lengths.values())


def test_query_without_an_image_file_gives_the_reason(root: Path) -> None:
    model = find("florence2-nano-ft").load(Setting(root=root, device="cpu"))
    total, failure = florence2_cost.of_query(model, Question("none.png", None, "caption"))
    assert total == 0 and isinstance(failure, Failure)
    assert "none.png" in cost.of_query(model, Question("none.png", None, "caption"))["of"]


def test_precision_and_batch_size_do_not_change_the_operations_of_an_answer_of_equal_length(root: Path) -> None:
    question = Question("a.png", Size(90, 60), "caption")
    counts = set()
    for dtype, size in (("float32", 1), ("float32", 8), ("int8", 1)):
        setting = Setting(root=root, device="cpu", dtype=dtype, batch_size=size)
        model = find("florence2-nano-ft").load(setting, max_new_tokens=4, beams=1)
        counted, answer = florence2_cost.of_query(model, question)
        assert isinstance(answer, Answer)
        counts.add((counted, answer.tokens))
        assert model.provenance["parameters"] == 3_321_760  # also where int8 weights are no parameters any more
    assert len({tokens for _, tokens in counts}) == len(counts)
