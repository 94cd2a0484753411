"""Kosmos-2: captions, answers and boxes from one language model (arXiv:2306.14824).

Prompts, settings and boxes of `refer` and `ground` are those of the authors' evaluation (microsoft/unilm,
`kosmos-2/evaluation`: `refcoco/cook_data.py`, `flickr_entities/cook_data.py`, `flickr_entities/decode_string.py`,
`grd-zeroshot-refcoco.sh`).  Their evaluation of captions and answers is not published: `docs/rivals.md` says what is
done here.

Coordinates: a box is two cells of a 32 x 32 grid over the whole image, row by row; see `box_of`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from baselines.entry import Setting
from baselines.generative import Generative, Options, Written, refuse, without_tokens
from baselines.pretrained import Checkpoint, Pretrained, check_vocabulary, load
from harness.core import Box, Boxes, Grounded, Kind, Question, Size, Text, Value

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset({"caption", "ground", "refer", "vqa"})
CELLS = 32  # a side
CAPTION = "An image of"
VQA = "Question: {} Answer:"
LONGEST: Mapping[Kind, int] = {"caption": 64, "vqa": 16, "refer": 500, "ground": 500}  # tokens
PAIR = r"<patch_index_\d+><patch_index_\d+>"
DELIMITER = "</delimiter_of_multi_objects/>"
OBJECT = re.compile(rf"<phrase>([^<]*)</phrase><object>({PAIR}(?:{DELIMITER}{PAIR})*)</object>")
TAG = re.compile(r"<[^<>]*>")


class Kosmos2:
    """How Kosmos-2 is asked and read; a `generative.Family`."""

    kinds = KINDS
    version = ANSWERS_VERSION
    scored = False
    identity = ""

    def __init__(self, loaded: Pretrained) -> None:
        import transformers

        self._queries = loaded.model.config.latent_query_num
        self._tokenizer = loaded.tokenizer
        pixels = loaded.image_processor("CLIPImageProcessorPil")
        self._processor = transformers.Kosmos2Processor(pixels, self._tokenizer)  # adds those tags that are missing
        check_vocabulary(loaded, loaded.model.config.text_config.vocab_size)

    def prompts(self, question: Question) -> Sequence[str]:
        """One prompt; for `ground` one of each phrase, which holds the sentence only up to the phrase."""
        text = question.text
        if question.kind == "caption":
            return (CAPTION,)
        if question.kind == "vqa":
            return (VQA.format(self._plain(text)),)
        if question.kind == "refer":
            return (f"<grounding><phrase>{self._plain(text)}</phrase>",)
        return tuple(
            f"<grounding>{self._plain(text[: phrase.start])} <phrase>{self._plain(phrase.text)}</phrase>"
            for phrase in question.phrases
        )

    def settings(self, kind: Kind) -> Mapping[str, Any]:
        """Greedy search without a repeated trigram."""
        return {"num_beams": 1, "no_repeat_ngram_size": 3, "max_new_tokens": LONGEST[kind]}

    def key(self, image: Image.Image, prompt: str) -> Hashable:
        """The prompt's length in tokens.

        transformers 5.24 gives wrong positions to a prompt that is padded on the left, from its second output token on.
        """
        return len(self._tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, Any]:
        """The pixels, and the tokens: start, image, prompt."""
        return dict(
            self._processor(
                images=list(images), text=list(prompts), num_image_tokens=self._queries, return_tensors="pt"
            )
        )

    def begin(self, inputs: Mapping[str, Any]) -> int:
        """The image's and the prompt's tokens."""
        return int(inputs["input_ids"].shape[1])

    def decode(self, ids: Sequence[int]) -> str:
        """The text with the tags of phrases and boxes; other special tokens, such as the end, are left out."""
        special = {self._tokenizer.bos_token_id, self._tokenizer.eos_token_id, self._tokenizer.pad_token_id}
        return str(self._tokenizer.decode([token for token in ids if token not in special]))

    def value(self, question: Question, written: Sequence[Written], size: Size) -> Value | None:
        """A text without tags, or the boxes; None where no output has a box."""
        if question.kind in ("caption", "vqa"):
            return Text((" ".join(TAG.sub(" ", written[0].text).split()),))
        prompts = self.prompts(question)
        found = [boxes_of(prompt + output.text, size) for prompt, output in zip(prompts, written, strict=True)]
        if prompts and not any(found):
            return None
        return Boxes(found[0]) if question.kind == "refer" else Grounded(tuple(found))

    def _plain(self, text: str) -> str:
        return without_tokens(text, self._tokenizer)


def boxes_of(text: str, size: Size) -> tuple[Box, ...]:
    """The boxes of the first phrase of a text, and of later phrases with the same words, in pixels.

    The authors' evaluators match phrases by their words too.  A pair of cells outside the grid, or with the lower right
    cell left of or above the other, is no box.
    """
    text = re.sub(r">\s+<", "><", text)
    start, end = text.find("<phrase>") + len("<phrase>"), text.find("</phrase>")
    words = text[start:end].replace("<", "").strip()
    text = f"<phrase>{words}{text[end:]}"
    objects = [pairs for phrase, pairs in OBJECT.findall(text) if phrase.strip() == words]
    found = []
    for pairs in objects:
        cells = [int(number) for number in re.findall(r"\d+", pairs)]
        for first, last in zip(cells[::2], cells[1::2], strict=True):
            if max(first, last) < CELLS * CELLS and first % CELLS <= last % CELLS and first <= last:
                found.append(box_of(first, last, size))
    return tuple(found)


def box_of(first: int, last: int, size: Size) -> Box:
    """The box from its upper left to its lower right cell, in pixels: between the centres of the cells.

    Cells of one row or one column span the box with their outer edges.
    """
    top, left = divmod(first, CELLS)
    bottom, right = divmod(last, CELLS)
    inset = 0.0 if left == right or top == bottom else 0.5
    width, height = size.width / CELLS, size.height / CELLS
    return (left + inset) * width, (top + inset) * height, (right + 1 - inset) * width, (bottom + 1 - inset) * height


def _build(setting: Setting, options: Options, checkpoint: Checkpoint) -> Generative:
    loaded = load("Kosmos2ForConditionalGeneration", checkpoint, setting, options)
    return Generative(Kosmos2(loaded), loaded, setting, options)


CHECKPOINT = Checkpoint("kosmos2", "microsoft/kosmos-2-patch14-224")
ENTRIES = (
    CHECKPOINT.entry(
        "Kosmos-2, which writes boxes as cells of a 32 x 32 grid",
        _build,
        options=Options,
        kinds=KINDS,
        refuse=refuse,
        parameters="1.7 B",
    ),
)
