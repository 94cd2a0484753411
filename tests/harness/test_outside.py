"""Objects of other packages: by module and name, and by entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import outside
from harness.errors import UsageError

MODULE = "package_of_another_project"


@dataclass(frozen=True)
class Item:
    """The kind of object that these tests load."""

    name: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path; the module that a test writes there is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop(MODULE, None)


def write(folder: Path, code: str, *entries: str) -> None:
    """The module, and the metadata of an installed package with these entry points."""
    (folder / f"{MODULE}.py").write_text(f"from {__name__} import Item\n{code}\n")
    information = folder / f"{MODULE}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1.0\n")
    lines = [f"entry{number} = {MODULE}:{entry}" for number, entry in enumerate(entries)]
    (information / "entry_points.txt").write_text("\n".join(["[items_of_a_test]", *lines, ""]))


def test_named_returns_one_object_or_all_of_a_collection(folder: Path) -> None:
    write(folder, "class Space:\n    ITEM = Item('deep')\nONE = Item('one')\nTWO = (ONE, Item('two'))")
    assert outside.named(f"{MODULE}:ONE", Item, "--item") == [Item("one")]
    assert outside.named(f"{MODULE}:TWO", Item, "--item") == [Item("one"), Item("two")]
    assert outside.named(f"{MODULE}:Space.ITEM", Item, "--item") == [Item("deep")]


@pytest.mark.parametrize("name", [MODULE, f"{MODULE}:", ":ONE", f"{MODULE}:a b", f"{MODULE}:a.", "a/b:ONE"])
def test_named_of_another_form_says_the_form(name: str) -> None:
    with pytest.raises(UsageError, match=r"^--item .*: the form is package\.module:NAME, where NAME is an Item"):
        outside.named(name, Item, "--item")


@pytest.mark.parametrize(("code", "reason"), [
    ("raise RuntimeError('half installed')", "RuntimeError: half installed"),
    ("raise SystemExit(3)", "SystemExit: 3"),
    ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ("", "AttributeError: .* has no attribute 'ONE'"),
])  # fmt: skip
def test_named_whose_import_fails_gives_the_reason_on_one_line(folder: Path, code: str, reason: str) -> None:
    write(folder, code)
    with pytest.raises(UsageError, match=f"^--item {MODULE}:ONE cannot be loaded: {reason}$") as caught:
        outside.named(f"{MODULE}:ONE", Item, "--item")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["'text'", "()", "[Item('one'), 'two']", "3", "{}"])
def test_named_of_another_type_is_refused(folder: Path, value: str) -> None:
    write(folder, f"ONE = {value}")
    with pytest.raises(UsageError, match=rf"{MODULE}:ONE is neither an Item nor several \({__name__}\.Item\)"):
        outside.named(f"{MODULE}:ONE", Item, "--item")


def test_joined_adds_objects_of_entry_points_to_own(folder: Path) -> None:
    write(folder, "ONE = Item('one')\nTWO = [Item('two'), Item('three')]", "ONE", "TWO")
    own = {"own": Item("own")}
    joined = outside.joined(own, "items_of_a_test", Item, "items")
    assert joined == {"own": Item("own"), "one": Item("one"), "two": Item("two"), "three": Item("three")}
    assert list(own) == ["own"]


def test_joined_logs_and_leaves_out_broken_and_duplicate_objects(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, "OWN = Item('own')\nONE = Item('one')", "MISSING", "OWN", "ONE")
    own = Item("own")
    joined = outside.joined({"own": own}, "items_of_a_test", Item, "items")
    assert joined["own"] is own and list(joined) == ["own", "one"]
    assert f"the items of {MODULE}:MISSING cannot be loaded: module" in caplog.text
    assert f"{MODULE}:OWN has items 'own', whose name is taken: it is left out" in caplog.text
