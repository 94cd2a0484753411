"""Prompt tables: for each kind of question the text that is sent, and the form in which the answer is read.

A table is one of `TABLES`, or a TOML file:

    name = "mine"
    space = "thousand"                  # pixels, thousand, unit or none
    [refer]
    ask = "Where is {}?"                # {} stands for the text, a phrase, all phrases, or a region
    over = "once"                       # once (default), each phrase, or joined: all phrases in one prompt
    join = ", "                         # between joined phrases
    read = "json"                       # text, json, lists or florence2 (see `parsing`)
    max_tokens = 128                    # longest answer; without it the server decides

A kind without an entry is not asked.  Sources of the built-in prompts are beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import msgspec
from msgspec import Meta

from baselines.endpoint.spaces import NAMES, Resize, Space, space
from harness.core import Kind, Question, Size
from harness.errors import DataError, UsageError
from harness.florence2 import prompts as florence2

Read = Literal["text", "json", "lists", "florence2"]
VERSION = 1  # raise it whenever a built-in prompt changes
TEXTS = frozenset({"caption", "detailed_caption", "more_detailed_caption", "vqa", "ocr"})
BOXES = frozenset({"detect", "find", "ground", "refer", "regions", "propose"})
MOST_BYTES = 1 << 20  # in a TOML file


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one kind is asked and read; the module's docstring explains the fields."""

    ask: str
    read: Read
    over: Literal["once", "each", "joined", "region"] = "once"
    join: str = ", "
    max_tokens: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """The prompts of a family of models, by kind, and the space of its coordinates."""

    name: str
    asks: Mapping[Kind, Ask]
    space: Space

    def kinds(self, chosen: Space) -> frozenset[Kind]:
        """The kinds that can be asked and read; without coordinates, no numbers can be read as boxes."""
        readable = ("text", "florence2") if chosen.name == "none" else get_args(Read)
        return frozenset(kind for kind, ask in self.asks.items() if ask.read in readable)

    def digest(self) -> str:
        """The start of the sha256 of all prompts and forms, for a fingerprint."""
        parts = [(kind, msgspec.to_builtins(ask)) for kind, ask in sorted(self.asks.items())]
        return hashlib.sha256(repr((VERSION, parts)).encode()).hexdigest()[:12]


def texts_of(question: Question, ask: Ask, size: Size) -> tuple[str, ...]:
    """The prompts of a question; `size` is that of its image, in pixels.

    Empty for a question over each phrase that has none.  DataError for a region that cannot be written, and for a name
    that holds the separator of joined phrases.
    """
    names = [phrase.text.strip() for phrase in question.phrases]
    if ask.over == "each":
        inserted = names
    elif ask.over == "joined":
        if split := [name for name in names if ask.join.strip() and ask.join.strip() in name]:
            raise DataError(
                f"the name {split[0]!r} holds the separator {ask.join!r}; give a prompt table with another `join`"
            )
        inserted = [ask.join.join(names)]
    elif ask.over == "region":
        inserted = [florence2.region_tokens(question, size)]
    else:
        inserted = [question.text]
    return tuple(ask.ask.replace("{}", text) for text in inserted)


def find(name: str) -> Table:
    """The built-in table of a name, or that of a TOML file; UsageError for neither, and for a malformed file."""
    if name in TABLES:
        return TABLES[name]
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(f"--prompts {name}: one of {', '.join(TABLES)}, or a TOML file (docs/endpoint.md)")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES:,} bytes")
        content = msgspec.toml.decode(path.read_bytes(), type=dict[str, object])
        return _table(content, path.stem)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--prompts {name} is not a prompt table: {error}; docs/endpoint.md shows one") from error
    except OSError as error:
        raise UsageError(f"--prompts {name} cannot be read: {error.strerror}") from error


def _table(content: dict[str, object], stem: str) -> Table:
    """The table of a TOML file; ValueError for an unknown key and for a form that cannot answer its kind."""
    name = msgspec.convert(content.pop("name", stem), str)
    stated = msgspec.convert(content.pop("space", "none"), str)
    if stated not in NAMES:
        raise ValueError(f"space {stated!r} is none of {', '.join(NAMES)}")
    resize = msgspec.convert(content.pop("resize"), Resize) if "resize" in content else None
    asks: dict[Kind, Ask] = {}
    for key, value in content.items():
        if key not in get_args(Kind):
            raise ValueError(f"{key!r} is neither a kind of question nor name, space or resize")
        ask = msgspec.convert(value, Ask)
        if (ask.read == "text" and key not in TEXTS) or (ask.read in ("json", "lists") and key not in BOXES):
            raise ValueError(f"[{key}] read = {ask.read!r}: an answer to {key} cannot be read from this form")
        if key in ("vqa", "refer", "segment", "ground", "find") and "{}" not in ask.ask:
            raise ValueError(f"[{key}] ask has no {{}}, which stands for the question's text")
        default = next(iter(florence2.FORMS[cast("Kind", key)].values()))
        if ask.read == "florence2" and ask.over != default.over:
            raise ValueError(f"[{key}] read = 'florence2' needs over = {default.over!r}")
        if ask.over == "joined" and key == "ground":
            raise ValueError("[ground] over = 'joined': phrases are grounded once or each")
        if key == "ground" and ask.read != "florence2" and ask.over != "each":
            raise ValueError("[ground] over = 'each' is needed: the boxes of one phrase from one answer")
        asks[cast("Kind", key)] = ask
    if not asks:
        raise ValueError("it has no kind of question")
    return Table(name, asks, space(stated, resize))


# ---------------------------------------------------------------------------- built-in tables

# lmms-eval's prompt for VQA of LLaVA and Qwen; InternVL's authors have a space (evaluate_vqa.py).
_SHORT = Ask("{}\nAnswer the question using a single word or phrase.", "text", max_tokens=32)
# OpenGVLab/InternVL, evaluate_caption.py; lmms-eval's NoCaps and TextCaps have the same.
_SENTENCE = Ask("Provide a one-sentence caption for the provided image.", "text", max_tokens=64)
_OCR = Ask("Read all the text in the image.", "text", max_tokens=1024)
# The form of QwenLM's issues #947 and #1035.
_LOCATE = "Locate {} in the image and output the bbox coordinates in JSON format."
_LOCATED: Mapping[Kind, Ask] = {
    "refer": Ask(_LOCATE, "json", max_tokens=256),
    "ground": Ask(_LOCATE, "json", "each", max_tokens=1024),
    "detect": Ask(_LOCATE, "json", "joined", max_tokens=4096),
    "find": Ask(_LOCATE, "json", "joined", max_tokens=4096),
}
# QwenLM/Qwen3-VL, evaluation/ODinW-13/dataset_utils.py
_EVERY = Ask(
    "Locate every instance that belongs to the following categories: '{}'. Report bbox coordinates in JSON format.",
    "json",
    "joined",
    max_tokens=4096,
)
# OpenGVLab/InternVL, evaluation of RefCOCO
_REGION = "Please provide the bounding box coordinate of the region this sentence describes: <ref>{}</ref>"
_TEXT: Mapping[Kind, Ask] = {"caption": _SENTENCE, "vqa": _SHORT, "ocr": _OCR}


def _florence2() -> dict[Kind, Ask]:
    """The first form of every kind of Florence-2, with its task token; `serve` reads these prompts."""
    asks: dict[Kind, Ask] = {}
    for kind, forms in florence2.FORMS.items():
        form = next(iter(forms.values()))
        asks[kind] = Ask(form.text, "florence2", form.over, form.join)
    return asks


TABLES: Mapping[str, Table] = {
    "plain": Table("plain", {**_TEXT}, Space("none")),
    "qwen2.5-vl": Table("qwen2.5-vl", {**_TEXT, **_LOCATED}, Space("pixels", Resize(28, 56 * 56, 12_845_056))),
    "qwen3-vl": Table("qwen3-vl", {**_TEXT, **_LOCATED, "detect": _EVERY, "find": _EVERY}, Space("thousand")),
    "internvl3": Table(
        "internvl3",
        {
            **_TEXT,
            "vqa": Ask("{} Answer the question using a single word or phrase.", "text", max_tokens=32),
            "refer": Ask(_REGION, "lists", "once", max_tokens=100),
            "ground": Ask(_REGION, "lists", "each"),
        },
        Space("thousand"),
    ),
    "florence2": Table("florence2", _florence2(), Space("none")),
}  # fmt: skip
