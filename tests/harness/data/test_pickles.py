"""Pickles: plain data of every protocol is read, and code is refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from harness.core import Size
from harness.data import pickles

PLAIN: Any = [{"sent": "left one", "ids": (1, 2, -3), "box": [0.5, 1e9], "none": None, "true": True, "empty": {}}]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_load_returns_plain_data_of_every_protocol(protocol: int) -> None:
    assert pickles.load(pickle.dumps(PLAIN, protocol)) == PLAIN


# [{'sent': 'caf\xc3\xa9', 'raw': u'caf\xe9', 'id': 7L}] as Python 2 writes byte strings, unicode and long.
SENT, RAW, BYTES, UNICODE = b"U\x04sent", b"X\x03\x00\x00\x00raw", b"U\x05caf\xc3\xa9", b"X\x05\x00\x00\x00caf\xc3\xa9"
PYTHON_2 = {
    0: b"(lp0\n(dp1\nS'sent'\np2\nS'caf\\xc3\\xa9'\np3\nsVraw\np4\nVcaf\\u00e9\np5\nsS'id'\np6\nL7L\nsa.",
    1: b"]q\x00}q\x01(" + SENT + BYTES + RAW + UNICODE + b"U\x02idL7L\nua.",
    2: b"\x80\x02]q\x00}q\x01(" + SENT + BYTES + RAW + UNICODE + b"U\x02id\x8a\x01\x07ua.",
}


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_text_of_python_2_strings_is_utf8(protocol: int) -> None:
    [record] = pickles.load(PYTHON_2[protocol])
    assert record["raw"] == "café"
    assert pickles.text(record["sent"]) == "café"
    assert record["id"] == 7


def test_text_of_python_2_bytes_that_are_not_utf8_is_latin_1() -> None:
    assert pickles.text(pickles.load(b"S'caf\\xe9'\n.")) == "café"  # Latin-1


class CreatesFolder:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_load_refuses_code_without_running_it(tmp_path: Path, protocol: int) -> None:
    for harmful in (CreatesFolder(tmp_path / "ran"), [{"deep": (1, CreatesFolder(tmp_path / "ran"))}]):
        with pytest.raises(ValueError, match="holds code"):
            pickles.load(pickle.dumps(harmful, protocol))
    assert not (tmp_path / "ran").exists()


def test_load_refuses_every_class() -> None:
    for value in (Size(1, 2), {1, 2}.__class__, complex(1, 2), slice(1)):
        with pytest.raises(ValueError, match="holds code"):
            pickles.load(pickle.dumps(value, 2))


@pytest.mark.parametrize(
    "data", [b"", b".", b"garbage", pickle.dumps(PLAIN)[:-3], pickle.dumps(PLAIN)[:10], b"\x80\x63."]
)
def test_load_of_damaged_pickle_raises_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        pickles.load(data)


@pytest.mark.parametrize("data", [
    b"cos\nsystem\n(S'false'\ntR.",  # a call
    b"(lp0\n(cos\nsystem\nta.",  # a name without a call, within a list
    b"(S'false'\nios\nsystem\n.",  # an instance as Python 2 writes it (INST)
    b"(cos\nsystem\nS'false'\no.",  # the same in binary form (OBJ)
    b"\x80\x02ccopy_reg\n_reconstructor\n.",
])  # fmt: skip
def test_load_refuses_every_form_of_code_of_python_2(data: bytes) -> None:
    with pytest.raises(ValueError, match="holds code"):
        pickles.load(data)


def test_text_with_lone_surrogate_raises() -> None:
    assert pickles.text(pickles.load(b"U\x02\xe9\x21.")) == "é!"  # an invalid byte of UTF-8 is taken for Latin-1
    with pytest.raises(ValueError, match="surrogate"):
        pickles.text(pickles.load(b"V\\ud83d\n."))  # half of an emoji, as a narrow build of Python 2 could write
