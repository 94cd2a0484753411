"""Captions to the tokens that COCO's caption metrics count, without Java.

    list(tokens(["A man's dog isn't here."]))        [['a', 'man', "'s", 'dog', 'is', "n't", 'here']]

What pycocoevalcap 1.2's `PTBTokenizer` gives: Stanford CoreNLP 3.4.1 with `-preserveLines -lowerCase`, and then its
list of punctuation taken out.  As that list is in capitals and the tokens are not, brackets stay, as `-lrb-` and so on.
A token may hold a no-break space ("3 1/4"); what the lexer does not know, such as emoji, is dropped without a word.

Line breaks within a caption (all of `str.splitlines`) become spaces; the official tokeniser is put out of step by most
of them.  It reads captions one after the other, and the tokens at a caption's end ("size S.", "no.") may depend on how
the next one begins.  `tokens` reads captions the same way.

Most captions are plain words.  They are cut at spaces and each piece is looked up, so that a word is lexed once; what
follows the first piece that is not plain is lexed as a whole (`harness/metrics/ptb_rules.py`).  Source: the official
jar, which the tests hold this against.

Differences left: a quoted value in an SGML tag ends with its caption (the official tokeniser reads on into the next);
a capital sigma within a token of more than letters may be written σ for ς; letters that Java's Unicode does not know
have their small form here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from harness.metrics.ptb_rules import rules

# pycocoevalcap/tokenizer/ptbtokenizer.py
PUNCTUATION = frozenset(("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:-;", "--", "..."))
LINE_BREAKS = re.compile("\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
WORDS_KEPT = 1 << 16  # pieces that are remembered

# Pieces of which no token or rule looks beyond the space behind them; a full stop at the very end only, and not behind
# a single letter.
_PLAIN = re.compile(r"[A-Za-z'\",;:!? -]*(?:[A-Za-z]{2}\.)? *").fullmatch
_HEAD = re.compile(r"(?:[A-Za-z'\",;:!?-]* )*").match
_PLAIN_WORD = re.compile("([A-Za-z]+),? ").match
_CUT = frozenset(("cannot", "gonna", "gotta", "lemme", "gimme", "wanna"))


def tokens(captions: Iterable[str]) -> Iterator[list[str]]:
    """Each caption's tokens, lower case, read one after the other as the official tokeniser reads a file of them."""
    cleaned = [clean(caption) for caption in captions]
    behind: list[str | None] = [None] * len(cleaned)
    for place in range(len(cleaned) - 1, 0, -1):
        after, rest = cleaned[place], behind[place]
        if rest is not None:
            after += "\n" if after.strip() else f"\n{rest}"  # of a caption with something in it, that it ends
        behind[place - 1] = after
    return map(_tokens, cleaned, behind)


def clean(caption: str) -> str:
    """The caption on one line: what `str.splitlines` would split at becomes a space."""
    return LINE_BREAKS.sub(" ", caption)


def lexed(caption: str, following: str | None = None) -> list[str]:
    """`tokens` of one clean caption by the full rules alone; `following` is what comes on the next line, if any."""
    found = list(_lex(*_units(caption, following)))
    written = " ".join(token for token in map(_text, found) if token)
    return [token for token in written.lower().rstrip().split(" ") if token and token not in PUNCTUATION]


def _tokens(caption: str, following: str | None) -> list[str]:
    plain = _PLAIN(caption)
    head = plain or _HEAD(caption)
    *pieces, last = (head[0] if head else "").split(" ")
    found = [token for piece in pieces for token in _piece(piece)]
    if plain:
        found.extend(_last(last, None if following is None else following[:1]))
    else:
        found.extend(lexed(caption[head.end() if head else 0 :], following))
    return found


@lru_cache(maxsize=WORDS_KEPT)
def _piece(piece: str) -> tuple[str, ...]:
    """The tokens of what stands between spaces."""
    return tuple(lexed(piece + " "))


@lru_cache(maxsize=WORDS_KEPT)
def _last(piece: str, following: str | None) -> tuple[str, ...]:
    return tuple(lexed(piece, following))


def _lex(text: str, end: int) -> Iterator[str]:
    """The tokens that begin before `end`, as they are written."""
    place = 0
    while place < end:
        plain = _PLAIN_WORD(text, place)
        if plain and plain[1].lower() not in _CUT:
            yield plain[1]
            place = plain.end(1)
            continue
        reach, chosen = place, None
        for rule in rules():
            match = rule.match(text, place)
            if match and match.end() > reach:
                reach, chosen = match.end(), (rule, match)
        if chosen is None:
            place += 1
            continue
        rule, match = chosen
        place = match.end(1) - rule.twice
        yield rule.write(match[1])


def _units(caption: str, following: str | None) -> tuple[str, int]:
    """The caption and the one behind it as UTF-16 code units, a character each, and where the first one ends."""
    end = len(caption)
    text = caption if following is None else f"{caption}\n{following}"
    if text.isascii() or max(text) <= "\uffff":
        return text, end
    wide = text.encode("utf-16-le", "surrogatepass")
    end = len(caption.encode("utf-16-le", "surrogatepass")) // 2
    return "".join(map(chr, memoryview(wide).cast("H"))), end


def _text(units: str) -> str:
    """What `_units` was made of."""
    if units.isascii() or not any("\ud800" <= unit <= "\udfff" for unit in units):
        return units
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
