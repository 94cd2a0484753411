"""English words that the checks of rewritten texts know: numbers, colours, sizes, places, synonyms and plurals."""

from __future__ import annotations

from collections.abc import Iterable

NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "both": 2, "pair": 2, "couple": 2, "trio": 3, "dozen": 12, "single": 1, "another": 1,
    "a": 1, "an": 1, "no": 0, "zero": 0, "neither": 0, "without": 0,
}  # fmt: skip
VAGUE = frozenset((
    "several", "many", "few", "some", "multiple", "various", "numerous", "group", "groups", "bunch", "row", "rows",
    "crowd", "lot", "lots", "number", "set", "collection", "dozens", "hundreds", "all", "variety", "cluster",
))  # fmt: skip
"""Words that say that there are two or more, without a number."""

COLOURS = frozenset((
    "red", "blue", "green", "yellow", "orange", "purple", "violet", "pink", "brown", "black", "white", "grey", "gray",
    "beige", "gold", "golden", "silver", "tan", "turquoise", "teal", "maroon", "navy", "cyan", "magenta", "crimson",
    "burgundy", "scarlet", "pinkish", "lavender", "indigo", "mauve", "fuchsia", "lime", "olive", "mint", "aqua",
    "azure", "ivory", "cream", "khaki", "bronze", "copper", "amber", "coral", "peach", "salmon", "charcoal", "rose",
    "whitish", "brownish", "grayish", "greyish", "orangish", "purplish", "blackish",
    "blond", "blonde", "colorful", "multicolored", "colourful", "reddish", "bluish", "greenish", "yellowish",
))  # fmt: skip
SIZES = frozenset((
    "small", "large", "big", "little", "tiny", "huge", "tall", "short", "giant", "massive", "enormous", "miniature",
    "medium", "wide", "narrow", "long",
))  # fmt: skip
_SAME_ATTRIBUTE = (
    ("grey", "gray"), ("small", "little", "tiny", "miniature"),
    ("large", "big", "huge", "giant", "massive", "enormous"),
    ("gold", "golden"), ("red", "reddish", "crimson", "scarlet"), ("blue", "bluish", "navy"), ("green", "greenish"),
    ("yellow", "yellowish"), ("purple", "violet"), ("blond", "blonde"), ("turquoise", "teal", "cyan"),
    ("colorful", "colourful", "multicolored"), ("brown", "tan", "beige"),
)  # fmt: skip

SIDES = {
    "left": "left", "leftmost": "left", "right": "right", "rightmost": "right", "top": "top", "upper": "top",
    "uppermost": "top", "bottom": "bottom", "lower": "bottom", "lowermost": "bottom", "middle": "middle",
    "center": "middle", "centre": "middle", "central": "middle",
}  # fmt: skip
"""Words for a part of the image or for a side of a thing."""
RELATIONS = {
    "above": "above", "over": "above", "below": "below", "under": "below", "underneath": "below", "beneath": "below",
}  # fmt: skip

PARTS = frozenset(("side", "corner", "half", "part", "edge", "area", "portion", "section", "third", "hand", "end"))
PICTURES = frozenset((
    "image", "picture", "photo", "photograph", "scene", "frame", "view", "drawing", "illustration", "shot", "canvas",
    "composition",
))  # fmt: skip
GENERIC = PARTS | PICTURES | frozenset(SIDES) | frozenset((
    "one", "other", "thing", "object", "item", "shape", "color", "colour", "size", "background", "foreground", "front",
    "back", "total", "addition", "place", "position", "way", "pair", "couple", "trio", "dozen", "group", "bunch",
    "row", "lot", "number", "set", "collection", "variety", "kind", "type", "distance", "location", "cluster",
    "each", "rest", "arrangement", "order", "space", "contrast",
))  # fmt: skip
"""Nouns that name no thing, so that a text may use them without a fact."""

SYNONYMS = (
    ("sofa", "couch"), ("tv", "television", "tvmonitor"), ("bike", "bicycle"), ("motorbike", "motorcycle"),
    ("plane", "airplane", "aeroplane", "aircraft"), ("phone", "cellphone", "smartphone", "telephone"),
    ("kid", "child"), ("lady", "woman"), ("guy", "man"), ("cup", "mug"), ("ship", "boat"), ("puppy", "dog"),
    ("kitten", "cat"), ("auto", "automobile", "car"), ("street", "road"), ("bag", "purse", "handbag"),
    ("stop", "sign"), ("rug", "carpet"), ("fridge", "refrigerator"), ("rock", "stone"), ("photo", "photograph"),
)  # fmt: skip
"""Words for the same thing."""
_BROADER = {
    "person": ("man", "woman", "boy", "girl", "child", "lady", "guy", "kid", "baby", "player", "rider", "skier",
               "surfer", "skateboarder", "adult", "pedestrian"),
    "child": ("boy", "girl", "baby"),
    "animal": ("dog", "cat", "horse", "cow", "sheep", "bird", "fish", "bear", "elephant", "zebra", "giraffe", "goat",
               "lion", "tiger", "rabbit", "duck", "pig", "mouse", "monkey"),
    "vehicle": ("car", "truck", "bus", "van", "bicycle", "motorcycle", "train", "boat", "airplane", "taxi", "tram"),
    "building": ("house", "church", "tower", "barn", "shop", "school", "castle"),
    "furniture": ("chair", "table", "sofa", "bed", "desk", "bench", "shelf"),
    "fruit": ("apple", "banana", "orange", "pear", "grape", "strawberry"),
    "figure": ("circle", "square", "triangle", "star", "rectangle", "diamond", "heart", "cross"),
    "plant": ("tree", "flower", "bush", "grass"),
    "drink": ("beer", "wine", "coffee", "tea", "juice"),
}  # fmt: skip
_IRREGULAR = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "feet": "foot", "teeth": "tooth",
    "mice": "mouse", "geese": "goose", "knives": "knife", "leaves": "leaf", "shelves": "shelf", "wolves": "wolf",
    "loaves": "loaf", "halves": "half", "wives": "wife", "calves": "calf", "oxen": "ox", "buses": "bus",
    "gases": "gas", "lenses": "lens", "persons": "person", "skies": "sky", "ties": "tie", "pies": "pie",
    "movies": "movie", "cookies": "cookie", "shoes": "shoe", "toes": "toe", "canoes": "canoe", "axes": "axe",
}  # fmt: skip


def singular(noun: str) -> str:
    """The singular of an English noun, in lower case, by rules and a list of exceptions."""
    word = noun.casefold()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes", "oes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word


def names(noun: str) -> frozenset[str]:
    """What a thing may be called, if this noun (in the singular) names it: itself, synonyms and broader words."""
    return _NAMES.get(noun, frozenset((noun,)))


def attribute(word: str) -> str:
    """The colour or size that a word says, such as "gray" for "grey-coloured"; "" for any other word."""
    plain = word.casefold().removesuffix("-colored").removesuffix("-coloured").removesuffix("-sized")
    return _ATTRIBUTES.get(plain, plain) if plain in COLOURS or plain in SIZES else ""


def fits(said: Iterable[str], known: Iterable[str]) -> bool:
    """Whether a thing with these known colours and sizes may be what a text calls by others.

    A thing of no known colour may have any, and the same for sizes.
    """
    words, has = set(said), set(known)
    return all(words & kind <= has for kind in (COLOURS, SIZES) if has & kind)


def _closed(groups: Iterable[Iterable[str]]) -> dict[str, frozenset[str]]:
    same: dict[str, set[str]] = {}
    for group in groups:
        for word in group:
            same.setdefault(word, {word}).update(group)
    for broad, narrow in _BROADER.items():
        for word in narrow:
            for each in same.get(word, {word}) | {word}:
                same.setdefault(each, {each}).add(broad)
    for words in same.values():
        words.update(broad for word in tuple(words) for broad, narrow in _BROADER.items() if word in narrow)
    return {word: frozenset(words) for word, words in same.items()}


_NAMES = _closed(SYNONYMS)
_ATTRIBUTES = {word: group[0] for group in _SAME_ATTRIBUTE for word in group}
