"""Answers as models write them: well-formed, half-formed and absurd."""

from __future__ import annotations

import json
import math
import time

import pytest

from baselines.endpoint.parsing import Reply, Token, items, read
from baselines.endpoint.prompts import TABLES, Ask
from baselines.endpoint.spaces import Space, Watch
from harness.core import Boxes, Grounded, Kind, Phrase, Question, Size, Text, Value
from harness.florence2 import locations

SIZE = Size(200, 100)
CATS = (Phrase("cat"), Phrase("dog"))


def value_of(
    text: str | list[str], read_as: str = "json", kind: Kind = "detect", space: str = "thousand", over: str = "once"
) -> Value | None:
    chosen = Space(space)  # type: ignore[arg-type]
    replies = [Reply(part) for part in ([text] if isinstance(text, str) else text)]
    ask = Ask("{}", read_as, over)  # type: ignore[arg-type]
    return read(Question("x.jpg", SIZE, kind, text="cat", phrases=CATS), ask, replies, chosen, SIZE, Watch(chosen))


CAT = '{"bbox_2d": [100, 200, 500, 1000], "label": "cat"}'
AT = (20.0, 20.0, 100.0, 100.0)  # thousandths of 200 x 100 pixels


@pytest.mark.parametrize("text", [
    f"[{CAT}]",
    f"```json\n[\n\t{CAT}\n]\n```",
    f"Here is the cat:\n```json\n[{CAT}]\n```\nIt is brown.",
    CAT,
    f"[{CAT}, {{\"bbox_2d\": [100, 200, 50",  # cut off
    f"[{CAT}, {{\"bbox_2d\": [1, 2, 3], \"label\": \"dog\"}}]",  # three numbers
    f"[{CAT}, {{\"bbox_2d\": [1, 2, 3, NaN], \"label\": \"dog\"}}, {{\"bbox_2d\": [1, 2, 3, 1e999]}}]",
    f"[{CAT}, {{\"bbox_2d\": [true, 2, 3, 4]}}, {{\"bbox_2d\": \"1 2 3 4\"}}, {{\"bbox_2d\": null}}]",
    f"[{CAT}, {{\"bbox_2d\": [1, 2, 3, 1{'0' * 400}]}}]",  # too large for a float
    f'{{"objects": [{CAT}]}}',  # inside another object
    f"{{oops}} [{CAT}]",
])  # fmt: skip
def test_json_with_one_whole_box_gives_it_alone(text: str) -> None:
    assert value_of(text) == Boxes((AT,), ("cat",))


def test_label_of_another_kind_or_half_a_letter_becomes_a_text() -> None:
    boxes = '[{"bbox_2d": [0, 0, 1000, 1000], "label": 7}, {"bbox_2d": [0, 0, 1000, 1000], "label": " a\\ud800 "}]'
    assert value_of(boxes) == Boxes(((0, 0, 200, 100), (0, 0, 200, 100)), ("", "a?"))


@pytest.mark.parametrize("text", ["[]", "```json\n[]\n```", " [ ] ", "[[]]"])
def test_empty_list_is_an_answer_without_boxes(text: str) -> None:
    assert value_of(text) == Boxes(())


@pytest.mark.parametrize("text", ["", "There is no cat.", "{", "[[1, 2, 3, 4]]", "null", "{}", "[1, 2, 3, 4]"])
def test_text_that_is_no_json_of_boxes_is_unparsable(text: str) -> None:
    assert value_of(text) is None


@pytest.mark.parametrize("text", ["{" * 200_000, '{"a":' * 40_000, "[" * 200_000, "[1," * 100_000, "<ref>" * 60_000])
@pytest.mark.parametrize("form", ["json", "lists"])
def test_absurd_text_is_unparsable_in_bounded_time(text: str, form: str) -> None:
    start = time.monotonic()
    assert value_of(text, form) is None
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("text", [
    "[[100, 200, 500, 1000]]",
    "<ref>cat</ref><box>[[100, 200, 500, 1000]]</box>",
    "The box is [100,200,500,1000].",
    "[[100.0, 200.0, 500, 1000], [1, 2",
    "[[1, 2, 3], [100, 200, 500, 1000]]",
])  # fmt: skip
def test_lists_of_four_numbers_are_boxes(text: str) -> None:
    value = value_of(text, "lists", "refer")
    assert isinstance(value, Boxes)
    assert value.boxes == (AT,)


def test_label_of_a_list_is_the_reference_before_it() -> None:
    text = "<ref>cat</ref><box>[[0, 0, 1000, 1000], [0, 0, 500, 500]]</box><ref>dog</ref><box>[[0,0,0,0]]</box>"
    value = value_of(text, "lists")
    assert isinstance(value, Boxes)
    assert value.labels == ("cat", "cat", "dog")


def test_phrases_asked_one_by_one_keep_their_boxes_apart() -> None:
    grounded = value_of([f"[{CAT}]", "I see no dog."], kind="ground", over="each")
    assert grounded == Grounded(((AT,), ()))
    found = value_of(["[]", '[{"bbox_2d": [0, 0, 1000, 1000], "label": "something"}]'], kind="find", over="each")
    assert found == Boxes(((0, 0, 200, 100),), ("dog",))  # the label is the phrase that was asked
    assert value_of(["?", "?"], kind="ground", over="each") is None


def test_proposals_have_no_labels() -> None:
    assert value_of(f"[{CAT}]", kind="propose") == Boxes((AT,))


def test_text_is_the_whole_answer_without_outer_space() -> None:
    assert value_of(" two\ncats \n", "text", "caption") == Text(("two\ncats",))
    assert value_of(" \n", "text", "caption") is None


def test_refusal_is_marked_and_has_no_value() -> None:
    question = Question("x.jpg", SIZE, "caption")
    reply = Reply("no", refusal="I cannot look at people")
    watch = Watch(Space("none"))
    assert read(question, Ask("{}", "text"), [reply], Space("none"), SIZE, watch) is None
    assert reply.raw == "[refused: I cannot look at people] no"


def test_scores_are_the_mean_log_probability_of_a_box_s_tokens() -> None:
    parts = ["[", '{"bbox_2d": [0, 0, ', "1000, 1000]}", ", ", '{"bbox_2d": [0, 0, 1, 1]}', "]"]
    logs = [-9.0, -0.5, -1.5, -9.0, -2.0, -9.0]
    tokens = tuple(Token(part, part.encode(), log) for part, log in zip(parts, logs, strict=True))
    reply, space = Reply("".join(parts), tokens=tokens), Space("thousand")
    value = read(Question("x", SIZE, "detect"), Ask("{}", "json"), [reply], space, SIZE, Watch(space))
    assert isinstance(value, Boxes) and value.region_scores is not None
    assert value.region_scores == pytest.approx((math.exp(-1.0), math.exp(-2.0)))  # means of (-0.5, -1.5) and (-2)
    other = Reply("".join(parts), tokens=tokens[:-1])  # tokens of another text: no scores rather than wrong ones
    value = read(Question("x", SIZE, "detect"), Ask("{}", "json"), [other], space, SIZE, Watch(space))
    assert isinstance(value, Boxes) and value.region_scores is None


def test_florence2_tokens_give_items_with_their_log_probabilities() -> None:
    letters = "é".encode()
    tokens = (
        Token("</s>", b"", -9.0), Token("caf", b"caf", -1.0), Token("Ã", letters[:1], -2.0),
        Token("©", letters[1:], -3.0), Token("<loc_7>", b"", -0.5), Token("<and>", b"", -0.1),
        Token("a <loc_1>", b"x", 0),
    )  # fmt: skip
    assert items(Reply("", tokens=tokens)) == [
        locations.Item("café", log_probs=(-1.0, -2.0, -3.0)),
        locations.Item("<loc_7>", bin=7, log_probs=(-0.5,)),
        locations.Item("<and>", mark=True),
        locations.Item("x", log_probs=(0,)),  # not a token of Florence-2: a text, whatever it looks like
    ]
    assert items(Reply("cat<loc_1>")) == locations.items("cat<loc_1>")


@pytest.mark.parametrize("kind", sorted(TABLES["florence2"].asks))
def test_florence2_table_reads_every_kind_as_the_predictor_does(kind: Kind) -> None:
    from harness.florence2 import reading

    texts = ["cat<loc_1><loc_2><loc_300><loc_400>", "dog"]
    ask = TABLES["florence2"].asks[kind]
    question = Question("x.jpg", SIZE, kind, region=(0, 0, 9, 9), text="cat", phrases=CATS)
    texts = texts if ask.over == "each" else texts[:1]
    expected = reading.read_answer(question, [locations.items(text) for text in texts], SIZE)
    assert value_of(texts, "florence2", kind, "none", ask.over) == expected


def test_json_escapes_of_control_characters_stay_in_labels_as_data() -> None:
    text = json.dumps([{"bbox_2d": [0, 0, 1000, 1000], "label": "\x1b[31mcat"}])
    value = value_of(text)
    assert isinstance(value, Boxes) and value.labels == ("\x1b[31mcat",)
