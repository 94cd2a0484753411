"""Reads plain data from pickles of Python 2 and 3, without running any code in them.

Plain data are numbers, strings, lists, tuples and dicts.  A pickle creates any other object by naming a class or a
function.  Every such name is refused; there is no list of safe ones.

A `str` of Python 2 may contain any bytes.  `load` decodes them as UTF-8 and escapes invalid bytes; `text` converts such
a string to text, in Latin-1 if it was not UTF-8.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, NoReturn

# The errors of a damaged pickle, besides ValueError.
_DAMAGED = (pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError, MemoryError, OverflowError)


def load(data: bytes) -> Any:
    """The data of a pickle of any protocol; ValueError if it is damaged, or contains anything but plain data."""
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="utf-8", errors="surrogateescape").load()
    except _DAMAGED as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def text(value: str) -> str:
    """A string from `load` as text; ValueError if it contains half a character (a lone surrogate)."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that refuses every class and function."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"the pickle holds code ({module}.{name}) and is refused")
