"""The things that a parsed text names, and which of them its words are about.

Places are indices into `Parse.words`.  Rules use the dependency tree, and the order of words where the tree says
nothing, because a parser of this size attaches about every tenth word wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.data_engine.lexicon import GENERIC, NUMBERS, attribute, singular
from harness.data_engine.parsing import Parse

SUBJECTS = ("nsubj", "nsubjpass")
OBJECTS = ("dobj", "attr", "oprd", "pobj")
PREDICATES = ("acomp", "attr", "oprd", "ccomp", "ROOT", "xcomp")
CLAUSES = ("acl", "relcl", "advcl", "conj", "xcomp", "ccomp", "pcomp", "prep")
NOT_NOUNS = ("PRON", "DET", "NUM", "ADJ", "ADV", "PUNCT")
RELATIVES = frozenset(("that", "which", "who"))
PRONOUNS = frozenset(("it", "they", "he", "she", "them", "him", "her", "its", "their", "his"))
PLACEHOLDERS = frozenset(("one", "ones", "other", "another"))  # "the one on the left"


class Grammar:
    """A parse with its nouns; `things` are those that name a thing, the head alone of a compound.

    `lower` has the words in lower case, `sentence` the number of each word's sentence.  `attributes` are the colours
    and sizes of each thing, and `said_of` the thing that each word for one is said of, or None.
    """

    def __init__(self, parsed: Parse) -> None:
        self.parsed, self.words = parsed, parsed.words
        self.lower = [word.text.casefold() for word in parsed.words]
        self.sentence = self._sentences()
        self.nouns = self._nouns()
        self.things = [at for at in self.nouns if self.name(at) not in GENERIC and not self._in_compound(at)]
        self.borrowed = False  # whether the thing that was found last stands for a pronoun
        self.attributes: dict[int, list[str]] = {}
        self.said_of: dict[int, int | None] = {}
        for at, word in enumerate(self.lower):
            if at not in self.nouns and (each := attribute(word)):
                self.borrowed = False
                thing = self.said_of[at] = self.owner(at)
                if thing is not None and not self.borrowed:
                    self.attributes.setdefault(thing, []).append(each)

    def name(self, at: int | None) -> str:
        """The noun at a place in the singular; "" for None."""
        return "" if at is None else singular(self.lower[at])

    def objects(self, verb: int, relations: Sequence[str] = ("attr", "dobj")) -> list[int]:
        """The things that depend on a verb by one of these relations."""
        return [at for at in self.parsed.children[verb] if self.words[at].relation in relations and at in self.things]

    def owner(self, at: int) -> int | None:
        """The thing that a colour or size is said of: by the tree, else the nearest; None if there is none near."""
        seen: set[int] = set()
        while at not in seen:
            seen.add(at)
            relation, head = self.words[at].relation, self.words[at].head
            if relation in PREDICATES and at not in self.things:  # the dog is black
                subject = self.subject(head)
                if subject is not None:
                    return subject
                break
            if head == at:
                break
            if head in self.things:
                return head
            if self.lower[head] in PRONOUNS:
                return self.antecedent(head)
            at = head
        return self._nearest(min(seen), max(seen))

    def subject(self, verb: int) -> int | None:
        """The thing that a verb is about: its subject, what "there is" introduces, or the noun that it modifies."""
        for _ in self.words:
            children = self.parsed.children[verb]
            subject = next((at for at in children if self.words[at].relation in SUBJECTS), None)
            head = self.words[verb].head
            if subject is not None:
                return self.thing(head if self.lower[subject] in RELATIVES else subject)
            if any(self.words[at].relation == "expl" for at in children):
                return next((at for at in children if at in self.things), None)
            if self.words[verb].relation not in CLAUSES or head == verb:
                return next(iter(self.objects(verb)), None)
            if head in self.nouns:
                return self.thing(head)
            verb = head
        return None

    def thing(self, at: int) -> int | None:
        """The thing that a word stands for: itself, the dogs of "a pair of dogs", or what a pronoun means."""
        if at in self.things:
            return at
        for child in self.parsed.children[at]:
            if self.lower[child] == "of":
                return next(iter(self.objects(child, ("pobj",))), None)
        return self.antecedent(at) if self.lower[at] in PRONOUNS | PLACEHOLDERS else None

    def antecedent(self, at: int, without: Sequence[int] = ()) -> int | None:
        """What a pronoun stands for: the last subject before it, else the last thing, but none of `without`."""
        self.borrowed = True
        before = [thing for thing in self.things if thing < at and thing not in without]
        subjects = [thing for thing in before if self.words[thing].relation in (*SUBJECTS, "attr", "ROOT")]
        return (subjects or before)[-1] if before else None

    def joined(self, things: Sequence[int]) -> list[int]:
        """The things, and those joined to them by "and"."""
        found = list(things)
        for thing in found:  # it grows meanwhile
            found += [at for at in self.objects(thing, ("conj",)) if at not in found]
        return found

    def _sentences(self) -> list[int]:
        """The number of each word's sentence: the words under one root of the tree."""
        numbers: list[int] = []
        last = None
        for at in range(len(self.words)):
            root = at
            while self.words[root].head != root:
                root = self.words[root].head
            numbers.append((numbers[-1] if numbers else -1) + (root != last))
            last = root
        return numbers

    def _nouns(self) -> list[int]:
        """Words that are tagged as nouns, and heads of noun chunks that the tagger took for another word."""
        heads = {chunk.root for chunk in self.parsed.chunks}
        tagged = [at for at, word in enumerate(self.words) if word.tag in ("NN", "NNS", "NNP", "NNPS")]
        tagged = [at for at in tagged if not attribute(self.lower[at]) or self._is_fruit(at, heads)]
        others = [at for at in heads if self.words[at].pos not in NOT_NOUNS and self.words[at].text.isalpha()]
        return sorted({at for at in (*tagged, *others) if self.lower[at] not in PRONOUNS})

    def _is_fruit(self, at: int, heads: set[int]) -> bool:
        """Whether a word for a colour is the head of a noun chunk with a word before it: "an orange", "two limes"."""
        return at in heads and bool(self.parsed.children[at]) and self.words[at].relation not in PREDICATES

    def _in_compound(self, at: int) -> bool:
        return self.words[at].relation == "compound" and self.words[at].head in self.nouns

    def _nearest(self, first: int, last: int) -> int | None:
        """The next thing within three words after, else the last within five before."""
        after = next((at for at in self.things if last < at <= last + 3), None)
        return after if after is not None else next((at for at in self.things[::-1] if first - 6 < at < first), None)


def number_of(word: str) -> int | None:
    """The number that a word in lower case says; None for any other word."""
    if word.isdecimal() and word.isascii() and len(word) < 10:
        return int(word)
    return NUMBERS.get(word)
