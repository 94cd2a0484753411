"""Responses of chat completions as replies: whole and streamed, well-formed and not."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from baselines.endpoint.parsing import Token
from baselines.endpoint.protocol import BadReply, message, streamed, whole


def body(content: object = "a cat", finish: str = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": finish}], **more}


def read(value: object) -> Any:
    return whole(json.dumps(value).encode(), time.monotonic())


def test_reply_has_text_token_count_and_finish() -> None:
    reply = read(body(usage={"completion_tokens": 7}))
    assert (reply.text, reply.generated, reply.truncated, reply.refusal) == ("a cat", 7, False, "")
    assert read(body(finish="length")).truncated


def test_content_none_is_an_empty_text() -> None:
    assert read(body(None)).text == ""


def test_refusal_is_kept_apart_from_text() -> None:
    refused = {"choices": [{"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"}]}
    assert (read(refused).text, read(refused).refusal) == ("", "I cannot")
    assert read(body("half", "content_filter")).refusal == "content filter"


@pytest.mark.parametrize("usage", [None, 3, {}, {"completion_tokens": -1}, {"completion_tokens": "7"},
                                   {"completion_tokens": True}, {"completion_tokens": 10**30}])  # fmt: skip
def test_token_count_that_cannot_be_is_zero(usage: object) -> None:
    assert read(body(usage=usage)).generated == 0


@pytest.mark.parametrize("value", [
    [], "text", None, {}, {"choices": []}, {"choices": None}, {"choices": {}}, {"choices": [None]},
    {"choices": [{}]}, {"choices": [{"message": None}]}, {"choices": [{"message": "a cat"}]}, body(["a"]), body({}),
    {"error": {"message": "overloaded"}},
])  # fmt: skip
def test_response_without_a_message_is_a_bad_reply(value: object) -> None:
    with pytest.raises(BadReply):
        read(value)


@pytest.mark.parametrize("content", [b"", b"<html><body>Bad gateway</body></html>", b"\xff\xfe", b"[" * 100_000,
                                     b'{"choices": [' + b"9" * 10_000 + b"]}"])  # fmt: skip
def test_response_that_is_no_json_is_a_bad_reply(content: bytes) -> None:
    with pytest.raises(BadReply):
        whole(content, 0.0)


def test_half_character_becomes_a_question_mark() -> None:
    content = b'{"choices": [{"message": {"content": "a\\ud800b"}, "finish_reason": "stop"}]}'
    assert whole(content, 0.0).text == "a?b"


def with_tokens(*entries: object) -> dict[str, Any]:
    value = body("ab")
    value["choices"][0]["logprobs"] = {"content": list(entries)}
    return value


def test_log_probabilities_are_read_with_bytes_or_without() -> None:
    entries = [{"token": "a", "logprob": -0.5, "bytes": [97]}, {"token": "b", "logprob": -1, "bytes": None}]
    assert read(with_tokens(*entries)).tokens == (Token("a", b"a", -0.5), Token("b", b"b", -1.0))


@pytest.mark.parametrize("entry", [
    None, {}, {"token": 1, "logprob": -1}, {"token": "b", "logprob": None}, {"token": "b", "logprob": "x"},
    {"token": "b", "logprob": -1, "bytes": [999]}, {"token": "b", "logprob": -1, "bytes": ["x"]},
    {"token": "b", "logprob": float("-inf")}, {"token": "b", "logprob": 10**400}, {"token": "b", "logprob": True},
])  # fmt: skip
def test_malformed_log_probability_leaves_the_text_without_scores(entry: object) -> None:
    reply = read(with_tokens({"token": "a", "logprob": -0.5}, entry))
    assert (reply.text, reply.tokens) == ("ab", ())


def test_bytes_that_are_a_number_take_no_memory() -> None:
    assert read(with_tokens({"token": "a", "logprob": -0.5, "bytes": 10**12})).tokens == (Token("a", b"a", -0.5),)


def events(*values: object, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(value)}\n\n" for value in values]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def delta(text: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


STREAM = events(delta(None), delta("a "), delta("cat", "length"), {"choices": [], "usage": {"completion_tokens": 2}})


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_stream_in_pieces_of_any_size_is_the_same_reply(size: int) -> None:
    reply = streamed((STREAM[place : place + size] for place in range(0, len(STREAM), size)), time.monotonic())
    assert (reply.text, reply.truncated, reply.generated) == ("a cat", True, 2)
    assert 0 < reply.first <= reply.seconds


def test_first_text_is_timed_when_it_comes() -> None:
    def chunks() -> Any:
        yield events(delta(None), done=False)
        time.sleep(0.1)
        yield events(delta("a"), done=False)
        time.sleep(0.2)
        yield events(delta("b", "stop"))

    reply = streamed(chunks(), time.monotonic())
    assert 0.1 <= reply.first < 0.25 and reply.seconds >= 0.3


@pytest.mark.parametrize("content", [
    b"", events(delta("a cat"), done=False), b"data: {", b"data: []\n\n", b"<html></html>", events({"choices": []}),
    b"data: " + b"x" * (1 << 23),
])  # fmt: skip
def test_stream_that_ends_early_or_is_malformed_is_a_bad_reply(content: bytes) -> None:
    with pytest.raises(BadReply):
        streamed([content], 0.0)


@pytest.mark.parametrize(("content", "said"), [
    (b'{"error": {"message": "no such model"}}', "no such model"),
    (b'{"error": "overloaded"}', "overloaded"),
    (b"<html>\n<body>", "<html> <body>"),
    (b"[1]", "[1]"), (b"", ""), (b"\xff", "�"),
])  # fmt: skip
def test_message_of_an_error_is_openai_s_or_the_beginning(content: bytes, said: str) -> None:
    assert message(content) == said
