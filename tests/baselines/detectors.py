"""Checks that every detector passes, and the tokenizer of BERT's kind that tiny Grounding DINOs need."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertTokenizerFast

import harness
from baselines.entry import Entry, Setting
from harness.core import Answer, Boxes, Grounded
from harness.metrics import coco_eval
from tasks import miniature
from tests.baselines import rivals

SPECIAL_TOKENS = {
    "[PAD]": 0,
    "[UNK]": 100,
    "[CLS]": 101,
    "[SEP]": 102,
    ".": 1012,
    "?": 1029,
}


def bert_tokenizer(words: str = rivals.WORDS) -> Any:
    """A WordPiece tokenizer of the given words and all letters, with the special tokens at the real model's ids.

    Grounding DINO's attention mask is made from these ids (`SPECIAL_TOKENS` of `modeling_grounding_dino.py`): at other
    ids a tiny model would test another mask.
    """
    vocabulary = dict(SPECIAL_TOKENS)
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*words.split(), *letters, *(f"##{letter}" for letter in letters), ",", "-", "(", ")", "/", "_", ":"]
    free = (number for number in range(1030, 3000))
    for piece in dict.fromkeys(piece for piece in pieces if piece not in vocabulary):
        vocabulary[piece] = next(free)
    unused = (number for number in range(1030) if number not in SPECIAL_TOKENS.values())
    vocabulary |= {f"[unused{number}]": number for number in unused}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    ends = [("[CLS]", 101), ("[SEP]", 102)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return BertTokenizerFast(tokenizer_object=tokenizer)


def check_batches(entry: Entry, weights: Path, root: Path, **options: Any) -> None:
    """An answer alone, in a batch beside other images and texts, and in another order, is the same up to rounding."""
    asked = [
        (ticket, question)
        for ticket, question in rivals.questions(root, entry.kinds or frozenset())
        if question.image in ("0.png", "1.png", "2.png")  # wide, tall, and larger than the input
    ]
    alone = entry.load(Setting(root=root, weights=str(weights), device="cpu", batch_size=1), **options)
    batched = entry.load(Setting(root=root, weights=str(weights), device="cpu", batch_size=7), **options)
    assert alone.fingerprint == batched.fingerprint
    expected = rivals.answers(alone, asked)
    together = rivals.answers(batched, asked)
    assert max(answer.batch for answer in together.values()) > 1
    for found in (together, rivals.answers(batched, asked[::-1])):
        for ticket, answer in expected.items():
            assert_equal(found[ticket], answer)


def assert_equal(one: Answer, other: Answer) -> None:
    """The answers are equal up to rounding: boxes of nearly equal scores may change places, or their place at the end.

    Nothing is compared within 1e-5 of the lowest score, where the cut at a number of boxes falls.
    """
    assert (one.raw, one.truncated, type(one.value)) == (other.raw, other.truncated, type(other.value))
    if isinstance(one.value, Grounded) and isinstance(other.value, Grounded):
        for mine, theirs in zip(one.value.boxes, other.value.boxes, strict=True):
            assert sorted(mine) == [pytest.approx(box, abs=0.01) for box in sorted(theirs)]
        return
    assert isinstance(one.value, Boxes) and isinstance(other.value, Boxes)
    mine, theirs = _records(one.value), _records(other.value)
    assert [score for score, *_ in mine] == pytest.approx([score for score, *_ in theirs], abs=1e-5)
    floor = min((score for score, *_ in theirs), default=0.0) + 1e-5
    for score, label, box in mine:
        if score > floor:
            assert any(
                label == name and abs(score - value) < 1e-5 and box == pytest.approx(where, abs=0.01)
                for value, name, where in theirs
            ), (score, label, box)


def _records(value: Boxes) -> list[tuple[float, str, Any]]:
    assert value.region_scores is not None
    return list(zip(value.region_scores, value.labels, value.boxes, strict=True))


def assert_boxes(value: Any, expected: Iterable[tuple[float, str, Sequence[float]]], *, atol: float = 0.01) -> None:
    """The boxes of an answer are the expected (score, label, box), in their order."""
    assert isinstance(value, Boxes) and value.region_scores is not None
    expected = list(expected)
    assert list(value.labels) == [label for _, label, _ in expected]
    assert list(value.region_scores) == pytest.approx([score for score, *_ in expected], abs=1e-5)
    for box, (*_, other) in zip(value.boxes, expected, strict=True):
        assert box == pytest.approx(tuple(other), abs=atol)
    assert sorted(value.region_scores, reverse=True) == list(value.region_scores)


def check_coco_eval(entry: Entry, weights: Path, folder: Path, *, hits: bool = False) -> None:
    """The twelve numbers of a run on the miniature equal those of pycocotools on the exported result file.

    `hits`: some boxes of the random model must meet an object.
    """
    run = harness.evaluate(
        "coco_detection", entry, data="miniature", out=folder / "results", weights=str(weights), device="cpu",
        name="tiny", limit=8, export=folder / "export",
    )  # fmt: skip
    [results] = (folder / "export").rglob("*.json")
    annotations = miniature.ensure() / "coco/annotations/instances_val2017.json"
    expected = dict(zip(coco_eval.NAMES, official(annotations, results), strict=True))
    for name, value in expected.items():
        if value >= 0:  # -1: the miniature has no object of this size
            assert run.metrics[name].value == pytest.approx(value, abs=1e-9), name
    assert expected["AR100"] > 0 or not hits


def official(annotations: Path, results: Path) -> list[float]:
    """The twelve numbers of pycocotools over the images that have results, in percent."""
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        found = truth.loadRes(str(results))
        evaluator = COCOeval(truth, found, "bbox")
        evaluator.params.imgIds = sorted({result["image_id"] for result in found.dataset["annotations"]})
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [100 * float(number) for number in evaluator.stats]
