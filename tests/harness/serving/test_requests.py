"""Requests for chat completions: what is answered, and what is refused with its reason."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.florence2 import prompts
from harness.serving.requests import BadRequest, Written, events, expand, parse, response

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)


def uri(image: Image.Image | None = None, mime: str = "image/png") -> str:
    out = BytesIO()
    (image or Image.fromarray(PIXELS)).save(out, "PNG")
    return f"data:{mime};base64,{base64.b64encode(out.getvalue()).decode()}"


def body(text: str = "<CAPTION>", image: str | None = None, **changes: Any) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": image or uri()}}, {"type": "text", "text": text}]
    return {"model": "m", "messages": [{"role": "user", "content": parts}], **changes}


def parsed(value: object) -> Any:
    return parse(json.dumps(value).encode(), "m", 100)


def test_request_gives_pixels_and_expanded_prompt() -> None:
    completion = parsed(body(temperature=0, n=1, max_tokens=100, seed=3, top_p=1, logprobs=True))
    assert np.array_equal(np.asarray(completion.image), PIXELS)
    assert (completion.prompt, completion.logprobs, completion.stream) == ("What does the image describe?", True, False)


@pytest.mark.parametrize(("text", "prompt"), [
    ("<OD>", "Locate the objects with category name in the image."),
    (" <OD>\n", "Locate the objects with category name in the image."),
    ("<CAPTION_TO_PHRASE_GROUNDING> the cat ", "Locate the phrases in the caption: the cat"),
    ("<CAPTION_TO_PHRASE_GROUNDING>a {} {0}", "Locate the phrases in the caption: a {} {0}"),
    ("<REGION_TO_CATEGORY><loc_1><loc_2><loc_3><loc_4>", "What is the region <loc_1><loc_2><loc_3><loc_4>?"),
    ("Is {} here?", "Is {} here?"),
    ("What is <CAPTION>?", "What is <CAPTION>?"),
    ("", ""),
])  # fmt: skip
def test_task_token_is_expanded_and_other_text_is_the_prompt(text: str, prompt: str) -> None:
    assert expand(text) == prompt


def test_every_prompt_of_the_published_processor_is_reached() -> None:
    assert {token: expand(token) for token in prompts.PROMPTS} == dict(prompts.PROMPTS)
    for token, template in prompts.PROMPTS_WITH_INPUT.items():
        assert expand(f"{token}a dog") == template.format(input="a dog")


@pytest.mark.parametrize("address", [
    "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "/etc/passwd", "", "data:text/plain;base64,AA==",
    "data:image/png,AA", "data:image/png;base64", "DATA:image/png;base64,AA==",
])  # fmt: skip
def test_address_that_is_no_data_uri_is_refused_and_not_fetched(address: str) -> None:
    with pytest.raises(BadRequest, match="no other address is fetched"):
        parsed(body(image=address or " "))


@pytest.mark.parametrize(
    "encoded", ["AA", "%%%%", base64.b64encode(b"no image").decode(), uri().partition(",")[2][:200]]
)
def test_image_that_cannot_be_decoded_is_refused(encoded: str) -> None:
    with pytest.raises(BadRequest, match="cannot be decoded"):
        parsed(body(image=f"data:image/png;base64,{encoded}"))


def test_image_of_too_many_pixels_is_refused_by_its_header() -> None:
    large = Image.new("1", (10_000, 5_001))  # 50,010,000 pixels in a few kilobytes
    with pytest.raises(BadRequest, match=r"10000 x 5001 pixels; at most 50,000,000"):
        parsed(body(image=uri(large)))


@pytest.mark.parametrize(("value", "message"), [
    ([], "not a JSON object"),
    ({}, "the model is 'm', not 'None'"),
    (body(model="other"), "the model is 'm', not 'other'"),
    (body(messages=None), "one message"),
    (body(messages=[]), "one message"),
    (body(messages=[{"role": "system", "content": "x"}, {"role": "user", "content": "x"}]), "one message"),
    (body(messages=[{"role": "assistant", "content": "x"}]), "one message, whose role is 'user'"),
    (body(messages=[{"role": "user", "content": "x"}]), "one image; this one has 0"),
    (body(messages=[{"role": "user", "content": None}]), "neither a text nor an image_url"),
    (body(messages=[{"role": "user", "content": [3]}]), "neither a text nor an image_url"),
    (body(messages=[{"role": "user", "content": [{"type": "input_audio"}]}]), "neither a text nor an image_url"),
    (body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 3}}]}]), "neither a text"),
    (body(text="x" * 100_001), "100,001 letters"),
    (body(temperature=0.7), "temperature must be 0"),
    (body(n=2), "n must be 1"),
    (body(max_tokens=5), "max_tokens must be at least 100"),
    (body(max_completion_tokens="5"), "max_completion_tokens must be at least 100"),
    (body(stop=["a"]), "stop is not supported"),
    (body(tools=[{}]), "tools is not supported"),
    (body(top_logprobs=3), "top_logprobs is not supported"),
    (body(frequency_penalty=1), "frequency_penalty must be 0"),
])  # fmt: skip
def test_request_that_cannot_be_answered_is_refused_with_its_reason(value: object, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        parsed(value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_body_that_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(BadRequest, match="the body is not JSON"):
        parse(content, "m", 100)


def test_response_has_text_finish_usage_and_log_probabilities() -> None:
    written = Written("a cat", [("a", b"a", -0.5), (" cat", b" cat", -1.0)], 7, truncated=True)
    value = response(written, parsed(body(logprobs=True)), "m")
    [choice] = value["choices"]
    assert (value["model"], value["usage"]) == ("m", {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})
    assert (choice["message"]["content"], choice["finish_reason"]) == ("a cat", "length")
    assert [entry["logprob"] for entry in choice["logprobs"]["content"]] == [-0.5, -1.0]
    assert response(written, parsed(body()), "m")["choices"][0]["logprobs"] is None
    assert [len(event["choices"]) for event in events(written, parsed(body(stream=True)), "m")] == [1, 1]
    options = {"include_usage": True}
    assert events(written, parsed(body(stream=True, stream_options=options)), "m")[-1]["usage"]["total_tokens"] == 9
