"""The parts of OpenAI's chat completions that are used: the bodies of requests, and responses as replies.

A response is checked field by field, since a server may send anything.  Half characters become "?".
Source: OpenAI's API reference, "Chat"; the same in vLLM, SGLang, LMDeploy and llama.cpp.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

from baselines.endpoint.parsing import Reply, Token

MALFORMED = (ValueError, RecursionError)
MOST_TOKENS = 1 << 30
LONGEST_LINE = 1 << 22  # bytes of an event


class BadReply(Exception):
    """A response that is not of the protocol."""


def whole(content: bytes, begin: float) -> Reply:
    """The reply in a response; `begin` is when the request started (`time.monotonic`).  BadReply if there is none."""
    body = _json(content)
    choice, message = _choice(body, "message")
    seconds = time.monotonic() - begin
    text = message.get("content")
    if text is not None and not isinstance(text, str):
        raise BadReply(f"the content of the answer is {type(text).__name__}, not a text")
    return _reply(text or "", choice, message.get("refusal"), body.get("usage"), _tokens(choice), seconds, seconds)


def streamed(chunks: Iterable[bytes], begin: float) -> Reply:
    """The reply in a response of server-sent events.  BadReply if it ends without `[DONE]` or a finish_reason."""
    texts: list[str] = []
    tokens: list[Token] = []
    last: dict[str, Any] = {}
    usage: Any = None
    refusal: Any = None
    first, ended = 0.0, False
    for data in _events(chunks):
        if data == b"[DONE]":
            ended = True
            break
        body = _json(data)
        usage = body.get("usage") or usage
        if not body.get("choices") and body.get("usage"):
            continue  # the last event has the usage only
        choice, delta = _choice(body, "delta")
        text = delta.get("content")
        if isinstance(text, str) and text:
            first = first or time.monotonic() - begin
            texts.append(text)
        refusal = delta.get("refusal") or refusal
        tokens.extend(_tokens(choice))
        if choice.get("finish_reason") is not None:
            last = choice
    if not ended and not last:
        raise BadReply("the stream of the answer was cut off")
    seconds = time.monotonic() - begin
    return _reply("".join(texts), last, refusal, usage, tuple(tokens), seconds, first or seconds)


def message(content: bytes) -> str:
    """What a server says in the body of an error: OpenAI's error message, or the beginning of the body."""
    text = content[:4096].decode("utf-8", "replace")
    try:
        error = json.loads(content).get("error", {})
        said = error.get("message") if isinstance(error, dict) else error
    except (*MALFORMED, AttributeError):
        said = None
    return said if isinstance(said, str) else " ".join(text.split())


def _reply(
    text: str, choice: dict[str, Any], refusal: Any, usage: Any, tokens: tuple[Token, ...], seconds: float, first: float
) -> Reply:
    finish = choice.get("finish_reason")
    generated = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if not isinstance(generated, int) or isinstance(generated, bool) or not 0 <= generated <= MOST_TOKENS:
        generated = len(tokens)
    why = refusal if isinstance(refusal, str) else ""
    if not why and finish == "content_filter":
        why = "content filter"
    return Reply(_whole_letters(text), finish == "length", _whole_letters(why), generated, tokens, seconds, first)


def _choice(body: dict[str, Any], part: str) -> tuple[dict[str, Any], dict[str, Any]]:
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get(part) if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise BadReply(f"the answer has no choices[0].{part}: {_beginning(json.dumps(body).encode())}")
    return choice, message


def _tokens(choice: dict[str, Any]) -> tuple[Token, ...]:
    """The tokens with their log-probabilities; () where one of them is malformed or there are none."""
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    tokens = []
    for entry in content if isinstance(content, list) else ():
        text = entry.get("token") if isinstance(entry, dict) else None
        log_prob = entry.get("logprob") if isinstance(entry, dict) else None
        if not isinstance(text, str) or isinstance(log_prob, bool) or not isinstance(log_prob, int | float):
            return ()
        data = entry.get("bytes")
        try:
            part = bytes(data) if isinstance(data, list) else text.encode("utf-8", "replace")
            number = float(log_prob)
        except (ValueError, TypeError, OverflowError):
            return ()
        if not math.isfinite(number):
            return ()
        tokens.append(Token(_whole_letters(text), part, number))
    return tuple(tokens)


def _events(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each server-sent event."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LONGEST_LINE:
            raise BadReply(f"an event of the stream is longer than {LONGEST_LINE:,} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                yield line.removeprefix(b"data:").strip()
    if rest.startswith(b"data:"):
        yield rest.removeprefix(b"data:").strip()


def _json(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except MALFORMED:
        raise BadReply(f"the answer is not JSON; it begins with {_beginning(content)}") from None
    if not isinstance(body, dict):
        raise BadReply(f"the answer is not a JSON object; it begins with {_beginning(content)}")
    return body


def _beginning(content: bytes) -> str:
    return repr(content[:60].decode("utf-8", "replace"))


def _whole_letters(text: str) -> str:
    """The text without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode()
