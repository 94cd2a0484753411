"""Random damage to good inputs: to bytes, and to values of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, -0.0, 2**31, 2**63, 10**30, -(10**30), 1e308, 1e-308, float("nan"), float("inf"),
    "", " ", "0", "1e9", "../../etc/passwd", "/etc/passwd", "COM1", "a" * 300, "\0", "\x1b[2J", "\u2028", "\ud800",
    "🐕", "<script>", "=1+1", "%s{0}", [], {}, [[]], [None], {"": None}, [1, 2, 3, 4], ["a"], {"id": 1},
)  # fmt: skip
PIECES = (
    b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\x1f\x8b", b"{", b"}", b"[", b"]", b'"', b",", b":", b"-", b"9" * 40, b"\n",
    b"\\u0000", b"\\ud800", b"NaN", b"null", b"\xe2\x80\xa8", b"\r\n", b"1e999", b"(", b"<", b"]]>", b"#", b"/",
)  # fmt: skip


def damaged_bytes(good: bytes, draw: Random, pieces: Sequence[bytes] = PIECES) -> bytes:
    """One to three changes: bytes replaced, removed, doubled or inserted, or the end cut off."""
    data = bytearray(good)
    for _ in range(draw.randint(1, 3)):
        at, length = draw.randint(0, len(data)), draw.choice((1, 1, 1, 2, 4, 16, 64))
        match draw.randrange(6):
            case 0:
                data[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length]
            case 3:
                data[at:at] = draw.choice(pieces)
            case 4:
                data[at : at + length] = draw.choice(pieces)
            case _:
                if draw.random() < 0.3:
                    del data[at:]
    return bytes(data)


def damaged_json(good: bytes, draw: Random) -> bytes:
    """One to three changes of values of a JSON document: another value, a missing or repeated entry, deeper nesting."""
    document = [json.loads(good)]
    for _ in range(draw.randint(1, 3)):
        parent: Any = document
        key: Any = 0
        while isinstance(parent[key], dict | list) and parent[key] and draw.random() < 0.9:
            parent = parent[key]
            key = draw.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        match draw.randrange(6):
            case 0 if parent is not document:
                del parent[key]
                if not parent:
                    continue
            case 1 if isinstance(parent, list):
                parent.insert(key, parent[key])
            case 2:
                parent[key] = [parent[key]]
            case 3 if isinstance(parent, dict):
                parent[draw.choice(("", "id", "image_id", key + "_"))] = deepcopy(draw.choice(VALUES))
            case _:
                parent[key] = deepcopy(draw.choice(VALUES))
    return json.dumps(document[0], ensure_ascii=True).encode()


def damaged(good: bytes, draw: Random) -> bytes:
    """A JSON document damaged in its values or in its bytes."""
    return damaged_json(good, draw) if draw.random() < 0.7 else damaged_bytes(good, draw)
