"""The prompts of Florence-2 for each kind of question: one table, `FORMS`.  `reading.py` parses the answers.

The prompts are those of the published processor (15 task tokens); any other text passes through unchanged.  The text
put into a prompt is stripped, as transformers does (the original code does not).

A kind may be asked in several forms; the first is the default, FAMILIES says where a family of checkpoints has
another, and `run --prompt kind=form` chooses.  Florence-2's release has no prompt for referring expressions: `refer`
grounds the expression as a phrase, and the first box written is the answer.  Nor has it one for questions: only
fine-tuned checkpoints answer those, and read them bare.

`generic` asks everything in one wording, and `paraphrase` each kind in words that no checkpoint was taught: what
studies of prompts hold against the published ones.

A form is queried once; once for each of the question's phrases (`each`); once with all of them (`joined`); or once with
the question's region (`region`), which the prompt has as four location tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.core import Boxes, Kind, Question, Size
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
GENERIC = "What is in the image?"


@dataclass(frozen=True, slots=True)
class Form:
    """A text with a task token (see `expand`); `{}` stands for the question's text, a phrase, all phrases, or a region.

    `said` puts phrases in more words, where the task has some (ODinW, as GLIP words them).  Raise `version` whenever
    the text of a form changes that is not its kind's first: fingerprints name it.
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
FAMILIES: Mapping[str, Mapping[Kind, str]] = {"pretrained": {}, "fine_tuned": {}}  # where not the first of FORMS


def choose(family: str = "pretrained", given: str | None = None) -> dict[Kind, str]:
    """The form of every kind: the family's, but for those given as `kind=form,kind=form`.

    UsageError for a kind or form that there is not.
    """
    chosen: dict[Kind, str] = {kind: next(iter(forms)) for kind, forms in FORMS.items()} | dict(FAMILIES[family])
    kinds: dict[str, Kind] = {kind: kind for kind in FORMS}
    for pair in given.split(",") if given else ():
        name, _, form = pair.strip().partition("=")
        if name not in kinds or form not in FORMS[kinds[name]]:
            there = "; ".join(f"{kind}={'|'.join(forms)}" for kind, forms in FORMS.items() if len(forms) > 1)
            raise UsageError(f"--prompt {pair.strip()}: there is no such form; there are {there}")
        chosen[kinds[name]] = form
    return chosen


def name_of(kind: Kind, form: str) -> str:
    """`kind=form`, and the version of the form's text where it is not the first."""
    version = FORMS[kind][form].version
    return f"{kind}={form}" if version == 1 else f"{kind}={form} v{version}"


def expand(template: str, text: str = "") -> str:
    """A form's text as the prompt that the published processor makes of it, with `text` in place of `{}`.

    Tokens in `text` itself stay as they are: it is a user's.
    """
    if template in PROMPTS:
        return PROMPTS[template]
    for token, prompt in PROMPTS_WITH_INPUT.items():
        if template.startswith(token):
            return prompt.format(input=template.removeprefix(token).format(text).strip())
    return template.format(text)


def prompts_of(question: Question, form: str = "", size: Size | None = None) -> tuple[str, ...]:
    """The prompt texts for a question, in a form of its kind (''  : the first); none where it names no phrase.

    `size` is the opened image's, if the caller knows it (None: the question's).  DataError for a question about a
    region whose region cannot be written (see `region_tokens`).
    """
    forms = FORMS[question.kind]
    asked = forms[form or next(iter(forms))]
    if asked.over == "once":
        filled = [question.text]
    elif asked.over == "each":
        filled = [phrase.said or phrase.text if asked.said else phrase.text for phrase in question.phrases]
    elif asked.over == "region":
        filled = [region_tokens(question, size or question.size)]
    else:
        filled = [asked.join.join(phrase.text.strip() for phrase in question.phrases)]
    return tuple(expand(asked.text, text) for text in filled)


def region_tokens(question: Question, size: Size | None) -> str:
    """The question's region as four location tokens, of an image of this size in pixels.

    An edge outside the image becomes the nearest bin.  DataError if the region or the size is missing, or if the region
    is inverted, empty, or entirely outside the image.
    """
    region = question.region
    if region is None:
        raise DataError(f"a {question.kind!r} question needs a region, and this one has none")
    if size is None:
        raise DataError(f"a {question.kind!r} question needs the size of its image to write its region")
    left, top, right, bottom = region
    if not (is_finite(region) and left < right and top < bottom):
        raise DataError(f"the region {tuple(region)} is inverted or empty; left < right and top < bottom are needed")
    if right <= 0 or bottom <= 0 or left >= size.width or top >= size.height:
        raise DataError(f"the region {tuple(region)} is outside the image, which is {size.width}x{size.height}")
    return write_boxes(Boxes((region,)), size)
