"""Pickles of plain data, as Python 2 or 3 wrote them, without running anything in them.

Read are numbers, strings, lists, tuples and dicts.  Any other object is made by naming a class or function, and every
such name is refused: there is no list of safe ones.

A Python 2 `str` may hold any bytes.  `load` reads it as UTF-8 and escapes what is not; `text` makes a string of that
sort into text, Latin-1 where it was not UTF-8.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, NoReturn

# What a broken pickle raises, besides ValueError and what derives from it.
_BROKEN = (pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError, MemoryError, OverflowError)


def load(data: bytes) -> Any:
    """The data in a pickle of any protocol; ValueError where it is torn or holds anything but plain data."""
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="utf-8", errors="surrogateescape").load()
    except _BROKEN as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def text(value: str) -> str:
    """A string from `load` as text; ValueError where it holds half a character (a lone surrogate)."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler to which every class and function is unknown."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"the pickle holds code ({module}.{name}) and is not read")
