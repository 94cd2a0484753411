"""Phrases: the published blacklist, chunks of real sentences, and every rule at its bound."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.core import Box, Boxes
from harness.data_engine.phrases import (
    BLACKLIST,
    NOT_THINGS,
    Phrases,
    is_blacklisted,
    names_scenery,
    noun_chunks,
    reason_against,
)
from tests.harness.data_engine.rows import GROUNDER, ORIGINS, PERSON, phrase, reasons, record, text

SENTENCE = "A man in the park throws a red ball to it, and the blue sky is in the background."
CAPTION = text(SENTENCE)
SMALL: Box = (10, 10, 30, 30)
WHOLE: Box = (0, 0, 100, 100)


def test_published_list_has_its_72_phrases() -> None:
    """The published list has 100 entries: 28 of them repeat (in transformers' converter of Florence-2, 2025)."""
    assert len(BLACKLIST) == 72
    assert {"I", "a group", "other objects", "lots", "a set", "one another", "the image", "its"} <= BLACKLIST
    assert "the picture" not in BLACKLIST and "the background" not in BLACKLIST


def test_published_list_filters_as_transformers_does() -> None:
    """transformers' post-processor with this list as its configuration drops exactly these phrases."""
    from transformers.models.florence2.processing_florence2 import Florence2PostProcessor

    class Tokenizer:
        all_special_tokens = ("</s>", "<s>", "<pad>")

    config = {"phrase_grounding": {"banned_grounding_tokens": sorted(BLACKLIST)}}
    processor = Florence2PostProcessor(config, Tokenizer())
    phrases = ["it", "a dog", "the image", "the picture", "a group", "a group of dogs", "lots", "one"]
    written = "".join(f"{each}<loc_1><loc_2><loc_3><loc_4>" for each in phrases)
    kept = [each["cat_name"] for each in processor.parse_phrase_grounding_from_text_and_spans(written, (10, 10))]
    assert [each for each in phrases if not is_blacklisted(each)] == kept


def test_chunks_of_a_sentence_are_spans_that_may_name_a_thing() -> None:
    """ "it" is blacklisted and "the background" is a place; the other four noun chunks stay."""
    [chunks] = noun_chunks([SENTENCE])
    assert [chunk.text for chunk in chunks] == ["A man", "the park", "a red ball", "the blue sky"]
    assert all(SENTENCE[chunk.start : chunk.end] == chunk.text for chunk in chunks)


def test_chunks_of_texts_are_in_their_order() -> None:
    found = noun_chunks(["", "A dog.", "It is there."])
    assert [[chunk.text for chunk in chunks] for chunks in found] == [[], ["A dog"], []]


@pytest.mark.parametrize("words", ["the left", "The  Left", "left", "a variety", "this picture", "a close-up", "both"])
def test_phrase_of_our_list_has_a_reason(words: str) -> None:
    assert reason_against(words)


@pytest.mark.parametrize("words", ["a left shoe", "a photo frame", "a dog", "the left dog", "a group of dogs", "the"])
def test_phrase_that_may_name_a_thing_has_none(words: str) -> None:
    assert reason_against(words) == ""


def test_lists_are_lower_case_without_determiners_and_apart() -> None:
    assert all(words == words.casefold() and reason_against(words) for words in NOT_THINGS)
    assert not {words.casefold() for words in BLACKLIST} & NOT_THINGS.keys()


@pytest.mark.parametrize(
    ("words", "boxes", "fields", "rule"),
    [
        ("a red ball", [SMALL], {"score": 0.25}, ""),
        ("a red ball", [SMALL], {"score": 0.24}, "score"),
        ("a red ball", [SMALL], {"score": None}, ""),
        ("it", [SMALL], {}, "blacklist"),
        ("the background", [SMALL], {}, "not_a_thing"),
        ("a red ball", [], {}, "empty"),
        ("a red ball", [(5, 5, 5, 9)], {}, "form"),
        ("a red ball", [(9, 5, 5, 9)], {}, "form"),
        ("a red ball", [WHOLE], {}, "whole"),
        ("a red ball", [(0, 0, 100, 95)], {}, ""),
        ("the blue sky", [WHOLE], {}, ""),
        ("the park", [WHOLE], {}, ""),
        ("A man", [WHOLE], {}, "whole"),
        ("A man", [SMALL] * 20, {}, ""),
        ("A man", [SMALL] * 21, {}, "many"),
        ("A man", [SMALL], {"span": (0, 500)}, "span"),
        ("A man", [SMALL], {"span": (3, 3)}, "span"),
        ("A man", [SMALL], {"span": (1, 6)}, "span"),
        ("A man", [SMALL], {"value": Boxes((SMALL,), ("a  MAN",))}, ""),
        ("A man", [SMALL], {"parents": ("another text",)}, "span"),
    ],
)
def test_phrase_that_breaks_a_rule_is_dropped_with_its_name(
    words: str, boxes: list[Box], fields: dict[str, object], rule: str
) -> None:
    each = replace(phrase(CAPTION, words, *boxes), **fields)  # type: ignore[arg-type]
    assert reasons(Phrases()(record(CAPTION, each))) == ({each.id: f"phrases.{rule}"} if rule else {})


def test_thresholds_are_by_origin_name_and_numbers_are_in_the_verdict() -> None:
    each = phrase(CAPTION, "A man", SMALL, score=0.5)
    stage = Phrases(scores={"grounder": 0.6}).for_origins(ORIGINS)
    [verdict] = stage(record(CAPTION, each)).verdicts
    assert (verdict.stage, verdict.measured, verdict.bound) == ("phrases.score", 0.5, 0.6)
    assert not Phrases(scores={"captioner": 0.6}).for_origins(ORIGINS)(record(CAPTION, each)).verdicts


def test_score_of_boxes_has_its_own_threshold() -> None:
    each = phrase(CAPTION, "A man", SMALL, score=0.9)
    measured = record(CAPTION, each).extended(measures={each.id: {"box_score": 0.3}})
    assert reasons(Phrases()(measured)) == {}
    stage = Phrases(box_scores={"grounder": 0.4}).for_origins(ORIGINS)
    assert stage.box_scores == {GROUNDER.id: 0.4}
    assert reasons(stage(measured)) == {each.id: "phrases.box_score"}


def test_phrases_of_people_are_kept() -> None:
    each = phrase(CAPTION, "it", SMALL, origin=PERSON)
    after = Phrases().for_origins(ORIGINS)(record(CAPTION, each))
    assert reasons(after) == {} and after.measures[each.id] == {"boxes": 1, "largest": 0.04}  # 20 x 20 of 100 x 100


def test_scenery_is_told_by_the_head_of_the_phrase() -> None:
    sentence = "A boat on the wide sea passes a sea bird."
    start = sentence.index("a sea bird")
    assert names_scenery(sentence, (sentence.index("the wide sea"), sentence.index(" passes")))
    assert not names_scenery(sentence, (start, start + len("a sea bird")))


@pytest.mark.parametrize("settings", [{"score": 2.0}, {"box_scores": {"a": -0.1}}, {"whole": float("nan")}])
def test_threshold_that_is_no_share_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Phrases(**settings)  # type: ignore[arg-type]
