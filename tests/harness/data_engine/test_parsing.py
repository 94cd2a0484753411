"""Parses: heads and spans of real sentences, what is kept in memory, and a parser that is missing or another."""

from __future__ import annotations

from importlib import metadata, util
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.data_engine import parsing
from harness.errors import ResourceError

RIDER = "A man in a red shirt is riding a brown horse."


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline is looked for again."""
    monkeypatch.setattr(parsing, "_pipeline", parsing._pipeline.__wrapped__)


def test_words_have_spans_heads_and_tags() -> None:
    [parsed] = parsing.parse([RIDER])
    assert all(RIDER[word.start : word.end] == word.text for word in parsed.words)
    words = {word.text: word for word in parsed.words}
    assert [parsed.words[words[name].head].text for name in ("man", "red", "horse")] == ["riding", "shirt", "riding"]
    assert (words["man"].tag, words["is"].lemma, words["red"].relation) == ("NN", "be", "amod")


def test_degree_counts_children_and_head() -> None:
    """riding: man, is, horse and the full stop, and no head; horse: a, brown and riding; red: shirt."""
    [parsed] = parsing.parse([RIDER])
    degrees = [parsed.degree(place) for place in range(len(parsed.words))]
    places = {word.text: place for place, word in enumerate(parsed.words)}
    assert [degrees[places[name]] for name in ("riding", "horse", "red")] == [4, 3, 1]
    assert sum(degrees) == 2 * (len(parsed.words) - 1)  # a tree has one edge less than words, with two ends each


def test_chunks_are_spans_of_the_text() -> None:
    [parsed] = parsing.parse([RIDER])
    spans = [parsed.span(chunk) for chunk in parsed.chunks]
    assert [RIDER[start:end] for start, end in spans] == ["A man", "a red shirt", "a brown horse"]
    assert [parsed.words[chunk.root].text for chunk in parsed.chunks] == ["man", "shirt", "horse"]


@pytest.mark.parametrize("text", ["", " ", "\n", "\ud800 cat", "a\0b", "🐈" * 50, "a " * 9000, "<loc_1>", "عربى"])
def test_any_text_is_parsed_and_offsets_fit(text: str) -> None:
    [parsed] = parsing.parse([text])
    assert len(parsed.text) == min(len(text), parsing.LONGEST)
    assert all(parsed.text[word.start : word.end] == word.text for word in parsed.words)


def test_parses_are_in_the_order_of_texts_and_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "KEPT", 2)
    texts = ["one cat", "two dogs", "one cat", "three fish"]
    assert [parsed.text for parsed in parsing.parse(texts)] == texts
    assert list(parsing._PARSES) == ["one cat", "three fish"]
    assert parsing.parse(["three fish"])[0] is parsing.parse(["three fish"])[0]


def test_identity_names_parser_and_model() -> None:
    assert parsing.identity().startswith(f"spacy {metadata.version('spacy')} en_core_web_sm")


@pytest.mark.parametrize("missing", [{"spacy"}, {parsing.OFFICIAL, parsing.UPLOAD}])
@pytest.mark.usefixtures("anew")
def test_missing_parser_is_refused_with_the_command(missing: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name in missing else find(name))
    with pytest.raises(ResourceError, match=r"pip install 'florence2-harness\[engine\]'"):
        parsing.parse(["a text that was never parsed"])


@pytest.mark.usefixtures("anew")
def test_model_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: SimpleNamespace(origin=None))
    monkeypatch.setattr(metadata, "version", lambda name: "3.7.1")
    with pytest.raises(ResourceError, match=r"en_core_web_sm is 3\.7\.1; version 3\.8 is needed: pip install"):
        parsing.identity()


@pytest.mark.usefixtures("anew")
def test_upload_with_other_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "__init__.py").write_text("raise SystemExit('was run')")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == parsing.OFFICIAL else spec)
    monkeypatch.setattr(metadata, "version", lambda name: "3.8.0")
    with pytest.raises(ResourceError, match=r"other files than the known upload .* pip install --force-reinstall"):
        parsing.identity()


def test_digest_of_files_covers_names_and_contents_and_no_compiled_python(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    first = parsing.files_digest(tmp_path)
    (tmp_path / "a.pyc").write_text("compiled")
    assert parsing.files_digest(tmp_path) == first
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    assert parsing.files_digest(tmp_path) != first


def test_installed_parser_is_named_as_the_loaded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsing.installed() == parsing.identity()
    monkeypatch.setattr(parsing.util, "find_spec", lambda name: None)
    assert parsing.installed() == ""
