"""A request for a chat completion as an image and a prompt, and the reply as a response.

The text of the request is the prompt.  A text that is one of Florence-2's task tokens, or begins with one that takes an
input, is expanded as the published processor expands it:

    <CAPTION>                                     What does the image describe?
    <CAPTION_TO_PHRASE_GROUNDING>the cat          Locate the phrases in the caption: the cat

Any other text is the prompt itself, as for visual questions.  Images come as data URIs only: no address is fetched.
What the server cannot do is refused (BadRequest), never ignored: sampling, several answers, a shorter answer.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from harness.errors import DataError
from harness.florence2 import prompts
from harness.images import FORMATS, UNDECODABLE, decode

MOST_BYTES = 64 << 20  # of a request
MOST_PIXELS = 50_000_000  # of an image
MOST_LETTERS = 100_000  # of a prompt
REFUSED = ("stop", "tools", "tool_choice", "functions", "response_format", "logit_bias", "top_logprobs")
MALFORMED = (ValueError, RecursionError)


class BadRequest(Exception):
    """A request that cannot be answered, with its HTTP status."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Completion:
    """A request: the image in RGB, the prompt, and the form of the response."""

    image: Image.Image
    prompt: str
    logprobs: bool = False
    stream: bool = False
    usage: bool = False  # in a stream


@dataclass(frozen=True, slots=True)
class Written:
    """An answer of the model: its text, the tokens with bytes and log-probabilities, and the counts."""

    text: str
    tokens: Sequence[tuple[str, bytes, float]]
    prompt_tokens: int
    truncated: bool


def parse(content: bytes, served: str, longest: int) -> Completion:
    """The completion that the body of a request asks for; BadRequest for any other body.

    `served` is the name of the model; `longest` is the largest number of tokens of an answer.
    """
    try:
        body = json.loads(content)
    except MALFORMED as error:
        raise BadRequest(f"the body is not JSON: {type(error).__name__}") from None
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    if body.get("model") != served:
        raise BadRequest(f"the model is {served!r}, not {str(body.get('model'))[:100]!r}", 404)
    _refuse(body, longest)
    texts, images = _parts(body.get("messages"))
    if len(images) != 1:
        raise BadRequest(f"a request has one image; this one has {len(images)}")
    text = "\n".join(texts)
    if len(text) > MOST_LETTERS:
        raise BadRequest(f"the text has {len(text):,} letters; at most {MOST_LETTERS:,}")
    options = body.get("stream_options")
    return Completion(
        _image(images[0]),
        expand(text.encode("utf-8", "replace").decode()),
        logprobs=body.get("logprobs") is True,
        stream=body.get("stream") is True,
        usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def expand(text: str) -> str:
    """The prompt of a text; see the module's docstring."""
    for token in prompts.PROMPTS_WITH_INPUT:
        if text.startswith(token):
            return prompts.expand(f"{token}{{}}", text.removeprefix(token))
    return prompts.PROMPTS.get(text.strip(), text)


def _refuse(body: Mapping[str, Any], longest: int) -> None:
    """BadRequest for a setting that this server does not have."""
    for name in REFUSED:
        if body.get(name):
            raise BadRequest(f"{name} is not supported")
    for name, allowed in (("temperature", 0), ("n", 1), ("presence_penalty", 0), ("frequency_penalty", 0)):
        if body.get(name) not in (None, allowed):
            raise BadRequest(f"{name} must be {allowed}: answers are decoded without sampling, one for each request")
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.get(name)
        if value is not None and not (isinstance(value, int) and value >= longest):
            raise BadRequest(f"{name} must be at least {longest}; `serve --max-new-tokens` shortens answers")


def _parts(messages: Any) -> tuple[list[str], list[str]]:
    """The texts and the addresses of images of the one message of the user."""
    message = messages[0] if isinstance(messages, list) and len(messages) == 1 else None
    if not isinstance(message, dict) or message.get("role") != "user":
        raise BadRequest("a request has one message, whose role is 'user'")
    content = message.get("content")
    texts: list[str] = []
    images: list[str] = []
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        kind = part.get("type") if isinstance(part, dict) else None
        value = part.get(kind) if isinstance(kind, str) else None
        if kind == "image_url" and isinstance(value, dict):
            value = value.get("url")
        if kind not in ("text", "image_url") or not isinstance(value, str):
            raise BadRequest("a part of the message is neither a text nor an image_url")
        (texts if kind == "text" else images).append(value)
    return texts, images


def _image(address: str) -> Image.Image:
    head, comma, encoded = address.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise BadRequest("an image is a data URI (data:image/png;base64,...); no other address is fetched")
    try:
        data = base64.b64decode(encoded, validate=True)
        with Image.open(BytesIO(data), formats=FORMATS) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise BadRequest(f"the image has {opened.width} x {opened.height} pixels; at most {MOST_PIXELS:,}")
        return decode(data, "of the request")
    except (*UNDECODABLE, DataError) as error:
        raise BadRequest(f"the image cannot be decoded: {error}"[:300]) from None


def response(written: Written, completion: Completion, served: str) -> dict[str, Any]:
    """The response to a completion that is not streamed."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": written.text},
        "finish_reason": _finish(written),
        "logprobs": _logprobs(written) if completion.logprobs else None,
    }
    return {**_head("chat.completion", served), "choices": [choice], "usage": _usage(written)}


def events(written: Written, completion: Completion, served: str) -> list[dict[str, Any]]:
    """The events of a stream.  The whole text is one event: with beam search, no token is certain before the last."""
    head = _head("chat.completion.chunk", served)
    text = {
        "index": 0,
        "delta": {"role": "assistant", "content": written.text},
        "finish_reason": None,
        "logprobs": _logprobs(written) if completion.logprobs else None,
    }
    end = {"index": 0, "delta": {}, "finish_reason": _finish(written), "logprobs": None}
    usage = [{**head, "choices": [], "usage": _usage(written)}] if completion.usage else []
    return [{**head, "choices": [text]}, {**head, "choices": [end]}, *usage]


def _head(kind: str, served: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": served}


def _finish(written: Written) -> str:
    return "length" if written.truncated else "stop"


def _usage(written: Written) -> dict[str, int]:
    count = len(written.tokens)
    total = written.prompt_tokens + count
    return {"prompt_tokens": written.prompt_tokens, "completion_tokens": count, "total_tokens": total}


def _logprobs(written: Written) -> dict[str, Any]:
    entries = [
        {"token": text, "logprob": log_prob, "bytes": list(data), "top_logprobs": []}
        for text, data, log_prob in written.tokens
    ]
    return {"content": entries}
