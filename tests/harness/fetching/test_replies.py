"""What a server's response says."""

from __future__ import annotations

import time
from email.utils import formatdate
from types import SimpleNamespace

import pytest

from harness.fetching import replies
from harness.fetching.replies import NotFetched, TryAgain, unlike
from tests.published_files import zipped


def response(status: int = 200, *history: SimpleNamespace, **headers: str) -> SimpleNamespace:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return SimpleNamespace(status_code=status, headers=named, history=history)


@pytest.mark.parametrize(
    ("kind", "head", "message"),
    [
        ("zip", zipped({"a": b"b"}), ""),
        ("zip", b"\x1f\x8b\x08", "not a zip archive"),
        ("images", b"\xff\xd8\xff\xe0", ""),
        ("images", b"\x89PNG\r\n", ""),
        ("images", b"{}", "not an image"),
        ("file", b"{}", ""),
        ("file", b"  <!DOCTYPE HTML>", "an HTML page"),
    ],
)
def test_first_bytes_tell_what_cannot_be_the_file(kind: str, head: bytes, message: str) -> None:
    assert (message in unlike(kind, head)) and bool(message) == bool(unlike(kind, head))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (response(200, content_length="70"), (0, 70)),
        (response(200), (0, None)),
        (response(200, content_length="-1"), (0, None)),
        (response(206, content_range="bytes 10-69/70", content_length="60"), (10, 70)),
        (response(206, content_range="bytes 10-69/*", content_length="60"), (10, None)),
        (response(416, content_range="bytes */70"), (0, 70)),
        (response(206, content_length="60"), (-1, 60)),  # a part that does not say which
        (response(206, content_range="pages 1-2/3"), (-1, None)),
    ],
)
def test_range_is_read_from_the_headers(given: SimpleNamespace, expected: tuple[int, int | None]) -> None:
    assert replies.byte_range(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (response(etag='"1"', last_modified="then"), '"1"'),
        (response(etag='W/"1"', last_modified="then"), "then"),  # a weak one does not hold for ranges
        (response(last_modified="then"), "then"),
        (response(), ""),
    ],
)
def test_validator_of_a_range_is_strong(given: SimpleNamespace, expected: str) -> None:
    assert replies.strong_validator(given) == expected


def test_sum_of_the_hub_is_in_the_redirect() -> None:
    linked = response(302, x_linked_etag=f'"{"ab" * 32}"')
    assert replies.linked_sha256(response(200, linked, etag='"1"')) == "ab" * 32
    assert replies.linked_sha256(response(200, x_linked_etag='"of a small file"')) == ""


def test_retry_after_is_seconds_or_a_date() -> None:
    for text, low, high in (
        ("7", 7, 7),
        (formatdate(time.time() + 60, usegmt=True), 55, 61),
        ("soon", 0, 0),
        ("", 0, 0),
    ):
        with pytest.raises(TryAgain) as error:
            replies.refuse("https://a", response(503, retry_after=text))
        assert low <= error.value.after <= high


def test_refusal_of_the_hub_names_the_terms() -> None:
    with pytest.raises(NotFetched, match=r"accept the terms at https://huggingface\.co/datasets/o/n and set HF_TOKEN"):
        replies.refuse("https://huggingface.co/datasets/o/n/resolve/main/x", response(401))
