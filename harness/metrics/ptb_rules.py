"""The rules of the Penn Treebank tokeniser: an ordered table of regular expressions.

The table gives the tokens of Stanford CoreNLP 3.4.1's `PTBLexer` with its default options, without those that
pycocoevalcap drops.  Two rules of the lexer are one rule here where they differ only in a quotation mark or a full
stop, which are dropped.

Of all rules that match at a position, the one with the longest match applies, including the text that must follow the
token.  Of equally long matches, the first rule applies.  So the alternatives of each pattern are ordered such that its
longest match is found first.

Patterns match UTF-16 code units, as in the lexer: no rule names a character above U+FFFF.  `«name»` stands for an entry
of `PARTS`.  Words within `(?i:...)` match in either case.  Character sets match as written, some in one case only.  The
only possible line break is the one between a caption and the next.

The time to lex a caption is linear in its length.  A rule that reads far beyond the token which is chosen in the end
has a run: text that begins as the rule does.  Where the rule fails at the start of its run, it fails at every later
position of that run, so the lexer does not try it there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from harness.metrics import ptb_words as words

Writer = Callable[[str], str]


class Rule(NamedTuple):
    """A rule that matches a token."""

    match: Callable[[str, int], re.Match[str] | None]  # group 1 is the token; the text that must follow is after it
    write: Writer  # the token as the lexer writes it
    twice: int  # characters at the token's end that are also the start of the next token
    run: Callable[[str, int], re.Match[str] | None] | None = None  # where the rule fails once, it fails throughout


# ---------------------------------------------------------------------------- writing of tokens


def _same(text: str) -> str:
    return text


def _nothing(text: str) -> str:
    return ""


def _soft(text: str) -> str:
    """Without soft hyphens; "-" where nothing else is left."""
    return text.replace("\u00ad", "") or "-"


def _joined(text: str) -> str:
    """Spaces become no-break spaces."""
    return text.replace(" ", "\u00a0")


def _bracket(text: str) -> str:
    return text.translate(words.BRACKETS)


def _parentheses(text: str) -> str:
    """With parentheses replaced, and other brackets left."""
    return text.translate(words.PARENTHESES)


def _phone(text: str) -> str:
    return _parentheses(_joined(text))


def _angle(text: str) -> str:
    return text.lower().replace("&lt;", "<").replace("&gt;", ">")


def _signs(text: str) -> str:
    """With fractions and currency signs replaced."""
    return text.translate(words.SIGNS)


def _amp(text: str) -> str:
    return re.sub("(?i)&amp;", "&", text)


def _quotes(text: str) -> str:
    """With quotation marks replaced; of entities, only those in lower case."""
    return text.replace("&apos;", "'").replace("&quot;", "''").translate(words.QUOTES)


def _dash(text: str) -> str:
    return "--"


def _dots(text: str) -> str:
    return "..."


def _hyphens(text: str) -> str:
    return "--" if len(text) in (3, 4) else text


# ---------------------------------------------------------------------------- the parts of patterns

PARTS = {
    "digit": "[«figures»]",
    "space": r"[ \t\u00a0\u2000-\u200a\u3000]",
    "gap": r"(?:«space»|\n)",
    "stop": r"[,;:\u3001]",
    "amp": r"(?i:&amp;)",
    "apostrophe": r"(?:['\u0092\u2019]|(?i:&apos;))",
    "quote": r"(?:«apostrophe»|[`\u0091\u2018\u201b])",
    "accented": r"&[aeiouAEIOU](?i:acute|grave|uml);",
    "in word": r"(?:[«letter»«mark»]|«accented»)",
    "in name": r"(?:[«letter»«mark»«figures»]|«accented»)",
    "word": r"«in word»«in name»*(?:[.!?]«in word»«in name»*)*",
    "clitic": r"«apostrophe»(?:[msdMSD]|(?i:re|ve|ll))",
    "not": r"(?i:n)«quote»(?i:t)",
    "piece": r"(?:[dDoOlL]«quote»[«letter»«figures»])?[«letter»«figures»]+",
    "hyphenated": r"«piece»(?:[-_\u058a\u2010\u2011]«piece»)*",
    "compound run": r"[A-Za-z0-9][A-Za-z0-9.,\u00ad]*",
    "compound": r"«compound run»(?:-(?:«acronym»\.|[A-Za-z0-9\u00ad]+))+",
    "sum": r"[A-Z]+(?:(?:«amp»|[+&])[A-Z]+)+",
    "acronym": r"(?:(?i:U\.S\.-(?:U\.K|U\.S\.S\.R)|(?:Canada|Sino|Korean|EU|Japan|non)-U\.S)|[A-Za-z](?:\.[A-Za-z])+)",
    "title": rf"(?:«acronym»|(?i:{words.TITLES})|[A-Za-z])",
    "abbreviation": rf"(?i:{words.ABBREVIATIONS})\.",
    "starter": "|".join(f"[{word[0]}](?i:{re.escape(word[1:])})" for word in words.STARTERS.split()),
    "tag name": r"[A-Za-z][A-Za-z0-9_:.-]*",
    "value": r"""[ ]*=[ ]*(?:'[^'\n]*'|"[^"\n]*")""",
    "tag": r"<(?:/«tag name»[ ]*|«tag name»(?:[ ]+«tag name»(?:«value»)?)*[ ]*(?:/[ ]*)?)>",
    "open declaration": r"<[!?][A-Za-z-][^>\r\n]*",
    "declaration": "«open declaration»>",
    "path": r'/[^ \t\n\f\r"<>|()]+[^ \t\n\f\r"<>|.!?(){},-]',
    "www": r'(?i:www)\.(?:[^ \t\n\f\r"<>|.!?(){},]+\.)+[a-zA-Z]{2,4}',
    "www run": r'(?i:www)(?:\.[^ \t\n\f\r"<>|.!?(){},]+)+',
    # `,-_` is a range from the comma to the underscore, so it excludes digits and capitals as well, as in the lexer.
    "in host": r"""[^ \t\n\f\r"`'<>|.!?(){},-_$]""",
    "in address": r'[^ \t\n\f\r"<>|(){}\u00a0]',
    "in domain": r'[^ \t\n\f\r"<>|(){}.\u00a0]',
    "address run": r"(?:<|(?i:&lt;))?[a-zA-Z0-9]«in address»*",
    "file run": r"«in name»+(?:\.«in name»+)*",
    "fraction": r"(?:«digit»{1,4}[- \u00a0])?«digit»{1,4}(?:\\?/|\u2044)«digit»{1,4}",
}

# The token, the text that must follow it, the function that writes the token, and the rule's run if it has one.
RULES: tuple[tuple[str, str, Writer] | tuple[str, str, Writer, str], ...] = (
    (r"(?i:c\+\+|[cf]#)", "", _same),
    ("(?i:can)", "(?i:not)", _same),
    ("(?i:gon|wan)", "(?i:na)", _same),
    ("(?i:got)", "(?i:ta)", _same),
    ("(?i:lem|gim)", "(?i:me)", _same),
    ("(?i:'t)", "(?i:is|was)", _same),
    ("«tag»", "", _joined),
    ("«declaration»", "", _joined, "«open declaration»"),
    (r"(?i:&(?:MD|mdash|ndash);)|[\u0096\u0097\u2013-\u2015]", "", _dash),
    ("«amp»", "", _amp),
    (r"(?i:&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]+);)", "", _same),
    ("«word»", "«clitic»", _soft),
    (r"[A-Za-z\u00ad]*[A-MO-Za-mo-z]\u00ad*", "«not»", _soft),
    ("«word»", "", _soft),
    # Words with an apostrophe inside: French and Irish names first, since they have the longest matches.
    (r"[«letter»]+[aeiouyAEIOUY]«quote»[aeiouA-Z][«letter»]*|[A-HJ-XZn]«quote»[«letter»]{2,}", "", _same),
    (
        rf"(?i:{words.CONTRACTIONS})|(?i:Dunkin|somethin|ol)«apostrophe»|(?i:O)«quote»(?i:o)|[lLdDjJ]«apostrophe»",
        "",
        _same,
    ),
    (r"«apostrophe»(?:(?i:n)«apostrophe»?|[2-9]0(?i:s)|(?i:em|till?|cause))", "", _same),
    ("(?i:y)«apostrophe»", "[«letter»]", _same),
    (r'(?i:https?)://[^ \t\n\f\r"<>|(){}]+[^ \t\n\f\r"<>|.!?(){},-]', "", _same),
    ("«www»", "", _same, "«www run»"),
    ("«www»«path»", "", _same, "«www run»"),
    (r"(?:«in host»+\.)+(?i:com|net|org|edu)(?:«path»)?", "", _same, r"«in host»+(?:\.«in host»+)*"),
    (r"«address run»@(?:«in domain»+\.)*«in domain»+(?:>|(?i:&gt;))?", "", _same, "«address run»"),
    ("@[a-zA-Z_][a-zA-Z_0-9]*|#«in word»+", "", _same),
    ("«clitic»|«not»", "[^A-Za-z]", _quotes),
    ("«digit»{1,2}[-/]«digit»{1,2}[-/]«digit»{2,4}", "", _same),
    (r"[-+]?(?:«digit»*(?:[.:,\u00ad\u066b\u066c]«digit»+)+|«digit»+)", "", _soft),
    (r"[\u207a\u207b\u208a\u208b]?(?:[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+|[\u2080-\u2089]+)", "", _same),
    ("«fraction»", "", _joined),
    (r"[\u00bc-\u00be\u2153-\u215e]", "", _signs),
    (r"-(?i:[LR][RCS]B)-|(?i:C\.D\.s|pro-|anti-|S(?:«amp»|&)P-500|S(?:«amp»|&)Ls)", "", _amp),
    ("(?i:Cap)«apostrophe»(?i:n)|(?i:c)«apostrophe»(?i:est)", "", _same),
    (r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}", "", _same),
    (r"[A-Z]*\$|#", "", _same),
    (r"[\u00a2-\u00a5\u0080\u20a0\u20ac\u060b\u0e3f\u20a4\uffe0\uffe1\uffe5\uffe6]", "", _signs),
    ("[A-Za-z]", r"\.«gap»+(?:«starter»|«tag»)«gap»", _same),
    ("[A-Za-z]", r"\.«gap»+«declaration»«gap»", _same, r"[A-Za-z]\.«gap»+«open declaration»(?:[\r\n]|\Z)"),
    (rf"(?i:{words.BEFORE_NUMBERS})\.", "«gap»?«digit»", _same),
    (r"(?i:pt(?-i:[eyEY])|co)\.", "«space»(?i:ltd|lim)", _same),
    ("«abbreviation»", r"[\s\S]{2}", _same),
    ("«abbreviation»", "", _same),
    (r"«title»\.", "", _same),
    ("«title»", "«space»", _same),
    ("«acronym»", "«gap»", _same),
    ("«apostrophe»[0-9][0-9]", "«gap»", _same),
    (rf"«file run»\.(?i:{words.EXTENSIONS})", "(?:«gap»|[.?!,])", _same, "«file run»"),
    (r"«word»\.", "«stop»", _soft),
    (
        r"(?:\([0-9]{2,3}\)[ \u00a0]?|(?:\+\+?)?(?:[0-9]{2,4}[- \u00a0])?[0-9]{2,4}[- \u00a0])"
        r"[0-9]{3,4}[- \u00a0]?[0-9]{3,5}|(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}",
        "",
        _phone,
    ),
    ('"|(?i:&quot;)', "", _quotes),
    ("[<>]|(?i:&[lg]t;)", "", _angle),
    (r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]", "[^A-Za-z0-9]", _parentheses),
    (r"[\^x=~<>]\.\[\^(?i:x)=[^<\n]*<>\]", "", _parentheses, r"[\^x=~<>]\.\[\^(?i:x)=[^<\n]*"),
    (r"[-\^x=~<>']_[-\^x=~<>']", "", _parentheses),
    (r"\([-\^x=~<>'][_.]?[-\^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)", "", _parentheses),
    (r"[{}()\[\]]", "", _bracket),
    ("-+", "", _hyphens),
    (r"\.{3,5}|(?:\.[ \u00a0]){2,4}\.|[\u0085\u2026]", "", _dots),
    (
        r"@+|_+|#+|\*+|(?:\\\*){1,3}|«stop»|[?!]+|[.\u00a1\u00bf\u037e\u0589\u061f\u06d4\u0700-\u0702\u3002]|=|/",
        "",
        _same,
    ),
    (r"«compound»\.", "«stop»", _soft, "«compound run»"),
    ("«compound»", "", _soft, "«compound run»"),
    (r"«hyphenated»\.", "«stop»", _same),
    ("«hyphenated»", "", _same),
    (r"«sum»\.", "«stop»", _amp),
    ("«sum»", "", _amp),
    ("'", r"[A-Za-z][^ \t\n\r\u00a0]", _same),
    ("«clitic»|«not»", "", _quotes),
    (r"[`\u2018-\u201f\u0091-\u0094\u2039\u203a\u00ab\u00bb]{1,2}|''|«apostrophe»", "", _quotes),
    ("<<|>>|[«symbol»]", "", _same),
    ("«space»+|(?i:&nbsp;)", "", _nothing),
)


def _points(ranges: str) -> set[int]:
    """The code points of ranges of hexadecimal numbers: "41-43 5F" is A, B, C and _."""
    points: set[int] = set()
    for item in ranges.split():
        first, _, last = item.partition("-")
        points.update(range(int(first, 16), int(last or first, 16) + 1))
    return points


def _category(start: str) -> set[int]:
    return {point for point in range(0x10000) if unicodedata.category(chr(point)).startswith(start)}


def letters() -> set[int]:
    """The code points of the letters that the tokeniser knows."""
    return _category("L") - _points(words.LETTERS_SINCE) | _points(words.LETTERS_THEN)


def digits() -> set[int]:
    """The code points of the digits that the tokeniser knows."""
    return _category("Nd") - _points(words.DIGITS_SINCE)


def _inside(points: set[int]) -> str:
    """The content of a regular expression's character set."""
    runs: list[list[int]] = []
    for point in sorted(points):
        if runs and runs[-1][1] == point - 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in runs)


@cache
def parts() -> dict[str, str]:
    """All parts by name, with the character sets, which are computed on first use."""
    sets = {"letter": letters(), "figures": digits(), "mark": _points(words.MARKS), "symbol": _points(words.SYMBOLS)}
    return PARTS | {name: _inside(points) for name, points in sets.items()}


def filled(pattern: str) -> str:
    """A pattern with each `«name»` replaced by its part."""
    while "«" in pattern:
        pattern = re.sub("«([^»]*)»", lambda name: parts()[name[1]], pattern)
    return pattern


@cache
def rules() -> tuple[Rule, ...]:
    """The compiled rules, in order of precedence."""
    return tuple(
        Rule(
            re.compile(filled(f"({token})(?:{after})")).match,
            write,
            int(token == "«abbreviation»" and not after),
            re.compile(filled(run[0])).match if run else None,
        )
        for token, after, write, *run in RULES
    )
