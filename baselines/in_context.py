"""Makes a Model from a family whose prompts may begin with examples of the task's training split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from baselines import generative
from baselines.entry import Setting
from baselines.examples import MOST_SHOTS, Example
from baselines.generative import Family, Generative, Prompted, default_batch
from baselines.pretrained import Pretrained
from harness.core import Question
from harness.errors import UsageError
from harness.images import open_rgb

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(generative.Options):
    """The options of models that take examples."""

    shots: int = 0
    "Number of examples of the task's training split before each question, drawn by --seed; 0 to 32"


class InContextFamily(Family, Protocol):
    """A family whose prompts hold several images."""

    def prompt(self, question: Question, examples: Sequence[Example]) -> str:
        """The prompt of a question after examples: one place for each image, that of the question last."""
        ...

    def interleaved(self, images: Sequence[Sequence[Image.Image]], prompts: Sequence[str]) -> Mapping[str, Any]:
        """The tensors of a batch of prompts, each with its images in the order of their places."""
        ...


class InContext(Generative):
    """A Generative whose questions follow the examples of the setting, if it has any."""

    def __init__(self, family: InContextFamily, loaded: Pretrained, setting: Setting, options: Options) -> None:
        self._in_context = family
        self._examples = setting.examples
        batch = setting.batch_size or max(1, default_batch(loaded) // (1 + options.shots))  # as many images as without
        super().__init__(family, loaded, replace(setting, batch_size=batch), options)
        if self._examples is not None:
            self.fingerprint += f":{self._examples.identity}"

    def _prompted(self, place: int, image: Image.Image, question: Question) -> list[Prompted]:
        """The prompt of a question after its examples; DataError where the image of one cannot be opened."""
        if self._examples is None:
            return super()._prompted(place, image, question)
        examples, root = self._examples.of(question), self._examples.root
        with ThreadPoolExecutor(2, "examples") as threads:
            opened = tuple(threads.map(lambda example: open_rgb(root, example.question.image), examples))
        return [Prompted(place, image, self._in_context.prompt(question, examples), question.kind, opened)]

    def _inputs(self, prompts: Sequence[Prompted]) -> Mapping[str, Any]:
        if self._examples is None:
            return super()._inputs(prompts)
        images = [(*prompt.before, prompt.image) for prompt in prompts]
        return self._in_context.interleaved(images, [prompt.text for prompt in prompts])


def shots(options: Options) -> int:
    """How many examples the options want before each question."""
    return options.shots


def refuse(setting: Setting, options: Options) -> None:
    """UsageError or ResourceError for settings that cannot work, before anything is loaded."""
    generative.refuse(setting, options)
    if not 0 <= options.shots <= MOST_SHOTS:
        raise UsageError(f"--shots {options.shots}: 0 to {MOST_SHOTS}")


def check_examples(setting: Setting, options: Options) -> None:
    """UsageError where the options want examples and the setting has none: outside an evaluation."""
    if options.shots and setting.examples is None:
        raise UsageError(f"--shots {options.shots}: examples are of a task's training split; there is no task here")
