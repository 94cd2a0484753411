"""Reads plain data from pickles of Python 2 and 3, without running any code in them.

Plain data are numbers, strings, lists, tuples and dicts.  A pickle creates any other object by naming a class or a
function.  Every such name is refused, except the names by which numpy pickles a single number: these stand for
functions of this module, which return a Python number.  Numpy's own code is not called, and its arrays are refused.

A `str` of Python 2 may contain any bytes.  `load` decodes them as UTF-8 and escapes invalid bytes; `text` converts such
a string to text, in Latin-1 if it was not UTF-8.

A pickle's length bounds the memory that it takes.  Python's unpickler allocates a table up to any memo index that a
pickle names, so nine bytes can take 2 GiB; such indices, and lengths beyond the end, are refused before.  A pickle may
also refer to one container many times, so the data is measured as it would be without sharing.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections.abc import Callable
from typing import Any

# The errors of a damaged pickle, besides ValueError.
_DAMAGED = (
    pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError, MemoryError, OverflowError,
    RecursionError,
)  # fmt: skip


def load(data: bytes) -> Any:
    """The data of a pickle of any protocol.

    ValueError if it is damaged, contains anything but plain data, or would take much more memory than its length.
    """
    _refuse_far_indices(data)
    try:
        value = _PlainUnpickler(io.BytesIO(data), encoding="utf-8", errors="surrogateescape").load()
        items = _unshared(value, {})
    except _DAMAGED as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    if items > SHARING * len(data) + 1000:
        raise ValueError(f"the pickle of {len(data):,} bytes refers to its own parts too often")
    return value


def text(value: str) -> str:
    """A string from `load` as text; ValueError if it contains half a character (a lone surrogate)."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


# ---------------------------------------------------------------------------- bounds

CONTAINERS = (list, tuple, dict)
SHARING = 4  # the most items without sharing, per byte of a pickle
# The opcodes whose argument begins with its length: the width of that length in bytes (see the module `pickletools`).
COUNTED = {
    b"U": 1, b"C": 1, b"\x8a": 1, b"\x8c": 1, b"T": 4, b"B": 4, b"X": 4, b"\x8b": 4, b"\x8d": 8, b"\x8e": 8, b"\x96": 8,
}  # fmt: skip
# The opcodes with arguments of one width, or that end with a line; PUT, LONG_BINPUT and STOP are not among them.
OTHERS = (
    rb"[](){}Nabdelostu012QR\x81\x85-\x89\x8f-\x94\x97\x98]|[Khq\x80\x82].|[M\x83]..|[Jj\x84].{4}|[G\x95].{8}"
    rb"|[ILSVFgP][^\n]*+\n|[ci][^\n]*+\n[^\n]*+\n"
)


def _refuse_far_indices(data: bytes) -> None:
    """ValueError if a pickle is truncated, or names a memo index that it cannot have reached.

    A pickler numbers its objects from 0 and writes at least two bytes for each, so an index is below half the length.
    """
    opcodes = re.compile(rb"(?:%s|%s)*+" % (OTHERS, _indices_up_to(len(data) // 2)), re.DOTALL)
    position = 0
    while True:
        run = opcodes.match(data, position)
        position = run.end() if run else position
        opcode = data[position : position + 1]
        if opcode == b".":
            return
        width = COUNTED.get(opcode)
        if width is None:
            where = f"at byte {position:,} of {len(data):,}"
            problem = "a memo index beyond the pickle" if opcode in (b"p", b"r") else f"the opcode {opcode!r}"
            raise ValueError(f"{problem}, {where}" if opcode else "the pickle is truncated")
        start = position + 1 + width
        position = min(start + int.from_bytes(data[position + 1 : start], "little"), len(data))


def _indices_up_to(most: int) -> bytes:
    """A pattern of PUT and LONG_BINPUT with an index of at most `most`, rounded up in its first digit and 16 bits."""
    digits = str(most)
    shorter = rb"|\d{1,%d}" % (len(digits) - 1) if digits[1:] else b""
    put = rb"p(?:[0-%s]\d{%d}%s)\r?\n" % (digits[0].encode(), len(digits) - 1, shorter)
    high, low = min(most >> 24, 255), most >> 16 & 255
    below = rb"|.[\x00-\x%02x]" % (high - 1) if high else b""
    return put + rb"|r..(?:[\x00-\x%02x]\x%02x%s)" % (low, high, below)


def _unshared(value: Any, known: dict[int, int]) -> int:
    """The number of items in plain data if no container were shared; a long string counts as several.

    `known` has the numbers of containers by their `id`.  Larger than any limit for a container that contains itself.
    """
    if type(value) not in CONTAINERS:
        return 1
    if id(value) not in known:
        known[id(value)] = 1 << 62  # while its parts are counted
        count = len(value)
        for parts in (value.keys(), value.values()) if type(value) is dict else (value,):
            for part in parts:
                if type(part) in (str, bytes):  # the usual case, without a call
                    count += len(part) >> 6
                elif type(part) in CONTAINERS:
                    count += _unshared(part, known)
        known[id(value)] = count
    return known[id(value)]


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that refuses every class and function, except those of numpy's numbers."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        make = _NUMBERS.get((module, name))
        if make is None:
            raise pickle.UnpicklingError(f"the pickle holds code ({module}.{name}) and is refused")
        return lambda *arguments: make(*arguments)  # a new one each time, since a pickle may set attributes of it


# ---------------------------------------------------------------------------- numpy's numbers

_FORMATS = {  # numpy's name of a type, without the byte order: the format of `struct`
    "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
    "f2": "e", "f4": "f", "f8": "d",
}  # fmt: skip
_ORDERS = {"<": "<", ">": ">", "=": "=", "|": "<"}  # "|": a single byte


class _NumberType:
    """The type of a number, as numpy pickles it: a name such as "i8", and a state with the byte order."""

    __slots__ = ("format", "order")

    def __init__(self, name: Any, *_: Any) -> None:
        if name not in _FORMATS:
            raise pickle.UnpicklingError(f"the pickle holds the numpy type {str(name)[:20]!r}, which is no number")
        self.format, self.order = _FORMATS[name], "="

    def __setstate__(self, state: Any) -> None:
        """Sets the byte order from numpy's state (version, order, subarray, names, fields, ...)."""
        _, order, *more = state
        if order not in _ORDERS or any(part is not None for part in more[:3]):
            raise pickle.UnpicklingError("the pickle holds a numpy type of several fields")
        self.order = _ORDERS[order]


def _number(kind: Any, data: Any) -> int | float | bool:
    """The Python number of a type and its bytes; Python 2 pickles bytes as a string."""
    if not isinstance(kind, _NumberType):
        raise pickle.UnpicklingError("the pickle holds a numpy number without its type")
    packed = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    form = kind.order + kind.format
    if not isinstance(packed, bytes) or len(packed) != struct.calcsize(form):
        raise pickle.UnpicklingError(f"the pickle holds a numpy number without its {struct.calcsize(form)} bytes")
    value: int | float | bool = struct.unpack(form, packed)[0]
    return value


def _encoded(text: Any, encoding: Any) -> bytes:
    """Bytes, as Python 3 writes them in the protocols of Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("the pickle holds code (_codecs.encode) and is refused")
    return text.encode("latin1")


_NUMBERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("numpy", "dtype"): _NumberType,
    ("_codecs", "encode"): _encoded,
}
