"""Pickles: plain data of every protocol is read, and code is refused."""

from __future__ import annotations

import contextlib
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


# ---------------------------------------------------------------------------- memory

SHARED: list[Any] = [1]
for _ in range(40):
    SHARED = [SHARED] * 10  # 10**40 items without sharing
CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(("data", "message"), [
    (b"\x80\x02Nr\xff\xff\xff\x07.", "a memo index beyond the pickle, at byte 3 of 9"),  # Python's unpickler: 2 GiB
    (b"Np268435455\n.", "a memo index beyond the pickle"),  # the same as text
    (b"Np+268435455\n.", "a memo index beyond the pickle"),
    (b"\x80\x04\x95\x07\0\0\0\0\0\0\0Nr\xff\xff\xff\x07.", "a memo index beyond the pickle"),  # within a frame
    (b"X\x04\0\0\0abcdr\xff\xff\xff\x07.", "a memo index beyond the pickle"),  # after a string
    (b"\x80\x02" + b"N0" * 70_000 + b"Nr\xff\xff\xff\x00.", "a memo index beyond the pickle"),
    (b"\x80\x05\x96" + (1 << 31).to_bytes(8, "little") + b".", "the pickle is truncated"),
    (b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b".", "the pickle is truncated"),
    (b"\x80\x04\x8d" + b"\xff" * 8 + b"abc.", "the pickle is truncated"),
    (b"T\xff\xff\xff\xff.", "the pickle is truncated"),
    (pickle.dumps(SHARED, 2), "refers to its own parts too often"),
    (pickle.dumps(SHARED, 0), "refers to its own parts too often"),
    (pickle.dumps(["x" * 5000] * 5000, 2), "refers to its own parts too often"),  # 25 MB of text
    (pickle.dumps(CYCLE, 2), "refers to its own parts too often"),
    (b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".", "recursion"),
])  # fmt: skip
def test_load_refuses_pickle_that_would_take_more_memory_than_its_length(data: bytes, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            pickles.load(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000 + 100 * len(data)
    finally:
        tracemalloc.stop()


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.text(min_size=300),
        lambda values: st.lists(values) | st.lists(values).map(tuple) | st.dictionaries(st.text(), values),
    ),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_load_of_any_plain_data_equals_pickle(value: Any, protocol: int) -> None:
    assert pickles.load(pickle.dumps(value, protocol)) == value


@given(st.data(), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_load_of_mutated_pickle_raises_value_error_or_returns_data(data: st.DataObject, protocol: int) -> None:
    whole = bytearray(pickle.dumps(PLAIN, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        pickles.load(bytes(whole))


def test_memo_of_a_large_pickle_is_read() -> None:
    """More than 65,536 and more than 2**24 bytes, so every form of an index occurs."""
    value = [[f"{place} {'x' * 200}"] for place in range(90_000)]
    for protocol in (0, 2):
        data = pickle.dumps(value, protocol)
        assert len(data) > 1 << 24
        assert pickles.load(data) == value


# ---------------------------------------------------------------------------- numpy's numbers

NUMBERS = [
    np.int64(300), np.int64(-(2**63)), np.int32(-7), np.uint8(200), np.uint64(2**64 - 1), np.int16(-2), np.bool_(True),
    np.float64(0.1), np.float32(1.5), np.float16(-0.25),
    np.array(-300, ">i8")[()], np.array(1.5, ">f4").astype(">f4")[()], np.int64(0),
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_load_returns_numbers_of_numpy_as_python_numbers(protocol: int) -> None:
    loaded = pickles.load(pickle.dumps({"ann_id": NUMBERS, "again": NUMBERS}, protocol))
    assert loaded == {"ann_id": [number.item() for number in NUMBERS], "again": [number.item() for number in NUMBERS]}
    assert [type(value) for value in loaded["ann_id"]] == [type(number.item()) for number in NUMBERS]


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])  # numpy 1 and 2
def test_load_returns_numbers_that_numpy_wrote_in_python_2(module: bytes) -> None:
    written = (
        b"\x80\x02c" + module + b"\nscalar\nq\x01cnumpy\ndtype\nq\x02U\x02i8K\x00K\x01\x87Rq\x03"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbU\x08\xc8\x00\x00\x00\x00\x00\x00\x00\x86R."
    )
    assert pickles.load(written) == 200  # the byte 0xc8 is not UTF-8


@pytest.mark.parametrize("value", [
    np.zeros(3), np.array(["a"]), np.dtype([("a", "i8")]), np.str_("a"), np.complex64(1), np.datetime64("2020-01-01"),
    np.int64, np.zeros, np.random.default_rng(0), np.ma.masked,
])  # fmt: skip
def test_load_refuses_everything_else_of_numpy(value: object) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(ValueError, match=r"holds code|holds the numpy type|several fields"):
            pickles.load(pickle.dumps([value], protocol))


DTYPE = b"cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR"
SCALAR = b"cnumpy.core.multiarray\nscalar\n"


@pytest.mark.parametrize("data", [
    SCALAR + b"(" + DTYPE + b"S'abc'\ntR.",  # three bytes for eight
    SCALAR + b"(" + DTYPE + b"(lp1\ntR.",
    SCALAR + b"(" + DTYPE + b"I9999999999\ntR.",
    SCALAR + b"(S'i8'\nS'12345678'\ntR.",  # a string for the type
    SCALAR + b"(tR.",
    SCALAR + b"(" + DTYPE + b"(I3\nS'?'\nNNNtbS'12345678'\ntR.",  # an unknown byte order
    SCALAR + b"(" + DTYPE + b"I3\nbS'12345678'\ntR.",  # a state that is no tuple
    b"cnumpy\ndtype\n(lp0\ntR.",
    b"cnumpy\ndtype\n((lp0\ntR.",  # a list for the name
    b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
    b"c_codecs\nencode\n(I3\nS'latin1'\ntR.",
    b"c_codecs\ndecode\n(S'a'\nS'latin1'\ntR.",
    b"cnumpy\nload\n(S'x'\ntR.",
])  # fmt: skip
def test_load_refuses_malformed_numbers_of_numpy(data: bytes) -> None:
    with pytest.raises(ValueError):
        pickles.load(data)


def test_load_keeps_no_attribute_that_a_pickle_sets() -> None:
    pickles.load(SCALAR + b"(dS'__defaults__'\nI1\nsb.")  # sets an attribute of the name's object
    assert pickles.load(pickle.dumps(np.int64(5), 2)) == 5
    assert not hasattr(pickles._number, "__wrapped__") and pickles._number.__defaults__ is None
