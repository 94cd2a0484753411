"""The prompts of Florence-2 for each kind of question: one table, `FORMS`.  `reading.py` parses the answers.

The prompts are those of the published processor, which has 15 task tokens.  Any other text is sent unchanged.  The text
inserted into a prompt is stripped, as in transformers (the original code does not strip it).

A kind may have several forms.  The first is the default; FAMILIES lists other defaults of a family of checkpoints;
`run --prompt kind=form` chooses.  A form is queried in one of four ways (`Form.over`):
    once     one prompt
    each     one prompt for each phrase of the question
    joined   one prompt with all phrases of the question
    region   one prompt with the question's region as four location tokens

Florence-2's release has no prompt for referring expressions.  `refer` grounds the expression as a phrase, and the first
written box is the answer.  The release has no prompt for visual questions either: only fine-tuned checkpoints answer
them, and their prompt is the question alone.

Two forms are baselines for studies of prompts: `generic` has one wording for all kinds, and `paraphrase` has a wording
of each kind that no checkpoint was trained with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.core import Box, Boxes, Kind, Question, Size
from harness.errors import DataError, UsageError
from harness.florence2.locations import write_boxes
from harness.geometry.boxes import is_finite

PROMPTS = {
    "<OCR>": "What is the text in the image?",
    "<OCR_WITH_REGION>": "What is the text in the image, with regions?",
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
    "<OD>": "Locate the objects with category name in the image.",
    "<DENSE_REGION_CAPTION>": "Locate the objects in the image, with their descriptions.",
    "<REGION_PROPOSAL>": "Locate the region proposals in the image.",
}
PROMPTS_WITH_INPUT = {
    "<CAPTION_TO_PHRASE_GROUNDING>": "Locate the phrases in the caption: {input}",
    "<REFERRING_EXPRESSION_SEGMENTATION>": "Locate {input} in the image with mask",
    "<REGION_TO_SEGMENTATION>": "What is the polygon mask of region {input}",
    "<OPEN_VOCABULARY_DETECTION>": "Locate {input} in the image.",
    "<REGION_TO_CATEGORY>": "What is the region {input}?",
    "<REGION_TO_DESCRIPTION>": "What does the region {input} describe?",
    "<REGION_TO_OCR>": "What text is in the region {input}?",
}
AND = "<and>"
DIGEST = 8  # hexadecimal digits in each part of a trail (`core.Trail`)
GENERIC = "What is in the image?"


@dataclass(frozen=True, slots=True)
class Form:
    """One wording of a kind: a text that may begin with a task token (see `expand`).

    `{}` stands for the question's text, a phrase, all phrases, or a region; see `over` in the module's docstring.
    `join` separates joined phrases.  `said` uses a phrase's longer wording where a task has one (ODinW, as in GLIP).
    Raise `version` whenever the text of a form other than its kind's first changes: fingerprints contain it.
    """

    text: str
    over: Literal["once", "each", "joined", "region"] = "once"
    join: str = AND
    said: bool = False
    version: int = 1


_GROUNDING, _FINDING = "<CAPTION_TO_PHRASE_GROUNDING>{}", "<OPEN_VOCABULARY_DETECTION>{}"
FORMS: Mapping[Kind, Mapping[str, Form]] = {
    "caption": {
        "brief": Form("<CAPTION>"),
        "detailed": Form("<DETAILED_CAPTION>"),
        "more_detailed": Form("<MORE_DETAILED_CAPTION>"),
        "generic": Form(GENERIC, version=2),
        "paraphrase": Form("Write a sentence about this picture.", version=2),
    },
    "detailed_caption": {"detailed": Form("<DETAILED_CAPTION>")},
    "more_detailed_caption": {"more_detailed": Form("<MORE_DETAILED_CAPTION>")},
    "detect": {
        "od": Form("<OD>"),
        "joined": Form(_FINDING, "joined"),
        "each": Form(_FINDING, "each"),
        "generic": Form(GENERIC, version=2),
        "paraphrase": Form("Which things are in the picture, and where?", version=2),
    },
    "find": {
        "each": Form(_FINDING, "each"),
        "said": Form(_FINDING, "each", said=True),
        "joined": Form(_FINDING, "joined"),
        "grounding": Form(_GROUNDING, "joined", ". "),
        "od": Form("<OD>"),
    },
    "ground": {
        "sentence": Form(_GROUNDING),
        "each": Form(_GROUNDING, "each"),
        "open": Form(_FINDING, "each"),
        "generic": Form(f"{GENERIC} {{}}", version=2),
        "paraphrase": Form("Where is what this text names? {}", version=2),
    },
    "refer": {
        "grounding": Form(_GROUNDING),
        "open": Form(_FINDING),
        "generic": Form(f"{GENERIC} {{}}", version=2),
        "paraphrase": Form("Where is what this names? {}", version=2),
    },
    "segment": {
        "expression": Form("<REFERRING_EXPRESSION_SEGMENTATION>{}"),
        "generic": Form(f"{GENERIC} {{}}", version=2),
        "paraphrase": Form("Draw the outline of {} in the picture", version=2),
    },
    "vqa": {"bare": Form("{}"), "vqa": Form("<VQA>{}"), "docvqa": Form("<DocVQA>{}")},
    "ocr": {"text": Form("<OCR>")},
    "ocr_regions": {"regions": Form("<OCR_WITH_REGION>")},
    "name": {"category": Form("<REGION_TO_CATEGORY>{}", "region")},
    "describe": {"description": Form("<REGION_TO_DESCRIPTION>{}", "region")},
    "outline": {"segmentation": Form("<REGION_TO_SEGMENTATION>{}", "region")},
    "read": {"ocr": Form("<REGION_TO_OCR>{}", "region")},
    "regions": {"dense": Form("<DENSE_REGION_CAPTION>")},
    "propose": {"proposals": Form("<REGION_PROPOSAL>")},
}
FAMILIES: Mapping[str, Mapping[Kind, str]] = {"pretrained": {}, "fine_tuned": {}}  # defaults other than the first form


def choose(family: str = "pretrained", given: str | None = None) -> dict[Kind, str]:
    """The form of every kind: the family's default, or the one in `given`, written `kind=form,kind=form`.

    UsageError for an unknown kind or form.
    """
    chosen: dict[Kind, str] = {kind: next(iter(forms)) for kind, forms in FORMS.items()} | dict(FAMILIES[family])
    kinds: dict[str, Kind] = {kind: kind for kind in FORMS}
    for pair in given.split(",") if given else ():
        name, _, form = pair.strip().partition("=")
        if name not in kinds or form not in FORMS[kinds[name]]:
            known = "; ".join(f"{kind}={'|'.join(forms)}" for kind, forms in FORMS.items() if len(forms) > 1)
            raise UsageError(f"--prompt {pair.strip()}: there is no such form; there are {known}")
        chosen[kinds[name]] = form
    return chosen


def name_of(kind: Kind, form: str) -> str:
    """`kind=form`, followed by ` v<version>` if the version is not 1."""
    version = FORMS[kind][form].version
    return f"{kind}={form}" if version == 1 else f"{kind}={form} v{version}"


def expand(template: str, text: str = "") -> str:
    """The prompt that the published processor builds from a form's text, with `text` in place of `{}`.

    Task tokens inside `text` are not expanded: `text` comes from a user.
    """
    if template in PROMPTS:
        return PROMPTS[template]
    for token, prompt in PROMPTS_WITH_INPUT.items():
        if template.startswith(token):
            return prompt.format(input=template.removeprefix(token).format(text).strip())
    return template.format(text)


def prompts_of(question: Question, form: str = "", size: Size | None = None) -> tuple[str, ...]:
    """The prompts of a question, in a form of its kind ("": the default).

    Empty for a form over `each` phrase of a question without phrases.  `size` is the size of the opened image in
    pixels; None: the question's.  DataError if a region cannot be written (see `region_tokens`).
    """
    forms = FORMS[question.kind]
    chosen = forms[form or next(iter(forms))]
    if chosen.over == "once":
        texts = [question.text]
    elif chosen.over == "each":
        texts = [phrase.said or phrase.text if chosen.said else phrase.text for phrase in question.phrases]
    elif chosen.over == "region":
        texts = [region_tokens(question, size or question.size)]
    else:
        texts = [chosen.join.join(phrase.text.strip() for phrase in question.phrases)]
    return tuple(expand(chosen.text, text) for text in texts)


def digest(sequences: Sequence[str] | Sequence[Sequence[int]]) -> str:
    """The start of the sha256 of prompts, or of lists of token ids, as a trail has it."""
    return hashlib.sha256(repr(sequences).encode()).hexdigest()[:DIGEST]


def region_tokens(question: Question, size: Size | None) -> str:
    """The question's region as four location tokens; `size` is the image's, in pixels.

    An edge outside the image becomes the nearest bin.  DataError as for `region_in`.
    """
    region, size = region_in(question, size)
    return write_boxes(Boxes((region,)), size)


def region_in(question: Question, size: Size | None) -> tuple[Box, Size]:
    """The question's region, which may reach beyond the image, and the image's size, in pixels.

    DataError if the region or the size is missing, or if the region is inverted, empty, or entirely outside the image.
    """
    region = question.region
    if region is None:
        raise DataError(f"a {question.kind!r} question needs a region, and this question has none")
    if size is None:
        raise DataError(f"a {question.kind!r} question needs the size of its image in pixels, to write its region")
    left, top, right, bottom = region
    if not (is_finite(region) and left < right and top < bottom):
        raise DataError(f"the region {tuple(region)} is inverted or empty; left < right and top < bottom are needed")
    if right <= 0 or bottom <= 0 or left >= size.width or top >= size.height:
        raise DataError(f"the region {tuple(region)} is outside the image, which is {size.width}x{size.height}")
    return region, size
