"""Where a text says that things are: in a part of the image, or beside, above or below each other.

Relations without a direction in the image ("behind", "next to", "on") are not found.  "over" counts with a thing below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.data_engine.grammar import OBJECTS, PLACEHOLDERS, PRONOUNS, SUBJECTS, Grammar
from harness.data_engine.lexicon import PARTS, PICTURES, RELATIONS, SIDES, singular


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a thing is said to be: in a part of the image (`ground` is ""), or in relation to another thing.

    `where` has one or two of left, right, top, bottom, middle, above, below.  `figure` is "" where no thing was found
    that the words are about.  `figure_is` and `ground_is` are colours and sizes of just these things.  `instead` has
    other things that the words may be about: the noun before them, and the subject of their clause.  `inside` says that
    the place is a part of the ground ("in the middle of the table", "on the left side of the street").
    """

    figure: str
    where: tuple[str, ...]
    ground: str
    said: str
    figure_is: tuple[str, ...] = ()
    ground_is: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    inside: bool = False


def places(grammar: Grammar) -> Iterator[Placed]:
    """Every place that a text says, in its order."""
    last = -1
    for at, word in enumerate(grammar.lower):
        if at <= last:
            continue
        if word in RELATIONS:
            ground = next(
                (each for each in grammar.parsed.children[at] if grammar.words[each].relation == "pobj"), None
            )
            if word != "over" or ground is not None:
                yield from _placed(grammar, at, at, (RELATIONS[word],), ground)
        elif word in SIDES and not _is_other_word(grammar, at):
            last = at
            while last + 1 < len(grammar.lower) and grammar.lower[last + 1] in SIDES:  # top left
                last += 1
            yield from _side(grammar, at, last)


def _is_other_word(grammar: Grammar, at: int) -> bool:
    """Whether "left" is the past of "leave" here, or "right" an adverb ("right next to")."""
    before = grammar.lower[at - 1] if at else ""
    if grammar.lower[at] == "right" and grammar.words[at].relation == "advmod":
        return before not in ("the", "to", "on")
    return grammar.words[at].tag.startswith("VB") and before not in ("the", "on", "to", "at", "its", "their")


def _side(grammar: Grammar, first: int, last: int) -> Iterator[Placed]:
    """What one or two side words say, from `first` to `last`."""
    where = tuple(dict.fromkeys(SIDES[word] for word in grammar.lower[first : last + 1]))
    modified = grammar.words[last].head
    between = grammar.words[last + 1 : modified]
    if (
        modified > last and modified in grammar.things and grammar.words[last].relation in ("amod", "compound")
        and all(word.pos in ("ADJ", "NOUN", "NUM") for word in between)
    ):  # fmt: skip  # the left dog
        own = tuple(grammar.attributes.get(modified, ()))
        yield Placed(grammar.name(modified), where, "", _said(grammar, first, modified), own)
        return
    end = last
    while end + 1 < len(grammar.lower) and singular(grammar.lower[end + 1]) in PARTS:  # the left side
        end += 1
    start = end if grammar.words[end].head not in range(first, end) else last
    inside = end > last or where == ("middle",)
    yield from _placed(grammar, start, last, where, _ground(grammar, first, end, start), first, inside)


def _ground(grammar: Grammar, first: int, end: int, start: int) -> int | None:
    """The thing that words of side are relative to ("of the dog", "to its left"); None for the image."""
    ground: int | None = None
    following = grammar.lower[end + 1] if end + 1 < len(grammar.lower) else ""
    if following in ("of", "in"):
        near = [at for at in grammar.nouns if end + 1 < at < end + 7 and grammar.words[at].relation != "compound"]
        ground = near[0] if near and following == "of" else None
    elif first and grammar.lower[first - 1] in PRONOUNS:
        ground = grammar.antecedent(first - 1, _figures(grammar, start, None))
    return None if grammar.name(ground) in PICTURES else ground


def _placed(
    grammar: Grammar,
    at: int,
    last: int,
    where: tuple[str, ...],
    ground: int | None,
    first: int | None = None,
    inside: bool = False,
) -> Iterator[Placed]:
    """A place for each thing that the words at `at` are about."""
    grammar.borrowed = False
    figures = _figures(grammar, at, ground)
    own = not grammar.borrowed
    if where == ("top",) and ground is not None:  # on top of the table
        where = ("above",)
    other = ground
    if ground is not None and ground not in grammar.things:  # above them, above one of the dogs
        pronoun = grammar.lower[ground] in PRONOUNS
        other = grammar.antecedent(ground, figures) if pronoun else grammar.thing(ground) or ground
    said = _said(grammar, at if first is None else first, last if ground is None else ground)
    found: list[int | None] = [*figures] if figures else [None]
    for figure in found:
        yield Placed(
            grammar.name(figure),
            where,
            grammar.name(other),
            said,
            tuple(grammar.attributes.get(figure, ())) if figure is not None and own else (),
            tuple(grammar.attributes.get(other, ())) if other is not None and other == ground else (),
            tuple(map(grammar.name, _instead(grammar, at, figure, ground))),
            inside and other is not None,
        )


def _figures(grammar: Grammar, at: int, ground: int | None) -> list[int]:
    """The things that words of place are about, by climbing the tree from them; else the nearest of the sentence."""
    first, seen = at, set[int]()
    while at not in seen:
        seen.add(at)
        first = min(first, at)
        head = grammar.words[at].head
        if grammar.words[at].relation in SUBJECTS and at not in grammar.things:  # the left of the image shows a dog
            return grammar.joined(grammar.objects(head, OBJECTS))
        if head == at:
            break
        at = head
        thing = grammar.thing(at) if grammar.lower[at] in PLACEHOLDERS else at
        if thing in grammar.things and thing is not None and thing != ground:
            return [thing]
        if grammar.words[at].pos in ("VERB", "AUX"):
            subject = grammar.subject(at)
            if subject is not None and subject != ground:
                return grammar.joined([subject])
            if first - 1 in grammar.things:  # the image shows a dog at the left and a cat at the right
                return [first - 1]
            if shown := grammar.joined(grammar.objects(at)):
                return shown
    near = [at for at in grammar.things if grammar.sentence[at] == grammar.sentence[first] and at != ground]
    return [at for at in near if at < first][-1:] or near[:1]


def _instead(grammar: Grammar, at: int, figure: int | None, ground: int | None) -> list[int]:
    """The noun right before the words of place that a word is in, and the subject of their clause."""
    verb, before = at, at
    while grammar.words[verb].pos not in ("VERB", "AUX") and grammar.words[verb].head != verb:
        verb = grammar.words[verb].head
    while before and grammar.words[before - 1].pos in ("ADP", "DET", "ADJ", "ADV", "PRON"):
        before -= 1
    found = dict.fromkeys([before - 1, grammar.subject(verb)])
    return [each for each in found if each in grammar.things and each is not None and each not in (figure, ground)]


def _said(grammar: Grammar, first: int, last: int) -> str:
    words = grammar.words[min(first, last)], grammar.words[max(first, last)]
    return grammar.parsed.text[words[0].start : words[1].end]
