"""What a server's response says: whether it gives the file, which part of it, and what else to do."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

from harness.errors import ResourceError

HUB = "https://huggingface.co/"
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
MAGIC = {
    "zip": (b"PK\x03\x04", b"PK\x05\x06"),
    "images": (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*"),
}
HTML = (b"<!doctype html", b"<html", b"<head")


class NotFetched(ResourceError):
    """An address, or every address of a source, did not give the file; the message says why."""


class TryAgain(Exception):
    """A failed try that another may mend; `after` is the server's Retry-After, in seconds.

    `unreachable`: there was no connection to the host.
    """

    def __init__(self, reason: str, after: float = 0.0, *, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.after, self.unreachable = after, unreachable


def unlike(kind: str, head: bytes) -> str:
    """Why the first bytes cannot be of a file of this kind; "" if they can."""
    if head.lstrip()[:20].lower().startswith(HTML):
        return "an HTML page came, as of a login or an error, in place of the file"
    if kind in MAGIC and not head.startswith(MAGIC[kind]):
        what = "a zip archive" if kind == "zip" else "an image"
        return f"what came is not {what}; it begins with {head[:12]!r}"
    return ""


def refuse(url: str, response: Any) -> None:
    """What a status other than 200, 206 and 416 means: NotFetched or TryAgain."""
    status = response.status_code
    if status in (200, 206, 416):
        return
    if status in (401, 403, 407):
        hub = url.startswith(HUB) or "x-error-code" in response.headers
        page = url.partition("/resolve/")[0]
        todo = f"; accept the terms at {page} and set HF_TOKEN" if hub else ", or the file is gone"
        raise NotFetched(f"{url}: status {status}, access needs an account{todo}")
    if status in RETRIED:
        raise TryAgain(f"status {status}", _seconds(response.headers.get("retry-after", "")))
    raise NotFetched(f"{url}: status {status}" + (", there is no such file" if status in (404, 410) else ""))


def byte_range(response: Any) -> tuple[int, int | None]:
    """The first byte of a response, and the size of the whole file; None where it is not stated."""
    stated = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("content-range", ""))
    if response.status_code in (206, 416) and stated:
        return int(stated[1] or 0), int(stated[2]) if stated[2].isdigit() else None
    length = response.headers.get("content-length", "")
    return (0 if response.status_code == 200 else -1), int(length) if length.isdigit() else None


def strong_validator(response: Any) -> str:
    """The strong ETag of a response, else its Last-Modified, else "" (RFC 9110, 13.1.5)."""
    etag = str(response.headers.get("etag", ""))
    return etag if etag and not etag.startswith("W/") else str(response.headers.get("last-modified", ""))


def linked_sha256(response: Any) -> str:
    """The sha256 of a large file, as the hub states it in the response that redirects to the content."""
    for each in (*response.history, response):
        linked = str(each.headers.get("x-linked-etag", "")).strip('"')
        if re.fullmatch("[0-9a-f]{64}", linked):
            return linked
    return ""


def _seconds(text: str) -> float:
    """Retry-After in seconds: a number, or a date; 0 for anything else."""
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
