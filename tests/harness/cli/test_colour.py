"""Colour: on a terminal alone, and never where NO_COLOR is set."""

from __future__ import annotations

import io
import re
import sys

import pytest

from harness.cli import colour
from harness.cli.store import STYLE_OF_COLUMN, STYLE_OF_STATE
from harness.report.text import unpainted
from tests.harness.cli.calling import Call, evaluated

CODE = re.compile(r"\x1b\[[\d;]+m")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_painter_of_a_terminal_honours_no_color_and_dumb_terminals(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert colour.painter() is (colour.painted if coloured else unpainted)


def test_painter_of_a_pipe_has_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert colour.painter() is unpainted


def test_every_style_of_ls_has_a_code() -> None:
    assert {*STYLE_OF_STATE.values(), *STYLE_OF_COLUMN.values()} <= colour.STYLES.keys()
    assert colour.painted("good", "a") == "\x1b[32ma\x1b[0m"
    assert colour.painted("", "a") == "a"


def test_coloured_ls_and_show_are_the_plain_ones_with_codes(here: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    record = evaluated(here, "refcoco", "--limit", "2", model="whole-image")
    evaluated(here, "vizwiz", "--limit", "2")
    plain = [here("ls").out, here("show", record["id"]).out]
    assert not any(CODE.search(text) for text in plain)
    monkeypatch.setattr("harness.cli.store.painter", lambda: colour.painted)
    monkeypatch.setattr("harness.cli.options.painter", lambda: colour.painted)
    listed, shown = here("ls").out, here("show", record["id"]).out
    assert "\x1b[33mpartial" in listed and "\x1b[1;32m  Acc@0.5" in shown
    assert [CODE.sub("", text).rsplit(None, 2)[0] for text in (listed, shown)] == [
        text.rsplit(None, 2)[0] for text in plain
    ]
