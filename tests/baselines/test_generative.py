"""How prompts become answers: settings, batches, truncation, log-probabilities, and a memory that is too small."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from baselines import generative
from baselines.entry import Setting
from baselines.generative import Generative, Options, Written
from baselines.pretrained import Checkpoint, Pretrained, load
from harness.core import Answer, Failure, Kind, Question, Size, Text, Value
from harness.errors import UsageError
from tests.baselines import rivals

NAMED = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
END = 2  # `</s>`
LONG = "how many small blue square are there on the left of the large red circle"


class Plain:
    """A family without images: a question's words are its prompt, one for each sentence."""

    kinds: frozenset[Kind] = frozenset({"caption", "vqa"})
    version = 3
    identity = "plain"

    def __init__(self, tokenizer: Any, settings: Mapping[Kind, Mapping[str, Any]], scored: bool) -> None:
        self.scored = scored
        self.tokenizer = tokenizer
        self.by_kind = settings
        self.batches: list[list[str]] = []
        self.written: list[Written] = []

    def prompts(self, question: Question) -> Sequence[str]:
        return (question.text or "a photo of").split(" . ")

    def settings(self, kind: Kind) -> Mapping[str, Any]:
        return self.by_kind.get(kind, {"max_new_tokens": 6})

    def key(self, image: Image.Image, prompt: str) -> Hashable:
        return prompt.startswith("red")

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, Any]:
        self.batches.append(list(prompts))
        return dict(self.tokenizer(list(prompts), padding=True, return_tensors="pt", return_token_type_ids=False))

    def begin(self, inputs: Mapping[str, Any]) -> int:
        return int(inputs["input_ids"].shape[1])

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def value(self, question: Question, written: Sequence[Written], size: Size) -> Value | None:
        self.written.extend(written)
        return Text((" | ".join(output.text for output in written),))


def network(folder: Path, **shipped: Any) -> Any:
    """OPT at tiny size with random weights, saved with these generation settings."""
    torch.manual_seed(0)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rivals.word_tokenizer(("<s>", "<pad>", "</s>")), **NAMED)
    model = OPTForCausalLM(
        OPTConfig(
            vocab_size=len(tokenizer), hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
            word_embed_proj_dim=32, max_position_embeddings=64, dropout=0.0,
        )
    )  # fmt: skip
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)  # so that outputs differ
    for name, value in shipped.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval()


def built(
    folder: Path, root: Path, *, scored: bool = False, by_kind: Mapping[Kind, Mapping[str, Any]] | None = None,
    batch_size: int | None = None, **options: Any,
) -> tuple[Generative, Plain]:  # fmt: skip
    setting = Setting(root=root, weights=str(folder), device="cpu", batch_size=batch_size)
    chosen = Options(**options)
    loaded: Pretrained = load("OPTForCausalLM", Checkpoint("plain", "someone/plain"), setting, chosen)
    family = Plain(loaded.tokenizer, by_kind or {}, scored)
    return Generative(family, loaded, setting, chosen), family


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with images."""
    rivals.images(tmp_path)
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    network(path)
    return path


def vqa(text: str, image: str = "0.png") -> Question:
    return Question(image, None, "vqa", text=text)


def by_hand(model: Any, tokenizer: Any, text: str, steps: int) -> list[int]:
    """Greedy search in a plain loop, without a cache."""
    ids = tokenizer(text)["input_ids"]
    begin = len(ids)
    for _ in range(steps):
        with torch.inference_mode():
            ids = [*ids, int(model(torch.tensor([ids])).logits[0, -1].argmax())]
        if ids[-1] == END:
            break
    return ids[begin:]


# ---------------------------------------------------------------------------- settings


def test_output_equals_a_plain_greedy_loop(folder: Path, root: Path) -> None:
    model, family = built(folder, root)
    [(_, answer)] = model.answer([(0, vqa("what color is the circle"))])
    network_, tokenizer = OPTForCausalLM.from_pretrained(folder).eval(), family.tokenizer
    ids = by_hand(network_, tokenizer, "what color is the circle", 6)
    assert isinstance(answer, Answer)
    assert answer.raw == (tokenizer.decode(ids, skip_special_tokens=True),)
    assert family.written[0].ids == tuple(ids)
    assert (answer.tokens, answer.batch) == (len(ids), 1)
    assert answer.prompts == ("what color is the circle",)
    assert answer.seconds > 0


def test_shipped_generation_settings_are_removed(folder: Path, root: Path, tmp_path: Path) -> None:
    """Checkpoints ship settings for chat; transformers would fill them in where ours are silent."""
    chat = {
        "do_sample": True, "temperature": 0.3, "top_p": 0.5, "repetition_penalty": 4.0, "no_repeat_ngram_size": 1,
        "suppress_tokens": list(range(5, 40)), "max_length": 9, "num_beams": 4, "length_penalty": 5.0,
    }  # fmt: skip
    network(tmp_path / "chat", **chat)
    asked = [(number, vqa(text)) for number, text in enumerate(("what color is it", LONG))]
    plain, shipped = built(folder, root)[0], built(tmp_path / "chat", root)[0]
    assert [rivals.essence(answer) for answer in rivals.answers(shipped, asked).values()] == [
        rivals.essence(answer) for answer in rivals.answers(plain, asked).values()
    ]
    assert shipped.fingerprint == plain.fingerprint


def test_shipped_special_tokens_are_kept(root: Path, tmp_path: Path) -> None:
    network(tmp_path / "other", eos_token_id=[END, 7], pad_token_id=None)
    model, _ = built(tmp_path / "other", root)
    assert '"eos_token_id": [2, 7]' in model.fingerprint
    assert '"pad_token_id": 2' in model.fingerprint  # an end token pads where no token is for it


def test_options_replace_the_settings_of_the_family(folder: Path, root: Path) -> None:
    settings = {"num_beams": 5, "min_new_tokens": 8, "max_new_tokens": 30, "length_penalty": -1.0}
    by_kind: dict[Kind, Mapping[str, Any]] = {"vqa": settings}
    model, family = built(folder, root, by_kind=by_kind, beams=1, max_new_tokens=3)
    rivals.answers(model, [(0, vqa("red"))])
    assert len(family.written[0].ids) == 3  # and a minimum of 8 does not stand against it
    assert "length_penalty" not in model.fingerprint  # greedy search has none


@pytest.mark.parametrize(("options", "message"), [({"beams": 0}, "--beams 0"), ({"max_new_tokens": -1}, "--max-new-t")])
def test_option_below_one_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        generative.refuse(Setting(device="cpu"), Options(**options))


def test_fingerprint_names_what_decides_an_answer_and_no_more(folder: Path, root: Path, tmp_path: Path) -> None:
    first = built(folder, root)[0]
    assert first.fingerprint.startswith(f"Plain v3:{first.loaded.identity}:")
    assert first.fingerprint.endswith(":plain")
    assert built(folder, root, batch_size=2)[0].fingerprint == first.fingerprint
    assert built(folder, tmp_path / "elsewhere")[0].fingerprint == first.fingerprint
    assert built(folder, root, beams=2)[0].fingerprint != first.fingerprint
    assert built(folder, root, max_new_tokens=7)[0].fingerprint != first.fingerprint
    other: dict[Kind, Mapping[str, Any]] = {"vqa": {"max_new_tokens": 6, "no_repeat_ngram_size": 3}}
    assert built(folder, root, by_kind=other)[0].fingerprint != first.fingerprint


# ---------------------------------------------------------------------------- lengths and scores


def test_output_that_stops_at_its_limit_is_truncated(folder: Path, root: Path) -> None:
    model, _ = built(folder, root)
    bias = torch.zeros(model.loaded.model.config.vocab_size)
    bias[5], bias[END] = 2.0, 1.0
    model.loaded.model.lm_head = torch.nn.Linear(32, len(bias))
    torch.nn.init.zeros_(model.loaded.model.lm_head.weight)
    model.loaded.model.lm_head.bias.data = bias
    [endless] = rivals.answers(model, [(0, vqa("red"))]).values()
    assert (endless.tokens, endless.truncated) == (6, True)
    bias[END] = 3.0
    [ended] = rivals.answers(model, [(0, vqa("red"))]).values()
    assert (ended.tokens, ended.truncated, ended.raw) == (1, False, ("",))


def test_end_at_the_last_token_is_not_truncated_unless_it_is_forced(folder: Path, root: Path) -> None:
    asked = [(0, vqa("what color is it"))]
    model, free = built(folder, root)
    rivals.answers(model, asked)
    [written] = free.written
    last = next(place for place, token in enumerate(written.ids) if place and token not in written.ids[:place])
    ending: dict[Kind, Mapping[str, Any]] = {
        "vqa": {"max_new_tokens": last + 1, "eos_token_id": written.ids[last]}
    }  # as if the token that it writes by itself ended the output
    [answer] = rivals.answers(built(folder, root, by_kind=ending)[0], asked).values()
    assert (answer.tokens, answer.truncated) == (last + 1, False)
    forced: dict[Kind, Mapping[str, Any]] = {"vqa": {"max_new_tokens": 4, "forced_eos_token_id": END}}
    [answer] = rivals.answers(built(folder, root, by_kind=forced)[0], asked).values()
    assert (answer.tokens, answer.truncated) == (4, True)


@pytest.mark.parametrize("beams", [1, 3])
def test_log_probabilities_equal_those_of_the_logits(folder: Path, root: Path, beams: int) -> None:
    model, family = built(folder, root, scored=True, beams=beams)
    texts = ("what color is it", LONG, "red circle")
    rivals.answers(model, [(number, vqa(text)) for number, text in enumerate(texts)])
    plain = OPTForCausalLM.from_pretrained(folder).eval()
    assert len(family.written) == 3
    for text, output in zip(texts, family.written, strict=True):
        prompt = family.tokenizer(text)["input_ids"]
        with torch.inference_mode():
            logits = plain(torch.tensor([[*prompt, *output.ids]])).logits[0]
        steps = logits[len(prompt) - 1 : -1].log_softmax(-1)
        expected = [float(step[token]) for step, token in zip(steps, output.ids, strict=True)]
        assert output.log_probabilities == pytest.approx(expected, abs=1e-4)


def test_families_without_scores_get_none(folder: Path, root: Path) -> None:
    model, family = built(folder, root)
    rivals.answers(model, [(0, vqa("red"))])
    assert family.written[0].log_probabilities == ()


# ---------------------------------------------------------------------------- batches


def test_batches_hold_prompts_of_one_key_and_one_setting(folder: Path, root: Path) -> None:
    by_kind: dict[Kind, Mapping[str, Any]] = {"caption": {"max_new_tokens": 2}}
    model, family = built(folder, root, by_kind=by_kind, batch_size=3)
    texts = ["red circle", "blue square", "red star", "white cross", "red square", "black star", "red", "green"]
    asked = [(number, vqa(text)) for number, text in enumerate(texts)]
    asked += [(8, Question("1.png", None, "caption")), (9, Question("2.png", None, "caption"))]
    results = rivals.answers(model, asked)
    assert all(len(batch) <= 3 for batch in family.batches)
    assert all(len({prompt.startswith("red") for prompt in batch}) == 1 for batch in family.batches)
    assert all(len({prompt == "a photo of" for prompt in batch}) == 1 for batch in family.batches)
    assert sum(len(batch) for batch in family.batches) == 10
    assert [results[number].batch for number in range(8)] == [3, 3, 3, 3, 3, 3, 1, 1]
    assert results[8].batch == results[9].batch == 2


def test_prompts_of_one_question_make_one_answer_in_their_order(folder: Path, root: Path) -> None:
    model, _ = built(folder, root, batch_size=2)
    results = rivals.answers(model, [(0, vqa("red circle . blue square . red star")), (1, vqa("green"))])
    alone = {text: rivals.answers(model, [(0, vqa(text))])[0] for text in ("red circle", "blue square", "red star")}
    assert results[0].raw == tuple(answer.raw[0] for answer in alone.values())
    assert results[0].tokens == sum(answer.tokens for answer in alone.values())
    assert results[0].truncated == any(answer.truncated for answer in alone.values())
    assert results[0].value == Text((" | ".join(results[0].raw),))
    assert results[0].prompts == ("red circle", "blue square", "red star")


def test_answers_do_not_depend_on_the_batch_or_the_order(folder: Path, root: Path) -> None:
    asked = [(number, vqa(text)) for number, text in enumerate(("red", LONG, "blue square", "what", "how many"))]
    alone = rivals.answers(built(folder, root, batch_size=1)[0], asked)
    for order in (asked, asked[::-1]):
        together = rivals.answers(built(folder, root, batch_size=4)[0], order)
        assert {ticket: rivals.essence(answer) for ticket, answer in together.items()} == {
            ticket: rivals.essence(answer) for ticket, answer in alone.items()
        }


def test_image_that_cannot_be_opened_is_a_failure_of_its_question_only(folder: Path, root: Path) -> None:
    (root / "torn.png").write_bytes((root / "0.png").read_bytes()[:40])
    model, _ = built(folder, root)
    results = dict(model.answer([(0, vqa("red")), (1, vqa("red", "torn.png")), (2, vqa("red", "1.png"))]))
    assert isinstance(results[1], Failure)
    assert isinstance(results[0], Answer) and isinstance(results[2], Answer)


class Small:
    """A memory that holds `room` prompts at once: `generate` raises beyond it, as torch does on a GPU."""

    def __init__(self, model: Any, room: int) -> None:
        self.generate, self.room, self.tried = model.generate, room, []  # type: ignore[var-annotated]
        model.generate = self

    def __call__(self, **inputs: Any) -> Any:
        count = len(inputs["input_ids"])
        self.tried.append(count)
        if count > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.generate(**inputs)


def test_batch_that_does_not_fit_in_memory_is_halved(
    folder: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [(number, vqa(text)) for number, text in enumerate(("blue", LONG, "what", "how many", "star", "cross"))]
    expected = rivals.answers(built(folder, root, batch_size=4)[0], asked)
    model, _ = built(folder, root, batch_size=4)
    memory = Small(model.loaded.model, room=2)
    with caplog.at_level(logging.WARNING):
        results = rivals.answers(model, asked)
    assert {ticket: rivals.essence(answer) for ticket, answer in results.items()} == {
        ticket: rivals.essence(answer) for ticket, answer in expected.items()
    }
    assert memory.tried == [4, 2, 2, 2]
    assert "4 prompts at once are too many for the memory; going on with 2" in caplog.text
    rivals.answers(model, asked)
    assert memory.tried[4:] == [2, 2, 2]  # later batches are as small
    assert max(answer.batch for answer in results.values()) == 2


def test_one_prompt_that_does_not_fit_in_memory_raises(folder: Path, root: Path) -> None:
    model, _ = built(folder, root, batch_size=2)
    Small(model.loaded.model, room=0)
    with pytest.raises(torch.OutOfMemoryError):
        rivals.answers(model, [(0, vqa("blue")), (1, vqa("what"))])


def test_special_tokens_are_taken_out_of_texts(folder: Path, root: Path) -> None:
    tokenizer = built(folder, root)[1].tokenizer
    assert generative.without_tokens("a <pad>red</s> circle", tokenizer).split() == ["a", "red", "circle"]
    assert generative.without_tokens("is 3 < 4?", tokenizer) == "is 3 < 4?"
