"""Data as script files.  A page that is opened from disk may run scripts beside it, but may not fetch files.

A chunk is one call: `harnessData("run/3f2a", "{...}")`.  Its second argument is JSON in a string, which a browser
parses faster than the same object as source code, and only when a page needs it.
"""

from __future__ import annotations

import json
import math
from typing import Any


def script(name: str, payload: Any) -> str:
    """The source of a chunk in ASCII; an undefined number (NaN or infinite) becomes null."""
    return f"harnessData({json.dumps(name)},{json.dumps(encoded(payload))});\n"


def encoded(payload: Any) -> str:
    """A payload as JSON in ASCII; an undefined number becomes null, and a NumPy number a number."""
    try:
        return _ENCODER.encode(payload)
    except ValueError:  # an undefined number, which few payloads have
        return _ENCODER.encode(_finite(payload))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    """A NumPy number as a Python number, any other object as text."""
    return _finite(value.item()) if hasattr(value, "item") else str(value)


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_plain)
