"""The Penn Treebank tokens of captions, which COCO's caption metrics count, without Java.

    list(tokens(["A man's dog isn't here."]))        [['a', 'man', "'s", 'dog', 'is', "n't", 'here']]

The tokens are those of pycocoevalcap 1.2's `PTBTokenizer`: Stanford CoreNLP 3.4.1 with `-preserveLines -lowerCase`,
without the tokens in its list of punctuation.  The list names brackets in capitals ("-LRB-"), and the tokens are in
lower case, so brackets stay.  A token may contain a no-break space ("3 1/4").  Characters that the lexer does not know,
such as emoji, are dropped.

Line breaks within a caption (all of `str.splitlines`) become spaces, since most of them confuse the official tokeniser.
The official tokeniser reads captions one after the other, so the last tokens of a caption ("size S.", "no.") may depend
on the start of the next one.  `tokens` does the same.

Most captions are plain words.  These are split at spaces and each piece is looked up in a cache.  From the first piece
that is not plain, the rest of the caption is lexed as a whole (`harness/metrics/ptb_rules.py`).  The source is the
official jar; the tests compare against it.

Known differences from the jar:

- A quoted value in an SGML tag ends with its caption; the jar continues into the next caption.
- A capital sigma in a token that also has characters other than letters may become σ instead of ς.
- Capital letters that are newer than Java's Unicode version become lower case; the jar leaves them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from harness.metrics.ptb_rules import rules

# pycocoevalcap/tokenizer/ptbtokenizer.py
PUNCTUATION = frozenset(("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:-;", "--", "..."))
LINE_BREAKS = re.compile("\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
CACHED = 1 << 16  # pieces with cached tokens

# Pieces for which no token and no rule depends on the text after the next space.  A full stop may only be at the very
# end, and not after a single letter.
_PLAIN = re.compile(r"[A-Za-z'\",;:!? -]*(?:[A-Za-z]{2}\.)?").fullmatch  # without the spaces at the end
_HEAD = re.compile(r"(?:[A-Za-z'\",;:!?-]* )*").match
_PLAIN_WORD = re.compile("([A-Za-z]+),? ").match
_CUT = frozenset(("cannot", "gonna", "gotta", "lemme", "gimme", "wanna"))


def tokens(captions: Iterable[str]) -> Iterator[list[str]]:
    """The tokens of each caption in lower case.

    The captions are read one after the other, as the official tokeniser reads the lines of a file.
    """
    cleaned = [clean(caption) for caption in captions]
    ends = [len(cleaned)] * len(cleaned)  # after each caption, the end of the captions that its tokens may depend on
    for place in range(len(cleaned) - 2, -1, -1):
        # The text beyond the next caption matters only where that caption is blank.
        ends[place] = place + 2 if cleaned[place + 1].strip() else ends[place + 1]
    for place, caption in enumerate(cleaned):
        if place + 1 == len(cleaned):
            yield _tokens(caption, None)
        elif not caption.strip():
            yield []
        else:
            end = ends[place]
            yield _tokens(caption, "\n".join(cleaned[place + 1 : end]) + ("\n" if end < len(cleaned) else ""))


def clean(caption: str) -> str:
    """The caption on one line: each line break of `str.splitlines` becomes a space."""
    return LINE_BREAKS.sub(" ", caption)


def lexed(caption: str, following: str | None = None) -> list[str]:
    """The tokens of one clean caption by the full rules, without the cache; `following` is the next line, if any."""
    lexemes = _lex(*_units(caption, following))
    line = " ".join(token for token in map(_text, lexemes) if token)
    return [token for token in line.lower().rstrip().split(" ") if token and token not in PUNCTUATION]


def _tokens(caption: str, following: str | None) -> list[str]:
    """The tokens of one clean caption, by the cache as far as the caption is plain."""
    plain = _PLAIN(caption.rstrip(" "))
    head = None if plain else _HEAD(caption)
    end = len(caption) if plain else head.end() if head else 0
    *pieces, last = caption[:end].split(" ")
    result = [token for piece in pieces for token in _piece(piece)]
    if plain:
        result.extend(_last_piece(last, None if following is None else following[:1]))
    else:
        result.extend(lexed(caption[end:], following))
    return result


@lru_cache(maxsize=CACHED)
def _piece(piece: str) -> tuple[str, ...]:
    """The tokens of the text between two spaces."""
    return tuple(lexed(piece + " "))


@lru_cache(maxsize=CACHED)
def _last_piece(piece: str, following: str | None) -> tuple[str, ...]:
    """The tokens of the text after the last space."""
    return tuple(lexed(piece, following))


def _lex(text: str, end: int) -> Iterator[str]:
    """The tokens that begin before `end`, as the lexer writes them.

    At each position the rule with the longest match applies; of equally long matches, the first rule.  A character that
    no rule matches is skipped.
    """
    place = 0
    table = rules()
    failing = [0] * len(table)  # for each rule with a run, the end of the last run in which it failed
    while place < end:
        plain = _PLAIN_WORD(text, place)
        if plain and plain[1].lower() not in _CUT:
            yield plain[1]
            place = plain.end(1)
            continue
        reach, chosen = place, None
        for index, rule in enumerate(table):
            if place < failing[index]:
                continue
            match = rule.match(text, place)
            if match and match.end() > reach:
                reach, chosen = match.end(), (rule, match)
            elif rule.run and not match and (run := rule.run(text, place)):
                failing[index] = run.end()
        if chosen is None:
            place += 1
            continue
        rule, match = chosen
        place = match.end(1) - rule.twice
        yield rule.write(match[1])


def _units(caption: str, following: str | None) -> tuple[str, int]:
    """The caption and the next line as a string of UTF-16 code units, and the length of the caption in code units."""
    end = len(caption)
    text = caption if following is None else f"{caption}\n{following}"
    if text.isascii() or max(text) <= "\uffff":
        return text, end
    wide = text.encode("utf-16-le", "surrogatepass")
    end = len(caption.encode("utf-16-le", "surrogatepass")) // 2
    return "".join(map(chr, memoryview(wide).cast("H"))), end


def _text(units: str) -> str:
    """The text of a string of UTF-16 code units: the inverse of `_units`."""
    if units.isascii() or not any("\ud800" <= unit <= "\udfff" for unit in units):
        return units
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
