"""The record of fetched files."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.errors import DataError
from harness.fetching.ledger import Fetched, Ledger


def test_entries_of_several_threads_are_all_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.read() == {}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ledger.add(f"https://a/{number}", Fetched("ab", number)), range(40)))
    assert {url: entry.bytes for url, entry in Ledger(tmp_path).read().items()} == {
        f"https://a/{number}": number for number in range(40)
    }


def test_forgotten_entry_is_gone_and_others_stay(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for name in ("a", "b"):
        ledger.add(name, Fetched("ab", 1))
    ledger.forget("a")
    ledger.forget("c")
    assert list(ledger.read()) == ["b"]


def test_entry_of_a_file_is_its_sum_and_size(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert Fetched.of(tmp_path / "x") == Fetched(hashlib.sha256(b"abc").hexdigest(), 3)


@pytest.mark.parametrize("text", ["", "[]", '{"https://a": {"sha256": 3}}', '{"https://a": {"sha256": "ab"}'])
def test_malformed_record_is_named(tmp_path: Path, text: str) -> None:
    ledger = Ledger(tmp_path)
    ledger.path.parent.mkdir()
    ledger.path.write_text(text)
    with pytest.raises(DataError, match=r"fetched\.json is not a record of fetched files"):
        ledger.read()
