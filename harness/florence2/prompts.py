"""Kind of question to prompt text, and how its answer is to be read.

The prompts are those of the published processor (15 task tokens); any other text passes through unchanged, as
there.  The text put into a prompt is stripped, as transformers does (the original code does not).

Florence-2's release has no prompt for referring expressions: `refer` grounds the expression as a phrase, which
is how the released models are evaluated, and the first box written is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import Boxes, Kind, Polygons, Question, Size, Text, Value
from harness.errors import UsageError
from harness.florence2.locations import Item, items, plain, read_boxes, read_polygons, read_quads, write_boxes
from harness.florence2.locations import write_polygons as write_outline

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
TASK_OF_KIND: dict[Kind, str] = {
    "caption": "<CAPTION>",
    "detect": "<OD>",
    "ground": "<CAPTION_TO_PHRASE_GROUNDING>",
    "refer": "<CAPTION_TO_PHRASE_GROUNDING>",
    "segment": "<REFERRING_EXPRESSION_SEGMENTATION>",
    "ocr": "<OCR_WITH_REGION>",
    "vqa": "",
}


def expand(text: str) -> str:
    """A text with a task token to its prompt: `<OVD>`-like tokens take the rest of the text as their input.

    UsageError where a token that takes no input is given one.
    """
    for token, prompt in PROMPTS.items():
        if token in text:
            if text != token:
                raise UsageError(f"{token} takes no further text; it was given {text!r}")
            return prompt
    for token, prompt in PROMPTS_WITH_INPUT.items():
        if token in text:
            return prompt.format(input=text.replace(token, "").strip())
    return text


def prompt_of(question: Question) -> str:
    """The prompt text for a question."""
    token = TASK_OF_KIND[question.kind]
    if token in PROMPTS:
        return PROMPTS[token]
    return PROMPTS_WITH_INPUT[token].format(input=question.text.strip()) if token else question.text


def read_answer(kind: Kind, pieces: Sequence[Item], size: Size) -> Value | None:
    """What can be read in an answer about an image of this size; None where it does not have the kind's form."""
    if kind in ("detect", "ground", "refer"):
        boxes = read_boxes(pieces, size)
        return boxes if boxes.boxes else None
    if kind == "segment":
        outline = read_polygons(pieces, size)
        return outline if outline.rings else None
    if kind == "ocr":
        quads = read_quads(pieces, size)
        return quads if quads.quads else None
    return Text((plain(pieces),))


def read_text(kind: Kind, text: str, size: Size) -> Value | None:
    """The same, from a string with location tokens."""
    return read_answer(kind, items(text), size)


def write_answer(kind: Kind, value: Value, size: Size) -> str:
    """The text a model is taught to answer; UsageError where a value has no written form for this kind."""
    if isinstance(value, Text):
        return value.texts[0]
    if isinstance(value, Boxes):
        return write_boxes(value, size)
    if isinstance(value, Polygons):
        return write_outline(value, size)
    raise UsageError(f"a {type(value).__name__} cannot be written as the answer to a {kind!r} question")
