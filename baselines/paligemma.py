"""PaliGemma and PaliGemma 2: SigLIP's vision tower and Gemma, with tokens for coordinates and for masks.

Prompts, settings and parsing are those of the authors' transfers (google-research/big_vision at 0127fb6,
`configs/proj/paligemma` and `evaluators/proj/paligemma/transfers/segmentation.py`; arXiv:2407.07726, arXiv:2412.03555).

Coordinates: `<locYYYY>` four times are y1, x1, y2, x2, each a number from 0 to 1023, as a share of 1023 of the image's
side.  Many guides divide by 1024.

The mix and pt checkpoints are released without an evaluation of detection or of single expressions.  Their `detect` and
`segment` prompts are those of the authors' README.  The authors do not ground the phrases of a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines import generative
from baselines.entry import Entry, Setting
from baselines.generative import Generative, Written
from baselines.pretrained import Checkpoint, Pretrained, load
from harness.core import Box, Boxes, Kind, Question, Size, Text, Value
from harness.errors import CheckpointError, DataError, UsageError
from harness.florence2.files import file_digest

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
LAST = 1023  # the number of the last coordinate token
CODES = 16  # mask tokens of an object
CODEBOOK = 128
SEPARATOR = ";"
PROMPTS: Mapping[Kind, str] = {
    "caption": "caption en",
    "vqa": "answer en {}",
    "detect": "detect {}",
    "find": "detect {}",
    "refer": "detect {}",
    "segment": "segment {}",
}
BARE: Mapping[Kind, str] = {"refer": "{}", "segment": "{}"}  # of the RefCOCO transfer: the expression alone
LONGEST: Mapping[Kind, int] = {  # tokens: the authors' 32 to 48; for lists of boxes, the context of pre-training
    "caption": 32, "vqa": 48, "detect": 512, "find": 512, "refer": 48, "segment": 48,
}  # fmt: skip
GENERAL: frozenset[Kind] = frozenset({"caption", "vqa", "detect", "find", "refer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(generative.Options):
    """The options of these models."""

    vae: str | None = None
    "Weights of the mask decoder, the authors' vae-oid.npz; without them the model segments nothing"


@dataclass(frozen=True, slots=True)
class Variant:
    """What sets a kind of checkpoint apart: its kinds of question, its prompts, and the beams of its captions.

    `segments`: it answers `segment` too, with the weights of the mask decoder.
    """

    kinds: frozenset[Kind]
    prompts: Mapping[Kind, str]
    beams: int = 2
    segments: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """An object that was written: its box in pixels, its 16 mask codes if any, and the scores of box and label."""

    box: Box
    label: str
    codes: tuple[int, ...]
    region_score: float
    label_score: float


class PaliGemma:
    """How PaliGemma is queried and read; a `generative.Family`."""

    version = ANSWERS_VERSION
    scored = True

    def __init__(self, loaded: Pretrained, variant: Variant, vae: Path | None) -> None:
        self.variant = variant
        self.kinds: frozenset[Kind] = variant.kinds | _masks(vae is not None)
        self._pixels = loaded.image_processor("SiglipImageProcessorPil")
        self.identity = ""
        self._decoder: Any = None
        if vae is not None:
            from baselines.paligemma_masks import MaskDecoder

            self._decoder = MaskDecoder.load(vae)
            self.identity = f"vae {file_digest([vae])[:16]}"
        vision = loaded.model.config.vision_config
        self._image_token = int(loaded.model.config.image_token_id)
        self._image_tokens = (vision.image_size // vision.patch_size) ** 2
        sides = self._pixels.size["height"], self._pixels.size["width"]
        if sides != (vision.image_size, vision.image_size):
            made = f"{loaded.folder}: its image processor makes {sides[0]} x {sides[1]} pixels"
            raise CheckpointError(f"{made}; the model takes {vision.image_size} x {vision.image_size}")
        self._tokenizer = loaded.tokenizer
        self._first_bin = self._first(loaded.folder, "<loc0000>", "<loc1023>", LAST)
        self._first_code = self._first(loaded.folder, "<seg000>", "<seg127>", CODEBOOK - 1)
        self._silent = {self._tokenizer.bos_token_id, self._tokenizer.eos_token_id, self._tokenizer.pad_token_id}

    def _first(self, folder: Path, first: str, last: str, distance: int) -> int:
        """The id of the first of a row of tokens; CheckpointError where they are not there in a row."""
        known = self._tokenizer.get_vocab()
        if first not in known or known.get(last) != known[first] + distance:
            raise CheckpointError(f"{folder}: its tokenizer has no row of tokens {first} to {last}")
        return int(known[first])

    def prompts(self, question: Question) -> Sequence[str]:
        """One prompt.  DataError for a category with the separator in it, and for a text with `<image>` in it."""
        text = question.text.strip()
        if question.kind in ("detect", "find"):
            names = [phrase.text.strip() for phrase in question.phrases]
            if not names:
                return ()
            for name in names:
                if SEPARATOR in name:
                    raise DataError(f"the category {name!r} has {SEPARATOR!r} in it, which separates categories here")
            text = f" {SEPARATOR} ".join(names)
        prompt = self.variant.prompts[question.kind].format(text)
        if self._image_token in self.ids(prompt):
            raise DataError(f"the prompt {prompt[:60]!r} has <image> in it, which stands for the image")
        return (prompt,)

    def ids(self, prompt: str) -> list[int]:
        """The tokens behind the image: the start token, the prompt, and the line break that ends it."""
        text = f"{self._tokenizer.bos_token}{prompt}\n"
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def settings(self, kind: Kind) -> Mapping[str, Any]:
        """Two beams for captions (three in TextCaps' transfer), else greedy search; the authors' lengths."""
        return {"num_beams": self.variant.beams if kind == "caption" else 1, "max_new_tokens": LONGEST[kind]}

    def key(self, image: Image.Image, prompt: str) -> Hashable:
        """All prompts can be in one batch."""
        return ()

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, Any]:
        """The pixels, and the tokens: padding on the left, the image's placeholders, the prompt.

        `token_type_ids` are 0: all of it is prefix, within which attention goes both ways.  Without them transformers
        makes the prompts of a padded batch causal.
        """
        import torch

        rows = [[self._image_token] * self._image_tokens + self.ids(prompt) for prompt in prompts]
        longest = max(map(len, rows))
        padding = [longest - len(row) for row in rows]
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([[pad] * count + row for count, row in zip(padding, rows, strict=True)])
        real = torch.tensor([[0] * count + [1] * (longest - count) for count in padding])
        pixels = self._pixels(list(images), return_tensors="pt")["pixel_values"]
        return {
            "pixel_values": pixels, "input_ids": ids, "attention_mask": real, "token_type_ids": torch.zeros_like(ids)
        }  # fmt: skip

    def begin(self, inputs: Mapping[str, Any]) -> int:
        """The prompt's length."""
        return int(inputs["input_ids"].shape[1])

    def decode(self, ids: Sequence[int]) -> str:
        """The text with coordinate and mask tokens, without start, end and padding."""
        kept = [token for token in ids if token not in self._silent]
        return str(self._tokenizer.decode(kept, skip_special_tokens=False))

    def value(self, question: Question, written: Sequence[Written], size: Size) -> Value | None:
        """Words, boxes in the order in which they were written, or the mask of the first object."""
        output = written[0]
        empty = not self.decode(output.ids).strip()
        if question.kind in ("caption", "vqa"):
            words = self.decode([token for token in output.ids if not self._is_special(token)]).strip()
            return Text((words,)) if words or empty else None
        found = self.read(output.ids, output.log_probabilities, size)
        if question.kind == "segment":
            return self._mask(found, size)
        if not found and not empty:
            return None
        return Boxes(
            tuple(thing.box for thing in found),
            tuple(thing.label for thing in found),
            tuple(thing.region_score for thing in found),
            tuple(thing.label_score for thing in found),
        )

    def _is_special(self, token: int) -> bool:
        return 0 <= token - self._first_bin <= LAST or 0 <= token - self._first_code < CODEBOOK

    def read(self, ids: Sequence[int], log_probabilities: Sequence[float], size: Size) -> list[Found]:
        """The objects of an answer; coordinates in pixels of an image of this size.

        An object is four coordinate tokens, then mask tokens if any, then its label up to the next coordinate.  An
        incomplete group of coordinates is dropped.  Of several boxes in a row, the last has the label.
        """
        found: list[Found] = []
        logs = log_probabilities or [0.0] * len(ids)
        place = 0
        while place < len(ids):
            bins: list[int] = []
            start = place
            while place < len(ids) and 0 <= ids[place] - self._first_bin <= LAST:
                bins.append(ids[place] - self._first_bin)
                place += 1
            rest = place
            while place < len(ids) and not 0 <= ids[place] - self._first_bin <= LAST:
                place += 1
            tail = range(rest, place)
            codes = tuple(token - self._first_code for token in ids[rest : min(rest + CODES, place)])
            whole = len(codes) == CODES and all(0 <= code < CODEBOOK for code in codes)
            words = [at for at in tail if ids[at] not in self._silent and not self._is_special(ids[at])]
            label = self.decode([ids[at] for at in words]).strip().strip(SEPARATOR).strip()
            named = [at for at in words if self.decode([ids[at]]).strip() not in ("", SEPARATOR)]
            count = len(bins) // 4
            for number in range(count):
                last = number == count - 1
                four = range(start + 4 * number, start + 4 * number + 4)
                found.append(
                    Found(
                        to_box(bins[4 * number : 4 * number + 4], size),
                        label if last else "",
                        codes if last and whole else (),
                        _confidence([logs[at] for at in four]),
                        _confidence([logs[at] for at in named] if last else []),
                    )
                )
        return found

    def _mask(self, found: Sequence[Found], size: Size) -> Value | None:
        """The mask of the first object; None, as the authors count it, where it lacks codes or its box a pixel."""
        from baselines.paligemma_masks import paste

        if not found or not found[0].codes:
            return None
        values = self._decoder([found[0].codes])[0].numpy()
        return paste(values, found[0].box, size)


def to_box(bins: Sequence[int], size: Size) -> Box:
    """The box in pixels of four numbers y1, x1, y2, x2 from 0 to 1023."""
    top, left, bottom, right = bins
    return left / LAST * size.width, top / LAST * size.height, right / LAST * size.width, bottom / LAST * size.height


def _confidence(log_probabilities: Sequence[float]) -> float:
    """exp of the mean log-probability of the tokens; 1 for no tokens."""
    return math.exp(sum(log_probabilities) / len(log_probabilities)) if log_probabilities else 1.0


def _build(setting: Setting, options: Options, checkpoint: Checkpoint, variant: Variant) -> Generative:
    loaded = load("PaliGemmaForConditionalGeneration", checkpoint, setting, options)
    vae = Path(options.vae).expanduser() if options.vae is not None else None
    return Generative(PaliGemma(loaded, variant, vae), loaded, setting, options)


def _refuse(setting: Setting, options: Options, variant: Variant) -> None:
    """UsageError, ResourceError or CheckpointError for settings that cannot work, before anything is loaded."""
    if options.vae is not None:
        if not variant.segments:
            raise UsageError("--vae: this checkpoint was tuned for one task without masks")
        if not Path(options.vae).expanduser().is_file():
            raise CheckpointError(f"--vae {options.vae}: no such file; the authors' vae-oid.npz is expected")
    generative.refuse(setting, options)


def _kinds(options: Options, variant: Variant) -> frozenset[Kind]:
    """The kinds of a variant; masks only with their decoder."""
    return variant.kinds | _masks(variant.segments and options.vae is not None)


def _masks(decoder: bool) -> frozenset[Kind]:
    return frozenset({"segment"}) if decoder else frozenset()


def _entry(name: str, about: str, variant: Variant) -> Entry:
    checkpoint = Checkpoint(name, f"google/{name}")
    size = name.split("-")[1]  # 3b, 10b or 28b
    return checkpoint.entry(
        f"{about} (gated: accept Google's Gemma licence on the hub)",
        partial(_build, variant=variant),
        options=Options,
        kinds=variant.kinds,
        kinds_of=partial(_kinds, variant=variant),
        refuse=partial(_refuse, variant=variant),
        parameters=f"{size.removesuffix('b')} B",
        protocol="fine_tuned" if "-ft-" in name else "zero_shot",
        checkpoint=checkpoint.folder,
        base=checkpoint.base,
        recipe="lora",
        teach=partial(_teach, checkpoint=checkpoint, variant=variant),
    )


def _teach(weights: str | None, recipe: Any, device: str, checkpoint: Checkpoint, variant: Variant) -> Any:
    from baselines.paligemma_training import teach

    return teach(weights, recipe, device, checkpoint=checkpoint, variant=variant)


_GENERAL = Variant(GENERAL, PROMPTS, segments=True)
_CAPTION, _VQA = Variant(frozenset({"caption"}), PROMPTS), Variant(frozenset({"vqa"}), PROMPTS)
_TUNED: Mapping[str, tuple[str, Variant]] = {  # the transfers of tasks of this project that are on the hub
    "cococap-448": ("COCO captions", _CAPTION),
    "textcaps-224": ("TextCaps", Variant(frozenset({"caption"}), PROMPTS, beams=3)),
    "textcaps-448": ("TextCaps", Variant(frozenset({"caption"}), PROMPTS, beams=3)),
    "vqav2-224": ("VQA v2", _VQA),
    "vqav2-448": ("VQA v2", _VQA),
    "textvqa-224": ("TextVQA", _VQA),
    "textvqa-896": ("TextVQA", _VQA),
    "vizwizvqa-224": ("VizWiz", _VQA),
    "refcoco-seg-896": ("RefCOCO, RefCOCO+ and RefCOCOg together", Variant(frozenset({"refer"}), BARE, segments=True)),
}
_STAGES = {"pt": "pre-trained, for fine-tuning", "mix": "tuned on a mixture of tasks"}
ENTRIES = (
    *(
        _entry(f"paligemma-3b-{stage}-{side}", f"PaliGemma 3B {_STAGES[stage]}, {side} pixels", _GENERAL)
        for stage, sides in (("mix", (224, 448)), ("pt", (224, 448, 896)))
        for side in sides
    ),
    *(
        _entry(f"paligemma-3b-ft-{name}", f"PaliGemma 3B fine-tuned on {task}", variant)
        for name, (task, variant) in _TUNED.items()
    ),
    *(
        _entry(
            f"paligemma2-{size}-{stage}-{side}", f"PaliGemma 2 {size.upper()} {_STAGES[stage]}, {side} pixels", _GENERAL
        )
        for size in ("3b", "10b", "28b")
        for stage, sides in (("mix", (224, 448)), ("pt", (224, 448, 896)))
        for side in sides
    ),
)
