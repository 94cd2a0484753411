"""Florence-2 as transformers runs it: the reference for tokens and speed of `florence2-*`.

The network, the search and the pixels are transformers' (`Florence2ForConditionalGeneration`, `generate`,
`CLIPImageProcessorPil`).  The prompts are those of `harness.florence2.prompts`.  With `--post-process ours` the answers
are parsed as those of `florence2-*`; the other two settings show the effect of the published parsers.

The repositories are conversions of the released checkpoints to transformers' layout.  That of the large model has the
later weights, with a context of 4,096 tokens: its answers differ from those of `florence2-l`, which has the paper's.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines import florence2_published as published
from baselines import generative
from baselines.entry import Entry, Setting
from baselines.generative import Generative, Written
from baselines.pretrained import Checkpoint, Pretrained, explained, load
from harness.core import Kind, Question, Size, Value
from harness.errors import CheckpointError, DataError, UsageError
from harness.florence2 import locations, prompts
from harness.florence2.files import is_adapter, read_json

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset(prompts.FORMS)
POST_PROCESS = ("ours", "transformers", "original")
MAX_NEW_TOKENS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(generative.Options):
    """The options of these models."""

    post_process: str = "ours"
    "Parser of the answers: ours; transformers (whole pixels, no scores); original (the released code's; no scores)"


class HfFlorence2:
    """How Florence-2 is queried and read; a `generative.Family`."""

    kinds = KINDS
    version = ANSWERS_VERSION

    def __init__(self, loaded: Pretrained, post_process: str) -> None:
        from harness.florence2.tokenizer import Tokenizer

        self._config = loaded.model.config
        self._tokenizer = Tokenizer.load(loaded.folder)
        self._pixels = loaded.image_processor("CLIPImageProcessorPil")
        self._image_tokens = image_tokens(self._config.vision_config, self._pixels.size)
        self._positions = int(self._config.text_config.max_position_embeddings)
        self._rules: published.Rules | None = None
        if post_process == "transformers":
            self._rules = transformers_rules(loaded)
        elif post_process == "original":
            self._rules = published.original
        self.scored = self._rules is None
        tokens = f" tokens {' '.join(self._tokenizer.own_tokens)}" if self._tokenizer.own_tokens else ""
        self.identity = f"post-process {post_process}{tokens}"

    def prompts(self, question: Question) -> Sequence[str]:
        """The prompts of the default form; DataError if one is too long or has the image's placeholder in it."""
        texts = prompts.prompts_of(question)
        limit = self._positions - self._image_tokens
        for text in texts:
            ids = self._tokenizer.encode(text)
            if self._config.image_token_id in ids:
                raise DataError(f"the prompt {text[:60]!r} has <image> in it, which stands for the image")
            if len(ids) > limit:
                raise DataError(f"a prompt of {len(ids)} tokens; this checkpoint has positions for {limit}")
        return texts

    def settings(self, kind: Kind) -> Mapping[str, Any]:
        """Three beams and no repeated trigram, as in the release; at most 1,024 tokens, as on its model card."""
        return {
            "num_beams": 3, "max_new_tokens": min(MAX_NEW_TOKENS, self._positions), "no_repeat_ngram_size": 3,
            "early_stopping": True, "length_penalty": 1.0, "decoder_start_token_id": 2, "forced_bos_token_id": 0,
            "forced_eos_token_id": 2, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
        }  # fmt: skip

    def key(self, image: Image.Image, prompt: str) -> Hashable:
        """All prompts can be in one batch: transformers masks their padding."""
        return ()

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, Any]:
        """The pixels, and the tokens: placeholders of the image, the prompt, and padding on the right."""
        import torch

        rows = [self._tokenizer.encode(text) for text in prompts]
        longest = max(map(len, rows))
        image = [self._config.image_token_id] * self._image_tokens
        ids = torch.tensor([image + row + [1] * (longest - len(row)) for row in rows])
        real = torch.tensor([[1] * (len(image) + len(row)) + [0] * (longest - len(row)) for row in rows])
        pixels = self._pixels(list(images), return_tensors="pt")["pixel_values"]
        return {"input_ids": ids, "attention_mask": real, "pixel_values": pixels}

    def begin(self, inputs: Mapping[str, Any]) -> int:
        """The decoder's start token."""
        return 1

    def decode(self, ids: Sequence[int]) -> str:
        """The text with location and markup tokens, without `<s>`, `</s>` and `<pad>`."""
        return locations.raw(self._tokenizer.items(ids))

    def value(self, question: Question, written: Sequence[Written], size: Size) -> Value | None:
        """The value by the chosen parser."""
        if self._rules is not None:
            return published.read(question, [output.text for output in written], size, self._rules)
        from harness.florence2.reading import read_answer

        pieces = [self._tokenizer.items(output.ids, output.log_probabilities) for output in written]
        return read_answer(question, pieces, size)


def image_tokens(vision: Any, size: Mapping[str, int]) -> int:
    """The number of image tokens: one for each cell of the vision tower's last map, and one for their mean.

    transformers' processor takes the number from `image_seq_length`, which is right for images of 768 pixels only.
    """
    sides = [size["height"], size["width"]]
    for kernel, stride, padding in zip(vision.patch_size, vision.patch_stride, vision.patch_padding, strict=True):
        sides = [(side + 2 * padding - kernel) // stride + 1 for side in sides]
    return sides[0] * sides[1] + 1


def transformers_rules(loaded: Pretrained) -> published.Rules:
    """`Florence2Processor.post_process_generation` with the settings of the checkpoint's folder."""
    from transformers import Florence2Processor

    pixels, tokenizer = loaded.image_processor("CLIPImageProcessorPil"), loaded.tokenizer
    pixels.image_seq_length = 0  # the processor makes no inputs here
    tokenizer.image_token, tokenizer.image_token_id = "<image>", loaded.model.config.image_token_id
    path = loaded.folder / "processor_config.json"
    stated = (read_json(path).get("post_processor_config") or {}) if path.is_file() else {}
    with explained(loaded.folder, "processor"):
        processor = Florence2Processor(pixels, tokenizer, post_processor_config={**published.PARSER_CONFIG, **stated})
    return lambda text, task, size: processor.post_process_generation(text=text, task=task, image_size=size)[task]


def refuse(setting: Setting, options: Options) -> None:
    """UsageError or ResourceError for settings that cannot work, before anything is loaded."""
    if options.post_process not in POST_PROCESS:
        raise UsageError(f"--post-process {options.post_process}: one of {', '.join(POST_PROCESS)}")
    generative.refuse(setting, options)


def _build(setting: Setting, options: Options, checkpoint: Checkpoint) -> Generative:
    folder = checkpoint.folder(setting.weights)
    if not is_adapter(folder):
        _refuse_original_layout(folder)
    loaded = load("Florence2ForConditionalGeneration", checkpoint, setting, options)
    return Generative(HfFlorence2(loaded, options.post_process), loaded, setting, options)


def _refuse_original_layout(folder: Path) -> None:
    """CheckpointError for a folder in the layout of microsoft/Florence-2-*, which transformers' class cannot load."""
    if "dim_embed" in read_json(folder / "config.json").get("vision_config", {}):
        raise CheckpointError(
            f"{folder} is in the original layout, which transformers cannot load without the repository's code; "
            "florence2-* models load it, and harness.florence2.weights.save writes it in transformers' layout"
        )


def _entry(name: str, about: str, parameters: str, repo: str, revision: str = "main") -> Entry:
    checkpoint = Checkpoint(name, repo, revision)
    return checkpoint.entry(
        about,
        _build,
        options=Options,
        kinds=KINDS,
        refuse=refuse,
        parameters=parameters,
        protocol="fine_tuned" if name.endswith("-ft") else "zero_shot",
    )


_HUB = "florence-community/Florence-2"
ENTRIES = (
    _entry("hf-florence2-b", "Florence-2-B by transformers, pre-trained", "0.23 B", f"{_HUB}-base"),
    _entry(
        "hf-florence2-l", "Florence-2-L by transformers, pre-trained; later weights than the paper's", "0.77 B",
        f"{_HUB}-large", "4271c66b",
    ),
    _entry("hf-florence2-b-ft", "Florence-2-B by transformers, fine-tuned (generalist)", "0.23 B", f"{_HUB}-base-ft"),
    _entry("hf-florence2-l-ft", "Florence-2-L by transformers, fine-tuned (generalist)", "0.77 B", f"{_HUB}-large-ft"),
)  # fmt: skip
