"""Text from data in each sink: what the sink's own reader makes of it."""

from __future__ import annotations

import csv
import io
import json
import re
from xml.etree import ElementTree

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import sinks

HOSTILE = "a\x1b[2J\x1b]0;t\x07\r\nb\x9b1m\u202ec\u2028d\ud800\x00\ufffe"
anything = st.text(st.characters(codec=None), max_size=30) | st.text("=+-@ \n\t\x1b<&$_\\`|[]{}'\"\ud800", max_size=12)


@given(anything)
def test_line_of_any_text_is_printable_and_can_be_encoded(text: str) -> None:
    shown = sinks.line(text)
    assert all(letter.isprintable() or letter in "\u200c\u200d" for letter in shown)
    assert len(shown) == len(text)
    shown.encode()


def test_line_and_block_drop_control_characters_and_keep_joiners() -> None:
    assert sinks.line(HOSTILE) == "a [2J ]0;t   b 1m c d   "
    assert sinks.block("a\x1b[2J\r\nb\u202e") == "a [2J \nb "
    assert sinks.line("👩\u200d💻 نمی\u200cخواهم é") == "👩\u200d💻 نمی\u200cخواهم é"


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "@SUM(A1)", "+A1", "-A1", "-2+3+cmd|' /C calc'!A0", '=HYPERLINK("http://x","y")', " =1", "\t=1",
        "\r\n=1", "＝1", '+HYPERLINK("http://x")', "-florence", "+cmd|' /C calc'!A0", "+a =1 (b)",
    ],
)  # fmt: skip
def test_csv_text_of_a_formula_begins_with_an_apostrophe(text: str) -> None:
    [[value]] = csv.reader(io.StringIO(sinks.csv_text([[text]])))
    assert value.startswith("'") and value[1:].strip() == text.strip()


@pytest.mark.parametrize(
    "value", ["-1.5", "+3", "1e-5", "-1e-5", "-1.2 [-3.0, 0.5]", "-", "+3 to +4 CIDEr", "+FT rows", "a=b", "–", -1.5]
)
def test_csv_text_of_numbers_and_words_is_unchanged(value: str | float) -> None:
    assert list(csv.reader(io.StringIO(sinks.csv_text([[value]])))) == [[str(value)]]


@given(st.lists(anything, min_size=1, max_size=4))
def test_csv_text_has_the_same_cells_in_any_reader(texts: list[str]) -> None:
    text = sinks.csv_text([texts])
    text.encode()
    [row] = list(csv.reader(io.StringIO(text, newline="")))
    assert len(row) == len(texts)
    assert not any(re.match(r"\s*[=@]", cell) for cell in row)


@given(anything)
def test_html_of_any_text_is_one_text_node(text: str) -> None:
    """Read back by an XML parser, which refuses control characters and wrong escapes."""
    environment = jinja2.Environment(autoescape=True, finalize=sinks.html)
    page = environment.from_string('<p title="{{ text }}">{{ text }}</p>').render(text=text)
    element = ElementTree.fromstring(page.encode())
    assert element.text == (sinks.block(text) or None) and len(element) == 0
    assert environment.from_string("{{ 1.5 }}{{ text|safe }}").render(text="<b>") == "1.5<b>"


@given(anything)
def test_xml_of_any_text_can_be_read_back(text: str) -> None:
    written = ElementTree.tostring(ElementTree.Element("a", name=sinks.xml(text)), encoding="utf-8")
    assert ElementTree.fromstring(written).get("name") == sinks.line(text)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_text_has_the_same_value(value: object) -> None:
    shown = sinks.json_text(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(shown) == value
    assert shown.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$5% #1 ~^{}\\", r"\$5\% \#1 \textasciitilde{}\textasciicircum{}\{\}\textbackslash{}"),
        ("a\x00\x1b\nb `c` é", r"a b \textasciigrave{}c\textasciigrave{} ?"),
        ("[1] <b>", r"{[}1{]} \textless{}b\textgreater{}"),
    ],
)
def test_tex_escapes_every_special_character(text: str, expected: str) -> None:
    assert sinks.tex(text) == expected


def test_label_is_short_and_does_not_begin_with_an_underscore() -> None:
    """matplotlib leaves such labels out of legends."""
    assert sinks.label("_a\nb") == " _a b"
    assert sinks.label("x" * 61) == "x" * 59 + "…"


def test_command_begins_no_second_command() -> None:
    assert sinks.command("50%\r\n::error::x") == "50%25  ::error::x"
    assert sinks.command("a,b: c\n", name=True) == "a%2Cb%3A c "


def test_file_name_leaves_no_folder() -> None:
    assert sinks.file_name("../../x y") == "______x_y"
