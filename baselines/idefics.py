"""IDEFICS, the open reproduction of Flamingo, and its successors Idefics2 and Idefics3.

Prompts of pre-trained models and the words that end their output are those of the authors' evaluation (Hugging Face's
m4, `evaluation_captioning_in_context_vgpt2.py` and `evaluation_open_ended_vqa_in_context_vgpt2.py`, by the templates
that the classes for IDEFICS select).  Instructed models get a turn of a conversation.  An example is a prompt of the
same form with its answer.  `docs/rivals.md` says which settings are not published.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from baselines.entry import Entry, Setting
from baselines.examples import Example
from baselines.generative import Written, without_tokens
from baselines.in_context import InContext, Options, check_examples, refuse, shots
from baselines.pretrained import Checkpoint, Pretrained, check_vocabulary, load
from harness.core import Kind, Question, Size, Text, Value
from harness.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 2  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset({"caption", "vqa"})
IMAGE, FAKE, END = "<image>", "<fake_token_around_image>", "<end_of_utterance>"
PREFIX: Mapping[Kind, str] = {  # of a pre-trained model's prompt, before the first example
    "caption": "",
    "vqa": "Instruction: provide an answer to the question. Use the image to answer.\n",
}
PRETRAINED: Mapping[Kind, str] = {
    "caption": f"Image:{IMAGE}Caption:",
    "vqa": f"Image:{IMAGE}Question: {{}} Answer:",
}
INSTRUCTED: Mapping[Kind, str] = {
    "caption": f"User:{IMAGE}Describe the image briefly.{END}\nAssistant:",
    "vqa": f"User:{IMAGE}{{}}\nGive a very brief answer.{END}\nAssistant:",
}
NEXT: Mapping[Kind, re.Pattern[str]] = {  # how a pre-trained model begins another example
    "caption": re.compile("Caption|Description|User|Image|task"),
    "vqa": re.compile("Question|User|Image|task|What|Who|When|Where|Why|How"),
}


@dataclass(frozen=True, slots=True)
class Generation:
    """The classes of transformers for a generation of IDEFICS."""

    model: str
    processor: str
    images: str


FIRST = Generation("IdeficsForVisionText2Text", "IdeficsProcessor", "IdeficsImageProcessorPil")
SECOND = Generation("Idefics2ForConditionalGeneration", "Idefics2Processor", "Idefics2ImageProcessorPil")
THIRD = Generation("Idefics3ForConditionalGeneration", "Idefics3Processor", "Idefics3ImageProcessorPil")


class Idefics:
    """How a model of the three generations is asked and read; an `in_context.InContextFamily`."""

    kinds = KINDS
    version = ANSWERS_VERSION
    scored = False
    identity = ""

    def __init__(self, loaded: Pretrained, generation: Generation, instructed: bool) -> None:
        import transformers

        self._first = generation is FIRST
        self._instructed = instructed
        self._tokenizer = loaded.tokenizer
        self._positions = getattr(loaded.model.config, "text_config", loaded.model.config).max_position_embeddings
        places, known = _sizes(loaded.model.config, generation)
        processor = getattr(transformers, generation.processor)
        self._processor = processor(loaded.image_processor(generation.images), self._tokenizer, **places)
        check_vocabulary(loaded, known)

    def prompts(self, question: Question) -> Sequence[str]:
        """One prompt, with a place for the image."""
        return (self.prompt(question, ()),)

    def prompt(self, question: Question, examples: Sequence[Example]) -> str:
        """The prompt of a question after examples, with a place for each image."""
        end = f"{END}\n" if self._instructed else "\n"
        answered = [f"{self._form(example.question)} {self._plain(example.answer)}{end}" for example in examples]
        begin = "" if self._instructed else PREFIX[question.kind]
        return "".join((begin, *answered, self._form(question)))

    def _form(self, question: Question) -> str:
        """A question in the form of its kind, up to where its answer begins."""
        return (INSTRUCTED if self._instructed else PRETRAINED)[question.kind].format(self._plain(question.text))

    def _plain(self, text: str) -> str:
        return without_tokens(text, self._tokenizer)

    def settings(self, kind: Kind) -> Mapping[str, Any]:
        """Three beams and no line break for pre-trained models; greedy search to the end of the turn for others."""
        if self._instructed:
            ends = [self._tokenizer.eos_token_id, self._tokenizer.convert_tokens_to_ids(END)]
            longest = 64 if kind == "caption" else 32
            return {"max_new_tokens": longest, "eos_token_id": ends, "bad_words_ids": self._ids(IMAGE, FAKE)}
        return {
            "num_beams": 3,
            "early_stopping": True,
            "max_new_tokens": 32 if kind == "caption" else 10,
            "bad_words_ids": self._ids("\n", "\n\n", IMAGE, FAKE),
        }

    def key(self, image: Image.Image, prompt: str) -> Hashable:
        """All prompts can be in one batch."""
        return ()

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, Any]:
        """The tensors of transformers' processor."""
        return self.interleaved([[image] for image in images], prompts)

    def interleaved(self, images: Sequence[Sequence[Image.Image]], prompts: Sequence[str]) -> Mapping[str, Any]:
        """The tensors of transformers' processor; UsageError where examples make a prompt too long for the model."""
        if self._first:  # it takes texts and images in their order
            pairs = zip(images, prompts, strict=True)
            tensors = dict(self._processor(text=[_in_order(shown, prompt) for shown, prompt in pairs]))
        else:
            nested = [list(shown) for shown in images]
            tensors = dict(self._processor(text=list(prompts), images=nested, padding=True, return_tensors="pt"))
        length, several = tensors["input_ids"].shape[1], max(map(len, images)) > 1
        if several and length > self._positions:
            raise UsageError(f"a prompt of {length:,} tokens; the model reads {self._positions:,}: give fewer --shots")
        return tensors

    def begin(self, inputs: Mapping[str, Any]) -> int:
        """The prompt's tokens."""
        return int(inputs["input_ids"].shape[1])

    def decode(self, ids: Sequence[int]) -> str:
        """The text without special tokens."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def value(self, question: Question, written: Sequence[Written], size: Size) -> Value | None:
        """The text; that of a pre-trained model ends where it begins another example."""
        text = written[0].text
        return Text(((text if self._instructed else NEXT[question.kind].split(text)[0]).strip(),))

    def _ids(self, *words: str) -> list[list[int]]:
        """The tokens of each word that the tokenizer has tokens for."""
        return [ids for ids in self._tokenizer(list(words), add_special_tokens=False)["input_ids"] if ids]


def _in_order(images: Sequence[Image.Image], prompt: str) -> list[Any]:
    """The parts of a prompt and its images, in their order."""
    first, *others = prompt.split(IMAGE)
    return [first, *(part for pair in zip(images, others, strict=True) for part in pair)]


def _sizes(config: Any, generation: Generation) -> tuple[dict[str, int], int]:
    """How many tokens stand for an image, as arguments of the processor; and how many tokens have embeddings."""
    if generation is FIRST:
        return {"image_size": config.vision_config.image_size}, config.vocab_size + config.additional_vocab_size
    if generation is SECOND:
        return {"image_seq_len": config.perceiver_config.resampler_n_latents}, config.text_config.vocab_size
    patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    return {"image_seq_len": patches // config.scale_factor**2}, config.text_config.vocab_size


def _build(
    setting: Setting, options: Options, checkpoint: Checkpoint, generation: Generation, instructed: bool
) -> InContext:
    check_examples(setting, options)
    loaded = load(generation.model, checkpoint, setting, options)
    return InContext(Idefics(loaded, generation, instructed), loaded, setting, options)


def _entry(
    name: str, about: str, parameters: str, generation: Generation, *, instructed: bool = True, repo: str = ""
) -> Entry:
    checkpoint = Checkpoint(name, f"HuggingFaceM4/{repo or name}")
    return checkpoint.entry(
        about,
        partial(_build, generation=generation, instructed=instructed),
        options=Options,
        kinds=KINDS,
        shots=shots,
        refuse=refuse,
        parameters=parameters,
    )


FLAMINGO = "the open reproduction of Flamingo, not Flamingo itself; weights for non-commercial use"
ENTRIES = (
    _entry("idefics-9b", f"IDEFICS-9B: {FLAMINGO}", "8.9 B", FIRST, instructed=False),
    _entry("idefics-9b-instruct", f"IDEFICS-9B, instructed: {FLAMINGO}", "8.9 B", FIRST),
    _entry("idefics-80b", f"IDEFICS-80B: {FLAMINGO}", "80 B", FIRST, instructed=False),
    _entry("idefics-80b-instruct", f"IDEFICS-80B, instructed: {FLAMINGO}", "80 B", FIRST),
    _entry("idefics2-8b", "Idefics2-8B, instructed", "8.4 B", SECOND),
    _entry("idefics3-8b", "Idefics3-8B on Llama 3, instructed", "8.5 B", THIRD, repo="Idefics3-8B-Llama3"),
)
