"""Learned tokenizers: their ids, their round trip, and the file that keeps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.core import Question, Sample, Size, Text
from harness.florence2.locations import ADDED_TOKENS, BINS
from harness.training import vocabulary
from harness.training.vocabulary import learn, tokenizer_of

WEIGHTS = Path(__file__).parents[3] / "baselines/weights/florence2-nano"
SIZE = Size(8, 8)


@dataclass(frozen=True, slots=True)
class Scene:
    """The part of a scene that words are learned from."""

    samples: tuple[Sample[Text], ...]


def test_learn_gives_special_tokens_first_and_added_tokens_last() -> None:
    tokenizer = learn(["the red car left of the blue house"] * 5, 1400)
    # 4 special tokens, 256 bytes and 1,024 added tokens leave room for 116 merges; the sentence needs fewer.
    assert 4 + 256 + len(ADDED_TOKENS) < tokenizer.size <= 1400
    ids = {token: tokenizer.backend.token_to_id(token) for token in ("<s>", "<pad>", "</s>", "<unk>")}
    assert list(ids.values()) == [0, 1, 2, 3]
    added = [tokenizer.backend.token_to_id(token) for token in ADDED_TOKENS]
    assert added == list(range(tokenizer.size - len(ADDED_TOKENS), tokenizer.size))
    assert tokenizer.backend.token_to_id("<loc_999>") == tokenizer.first_bin + BINS - 1


def test_learn_merges_frequent_words_and_keeps_all_bytes() -> None:
    tokenizer = learn(["the red car"] * 5, 1400)
    assert len(tokenizer.backend.encode("the red car", add_special_tokens=False).ids) == 3
    for text in ("the red car", "Zürich, 猫 and `~`"):
        ids = tokenizer.backend.encode(text, add_special_tokens=False).ids
        assert 3 not in ids  # <unk>
        assert tokenizer.backend.decode(ids) == text


def test_learn_has_at_most_the_given_size() -> None:
    texts = [f"word{number} " * 2 for number in range(500)]
    assert learn(texts, 1320).size == 1320


def test_tokenizer_of_is_learned_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "SCENES", 5)
    seeds = []

    def source(seed: int) -> Scene:
        seeds.append(seed)
        return Scene((Sample("0", Question("", SIZE, "caption"), Text(("a cat",)), ""),))

    first = tokenizer_of(1400, [source], 70, tmp_path, None)  # type: ignore[list-item]
    assert seeds == [70, 71, 72, 73, 74]
    again = tokenizer_of(1400, [source], 70, tmp_path, None)  # type: ignore[list-item]
    assert len(seeds) == 5
    assert again.backend.to_str() == first.backend.to_str()
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_tokenizer_of_several_sources_has_words_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def source(word: str) -> Callable[[int], Scene]:
        return lambda seed: Scene((Sample("0", Question("", SIZE, "caption"), Text((f"a {word}",)), ""),))

    monkeypatch.setattr(vocabulary, "SCENES", 5)
    tokenizer = tokenizer_of(1400, [source("cat"), source("xylophone")], 0, tmp_path, None)  # type: ignore[list-item]
    for text in ("a cat", "a xylophone"):
        assert len(tokenizer.backend.encode(text, add_special_tokens=False).ids) == 2


def test_tokenizer_of_a_start_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    def source(seed: int) -> object:
        pytest.fail("a tokenizer was learned")

    tokenizer = tokenizer_of(1400, [source], 0, tmp_path, WEIGHTS)  # type: ignore[list-item]
    assert tokenizer.backend.to_str() == vocabulary.Tokenizer.load(WEIGHTS).backend.to_str()
    assert not list(tmp_path.iterdir())
