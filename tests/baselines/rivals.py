"""Checks that every rival passes, and what tiny checkpoints are made of.

A test file of a rival saves a checkpoint of tiny size, with random weights, by transformers' own `save_pretrained`.
The entry runs on it with `weights=FOLDER`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

import harness
from baselines.entry import Entry, Setting
from baselines.examples import Examples
from harness.cli import main
from harness.core import Answer, Kind, Model, Phrase, Question, Ticket
from harness.errors import CheckpointError
from harness.evaluation import scoring
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.request import Request, Scorers
from harness.store.folder import run_folder
from tests.baselines.test_hub import reach
from tests.hub import serving

WORDS = """a the of on is in and to left right top bottom red green blue yellow white black small large circle square
    triangle star cross image photo what which color how many are there yes no question short answer : ? . , ;"""
SIZES = ((40, 24), (24, 40), (64, 64), (20, 20), (90, 30))  # width, height: wide, tall, larger and smaller

# The tasks of the miniature that ask each kind of question.
CAPTION = ("coco_caption", "flickr30k_caption", "nocaps", "textcaps")
VQA = ("vqav2", "textvqa", "vizwiz", "docvqa")
DETECT = ("coco_detection", "lvis_minival")
FIND = ("odinw_miniature", "rf100_vl_miniature")
REFER = ("refcoco", "refcoco_plus", "refcocog")


def word_tokenizer(special: Sequence[str], words: str = WORDS, *, lines: bool = False) -> Tokenizer:
    """A tokenizer of words: the special tokens have the first ids, in their order; other words are `<unk>`.

    With `lines`, a line break is a word, the last one.
    """
    tokens = [*special, "<unk>", *words.split(), *(["\n"] if lines else [])]
    vocabulary = {token: place for place, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if lines:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]+|\n"), "removed", invert=True)
    tokenizer.add_special_tokens([*special, "<unk>"])
    return tokenizer


def images(root: Path) -> list[str]:
    """Images of every shape in SIZES, as files below `root`: their names."""
    for number, (width, height) in enumerate(SIZES):
        image = Image.new("RGB", (width, height), (40 * number, 200 - 30 * number, 90))
        image.paste((250, 240, 30), (width // 4, height // 4, width // 2, height // 2))
        image.save(root / f"{number}.png")
    return [f"{number}.png" for number in range(len(SIZES))]


def question(image: str, kind: Kind, text: str) -> Question:
    """A question of any kind about an image: `text` is its words."""
    words = text.split()
    if kind in ("detect", "find"):
        return Question(image, None, kind, phrases=tuple(Phrase(word) for word in words))
    if kind == "ground":
        ends = [len(" ".join(words[: count + 1])) for count in range(len(words))]
        spans = tuple(Phrase(word, end - len(word), end) for word, end in zip(words, ends, strict=True))
        return Question(image, None, kind, text=text, phrases=spans)
    region = (2.0, 3.0, 15.0, 17.0) if kind in ("name", "describe", "outline", "read") else None
    return Question(image, None, kind, region=region, text=text)


def questions(root: Path, kinds: frozenset[Kind]) -> list[tuple[Ticket, Question]]:
    """Questions of every kind, short and long ones, about images of every shape, by ticket."""
    texts = ("red circle", "the small blue square on the left of a large red circle")
    asked = [question(image, kind, text) for text in texts for kind in sorted(kinds) for image in images(root)]
    return list(enumerate(asked))


def answers(model: Model, asked: Sequence[tuple[Ticket, Question]]) -> dict[Ticket, Answer]:
    """The answers by ticket; a Failure fails the test."""
    results = dict(model.answer(asked))
    assert results.keys() == {ticket for ticket, _ in asked}
    for result in results.values():
        assert isinstance(result, Answer), result
    return results  # type: ignore[return-value]


def essence(answer: Answer) -> tuple[Any, ...]:
    """What must not depend on the other questions of a batch; scores are rounded to four places."""
    value = answer.value
    for name in ("region_scores", "label_scores"):
        scores = getattr(value, name, None)
        if scores is not None:
            value = replace(value, **{name: tuple(round(score, 4) for score in scores)})  # type: ignore[type-var]
    return answer.raw, value, answer.tokens, answer.truncated


def check_batches(
    entry: Entry, weights: Path, root: Path, *,
    limit: int | None = None, examples: Examples | None = None, **options: Any,
) -> None:  # fmt: skip
    """An answer alone, in a batch beside longer ones, and in another order, is the same."""
    asked = questions(root, entry.kinds or frozenset())[:limit]
    setting = Setting(root=root, weights=str(weights), device="cpu", examples=examples)
    alone = entry.load(replace(setting, batch_size=1), **options)
    batched = entry.load(replace(setting, batch_size=7), **options)
    assert alone.fingerprint == batched.fingerprint
    expected = {ticket: essence(answer) for ticket, answer in answers(alone, asked).items()}
    assert {ticket: essence(answer) for ticket, answer in answers(batched, asked).items()} == expected
    backwards = answers(batched, asked[::-1])
    assert {ticket: essence(answer) for ticket, answer in backwards.items()} == expected


def check_hub(entry: Entry, weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry's repository is downloaded with every file that it needs, and needs no network the second time.

    While it is gated, the error has the advice, without a token (401) and with one (403).
    """
    expected = entry.load(Setting(weights=str(weights), device="cpu")).fingerprint
    with serving({(entry.repo, entry.revision): weights}) as hub:
        reach(hub.url, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("baselines.hub._UNREACHABLE", set())
        assert entry.at_hand() == ""
        hub.gated.add(entry.repo)
        for token in ("", "hf_of_a_stranger"):
            monkeypatch.setenv("HF_TOKEN", token)
            with pytest.raises(CheckpointError, match=f"(?s){entry.repo}.*licence.*HF_TOKEN"):
                entry.load(Setting(device="cpu"))
        hub.gated.clear()
        assert entry.load(Setting(device="cpu")).fingerprint == expected
        hub.asked.clear()
        assert entry.load(Setting(device="cpu")).fingerprint == expected
        assert hub.asked == []
        assert entry.at_hand() != ""


def check_commands(entry: Entry, weights: Path, folder: Path, answered: Sequence[str], **options: Any) -> None:
    """`run` and `score` over every task of the miniature; `compare` with the floor and `report` for the first and last.

    `answered` are the tasks that must be evaluated; every other one must be left out.
    """
    results, shown = folder / "results", folder / "shown"
    quick = Scorers(meteor=False)  # METEOR needs a second for each run
    common: dict[str, Any] = {"data": "miniature", "limit": 3, "scorers": quick}
    settings = {"weights": str(weights), "device": "cpu", "name": "tiny", "options": options}
    request = Request(task="all", model=entry, out=results, **common, **settings)
    runs = [evaluated.run for evaluated in evaluate_each(request)]
    assert {run.spec.task for run in runs} == set(answered)
    for run in runs:
        assert (run.status, run.counts["failed"]) == ("partial", 0)
        assert run.counts["answered"] == run.counts["samples"] > 0
        again, _ = scoring.score_again(run.id, data="miniature", out=results, scorers=quick)
        assert again.metrics == run.metrics
    for run in {run.id: run for run in (runs[0], runs[-1])}.values():
        shutil.copytree(run_folder(results, run.spec), run_folder(shown, run.spec))
        floor = harness.evaluate(
            run.spec.task, "oracle" if run.spec.task == "icdar2015" else "whole-image", out=shown, **common
        )
        [comparison] = harness.compare(run, floor, data="miniature", out=shown)
        assert comparison.metrics
    assert main(["report", "--results", str(shown), "--to", str(folder / "report"), "--pictures", "1"]) == 0
    assert "tiny" in (folder / "report/index.html").read_text()
