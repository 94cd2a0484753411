"""Plain data from any pickle, code from none."""

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
def test_plain_data_of_every_protocol(protocol: int) -> None:
    assert pickles.load(pickle.dumps(PLAIN, protocol)) == PLAIN


# As Python 2 wrote [{'sent': 'caf\xc3\xa9', 'raw': u'caf\xe9', 'id': 7L}]: byte strings, unicode and long, by hand.
SENT, RAW, BYTES, UNICODE = b"U\x04sent", b"X\x03\x00\x00\x00raw", b"U\x05caf\xc3\xa9", b"X\x05\x00\x00\x00caf\xc3\xa9"
PYTHON_2 = {
    0: b"(lp0\n(dp1\nS'sent'\np2\nS'caf\\xc3\\xa9'\np3\nsVraw\np4\nVcaf\\u00e9\np5\nsS'id'\np6\nL7L\nsa.",
    1: b"]q\x00}q\x01(" + SENT + BYTES + RAW + UNICODE + b"U\x02idL7L\nua.",
    2: b"\x80\x02]q\x00}q\x01(" + SENT + BYTES + RAW + UNICODE + b"U\x02id\x8a\x01\x07ua.",
}


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_python_2_strings(protocol: int) -> None:
    [record] = pickles.load(PYTHON_2[protocol])
    assert record["raw"] == "café"
    assert pickles.text(record["sent"]) == "café"
    assert record["id"] == 7


def test_python_2_bytes_that_are_not_utf8() -> None:
    assert pickles.text(pickles.load(b"S'caf\\xe9'\n.")) == "café"  # Latin-1


class Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    for harmful in (Runs(tmp_path / "ran"), [{"deep": (1, Runs(tmp_path / "ran"))}]):
        with pytest.raises(ValueError, match="holds code"):
            pickles.load(pickle.dumps(harmful, protocol))
    assert not (tmp_path / "ran").exists()


def test_any_class_is_refused_however_harmless() -> None:
    for value in (Size(1, 2), {1, 2}.__class__, complex(1, 2), slice(1)):
        with pytest.raises(ValueError, match="holds code"):
            pickles.load(pickle.dumps(value, 2))


@pytest.mark.parametrize(
    "data", [b"", b".", b"garbage", pickle.dumps(PLAIN)[:-3], pickle.dumps(PLAIN)[:10], b"\x80\x63."]
)
def test_a_torn_pickle_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        pickles.load(data)


@pytest.mark.parametrize("data", [
    b"cos\nsystem\n(S'false'\ntR.",  # as a call
    b"(lp0\n(cos\nsystem\nta.",  # named only, and within a list
    b"(S'false'\nios\nsystem\n.",  # as Python 2 wrote instances (INST)
    b"(cos\nsystem\nS'false'\no.",  # the same, in binary (OBJ)
    b"\x80\x02ccopy_reg\n_reconstructor\n.",
])  # fmt: skip
def test_code_as_python_2_named_it(data: bytes) -> None:
    with pytest.raises(ValueError, match="holds code"):
        pickles.load(data)


def test_half_a_character_is_no_text() -> None:
    assert pickles.text(pickles.load(b"U\x02\xe9\x21.")) == "é!"  # a byte that is not UTF-8 is Latin-1
    with pytest.raises(ValueError, match="surrogate"):
        pickles.text(pickles.load(b"V\\ud83d\n."))  # half of an emoji, as a narrow Python 2 could write it
