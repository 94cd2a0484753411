"""A model in a notebook: loads it, queries it about an image, shows the reply."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import baselines
from baselines import Entry, Setting
from harness.core import Answer, Box, Boxes, Failure, Kind, Model, Phrase, Question, Text, Ticket, Value
from harness.errors import DataError, UsageError
from harness.images import given as as_reference
from harness.images import open_rgb
from harness.sinks import block

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    Picture = str | Path | bytes | Image.Image | np.ndarray[Any, Any]


def load_model(
    name: str,
    *,
    weights: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_size: int | None = None,
    **options: Any,
) -> LoadedModel:
    """A model by name (`python -m harness models`), or by `package.module:NAME`.

    `weights` is a checkpoint folder or a hub repository (owner/name[@revision]) that replaces the model's own weights.
    `options` are the model's own, such as `beams=1` of Florence-2.  UsageError for a name or an option that does not
    exist, CheckpointError where the weights cannot be loaded.

        model = harness.load_model("florence2-nano-ft")
        model.ask("photo.jpg", "refer", "the cat").value
    """
    entry = baselines.find(name)
    setting = Setting(
        weights=None if weights is None else str(weights), device=device, dtype=dtype, batch_size=batch_size
    )
    if entry.sees_targets:
        raise UsageError(f"{entry.name} answers with a task's targets; `load_model` has no task")
    return LoadedModel(entry, setting, options, entry.load(setting, **options))


class LoadedModel:
    """A model that is ready to answer; `evaluate` takes it in place of a name."""

    def __init__(self, entry: Entry, setting: Setting, options: Mapping[str, Any], model: Model) -> None:
        self.entry = entry
        self.setting = setting
        self.options = options
        self.model = model

    def __repr__(self) -> str:
        """The name and the settings."""
        settings = [f"{name}={getattr(self.setting, name)!r}" for name in self.setting.given]
        settings += [f"{name}={value!r}" for name, value in self.options.items()]
        return f"LoadedModel({', '.join([repr(self.entry.name), *settings])})"

    def ask(
        self,
        image: Picture | Sequence[Picture],
        kind: Kind = "caption",
        text: str | Sequence[str] = "",
        *,
        phrases: Sequence[str] = (),
    ) -> Any:
        """The Reply about an image, or a list of Replies about a list of images, which are answered in batches.

        `image` is a path, the bytes of an image file, a Pillow image, or a uint8 array (height, width) or (height,
        width, 3).  `text` is the expression, question or caption that the kind needs: one text for all images, or a
        list with a text for each.  `phrases` are category names to find ("find"), or spans of `text` to ground
        ("ground").  UsageError for a kind that the model does not answer, DataError for an image that cannot be opened.
        """
        kinds = self.entry.kinds_with(self.options)
        if kinds is not None and kind not in kinds:
            raise UsageError(f"{self.entry.name} answers no {kind!r} questions, only {', '.join(sorted(kinds))}")
        several = isinstance(image, Sequence) and not isinstance(image, str | bytes)
        images: list[Any] = []
        images.extend(image if isinstance(image, Sequence) and not isinstance(image, str | bytes) else [image])
        texts = [text] * len(images) if isinstance(text, str) else list(text)
        if len(texts) != len(images):
            raise UsageError(
                f"{len(texts)} texts for {len(images)} images: give one text for all images, or one for each"
            )
        questions = [
            Question(as_reference(picture), None, kind, query, _phrases(query, phrases))
            for picture, query in zip(images, texts, strict=True)
        ]
        replies = self._replies(questions)
        return replies if several else replies[0]

    def _replies(self, questions: Sequence[Question]) -> list[Reply]:
        """The replies in the order of the questions; DataError for a question that failed."""
        replies: dict[Ticket, Reply] = {}
        for ticket, answer in self.model.answer(enumerate(questions)):
            if isinstance(answer, Failure):
                raise DataError(answer.reason)
            replies[ticket] = Reply(questions[ticket], answer)
        return [replies[ticket] for ticket in range(len(questions))]


def _phrases(text: str, phrases: Sequence[str]) -> tuple[Phrase, ...]:
    """Phrases, each with its span in the text where the text contains it."""
    spans = []
    for phrase in phrases:
        start = text.find(phrase)
        spans.append(Phrase(phrase, start, start + len(phrase)) if start >= 0 else Phrase(phrase))
    return tuple(spans)


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer to one question; a notebook shows it as the image with the answer drawn on it."""

    question: Question
    answer: Answer

    @property
    def value(self) -> Value | None:
        """The parsed answer, with coordinates in pixels of the image (see `harness.core`); None: unparsable."""
        return self.answer.value

    @property
    def raw(self) -> tuple[str, ...]:
        """The model's output: a text for each prompt."""
        return self.answer.raw

    @property
    def text(self) -> str:
        """The parsed text, or the model's output where the answer is no text."""
        if isinstance(self.value, Text):
            return self.value.texts[0]
        return " ".join(self.raw)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes of the answer, (left, top, right, bottom) in pixels; () where the answer has no boxes."""
        return self.value.boxes if isinstance(self.value, Boxes) else ()

    @property
    def scores(self) -> tuple[float, ...] | None:
        """A score for each box from 0 to 1, region score times label score; None where the model gives no scores."""
        value = self.value
        if not isinstance(value, Boxes) or value.region_scores is None:
            return None
        labels = value.label_scores or (1.0,) * len(value.boxes)
        return tuple(region * label for region, label in zip(value.region_scores, labels, strict=True))

    def draw(self, image: Picture | None = None) -> Image.Image:
        """The image, enlarged if small and reduced if large, with the boxes, outlines and labels of the answer.

        `image` replaces the image that was given.
        """
        from harness.report.overlay import overlay

        reference = self.question.image if image is None else as_reference(image)
        return overlay(open_rgb(Path(), reference), self.value)

    def __repr__(self) -> str:
        """The value and the first 80 characters of the output."""
        output = " ".join(self.raw)
        return f"Reply({self.value!r}, raw={output[:80] + '...' if len(output) > 80 else output!r})"

    def _repr_html_(self) -> str:
        """The image with the answer drawn on it and its text below, as HTML for Jupyter."""
        out = BytesIO()
        self.draw().save(out, "PNG")
        encoded = base64.b64encode(out.getvalue()).decode()
        caption = html.escape(block(self.text))
        return f'<figure><img src="data:image/png;base64,{encoded}"><figcaption>{caption}</figcaption></figure>'
