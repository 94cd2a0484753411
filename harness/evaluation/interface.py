"""A model in a notebook: load it, ask it about an image, look at the reply."""

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
from harness.images import given, open_rgb

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

    `weights` is a checkpoint folder or a hub repository (owner/name[@revision]) in place of the model's own; `options`
    are the model's own, such as `beams=1` of a Florence-2.  UsageError for a name or an option that there is not,
    CheckpointError where the weights cannot be loaded.

        model = harness.load_model("florence2-nano-ft")
        model.ask("photo.jpg", "refer", "the cat").value
    """
    entry = baselines.find(name)
    setting = Setting(
        weights=None if weights is None else str(weights), device=device, dtype=dtype, batch_size=batch_size
    )
    if entry.sees_targets:
        raise UsageError(f"{entry.name} answers with a task's targets, and there are none here")
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
        given = [f"{name}={getattr(self.setting, name)!r}" for name in self.setting.given]
        given += [f"{name}={value!r}" for name, value in self.options.items()]
        return f"LoadedModel({', '.join([repr(self.entry.name), *given])})"

    def ask(
        self,
        image: Picture | Sequence[Picture],
        kind: Kind = "caption",
        text: str | Sequence[str] = "",
        *,
        phrases: Sequence[str] = (),
    ) -> Any:
        """A Reply about an image, or a list of them about a list of images, which are answered in batches.

        `image` is a path, the bytes of an image file, an image of Pillow's, or an array (height, width) or (height,
        width, 3) uint8.  `text` is the expression, question or caption that the kind needs: one for all images, or a
        list of as many.  `phrases` are category names to find ("find"), or spans of `text` to ground ("ground").
        UsageError for a kind that the model does not answer, DataError for an image that cannot be opened.
        """
        if self.entry.kinds is not None and kind not in self.entry.kinds:
            raise UsageError(
                f"{self.entry.name} answers no {kind!r} questions, only {', '.join(sorted(self.entry.kinds))}"
            )
        several = isinstance(image, Sequence) and not isinstance(image, str | bytes)
        images: list[Any] = []
        images.extend(image if isinstance(image, Sequence) and not isinstance(image, str | bytes) else [image])
        texts = [text] * len(images) if isinstance(text, str) else list(text)
        if len(texts) != len(images):
            raise UsageError(f"{len(texts)} texts for {len(images)} images: one for all, or one for each")
        asked = [
            Question(given(one), None, kind, said, _phrases(said, phrases))
            for one, said in zip(images, texts, strict=True)
        ]
        replies = self._replies(asked)
        return replies if several else replies[0]

    def _replies(self, questions: Sequence[Question]) -> list[Reply]:
        found: dict[Ticket, Reply] = {}
        for ticket, answer in self.model.answer(enumerate(questions)):
            if isinstance(answer, Failure):
                raise DataError(answer.reason)
            found[ticket] = Reply(questions[ticket], answer)
        return [found[place] for place in range(len(questions))]


def _phrases(text: str, phrases: Sequence[str]) -> tuple[Phrase, ...]:
    """Phrases with their place in the text, where they are a part of it."""
    found = []
    for phrase in phrases:
        start = text.find(phrase)
        found.append(Phrase(phrase, start, start + len(phrase)) if start >= 0 else Phrase(phrase))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer to one question, which draws itself and shows itself in a notebook."""

    question: Question
    answer: Answer

    @property
    def value(self) -> Value | None:
        """The parsed answer in pixels of the image (see `harness.core`); None where it could not be parsed."""
        return self.answer.value

    @property
    def raw(self) -> tuple[str, ...]:
        """What the model wrote, a text for each prompt."""
        return self.answer.raw

    @property
    def text(self) -> str:
        """The answer as text: its words, its labels, or what the model wrote."""
        if isinstance(self.value, Text):
            return self.value.texts[0]
        return " ".join(self.raw)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes of the answer, (left, top, right, bottom) in pixels; () where it has none."""
        return self.value.boxes if isinstance(self.value, Boxes) else ()

    @property
    def scores(self) -> tuple[float, ...] | None:
        """A score for each box, region score times label score, from 0 to 1; None where the model gives none."""
        value = self.value
        if not isinstance(value, Boxes) or value.region_scores is None:
            return None
        labels = value.label_scores or (1.0,) * len(value.boxes)
        return tuple(one * other for one, other in zip(value.region_scores, labels, strict=True))

    def draw(self, image: Picture | None = None) -> Image.Image:
        """The image, enlarged if it is small, with the answer's boxes, outlines and labels on it."""
        from harness.report.overlay import overlay

        shown = open_rgb(Path(), self.question.image if image is None else given(image))
        return overlay(shown, self.value)

    def __repr__(self) -> str:
        """The value and the start of what was written."""
        wrote = " ".join(self.raw)
        return f"Reply({self.value!r}, raw={wrote[:80] + '...' if len(wrote) > 80 else wrote!r})"

    def _repr_html_(self) -> str:
        """The picture with what was written below it, for Jupyter."""
        out = BytesIO()
        self.draw().save(out, "PNG")
        picture = base64.b64encode(out.getvalue()).decode()
        wrote = html.escape(self.text)
        return f'<figure><img src="data:image/png;base64,{picture}"><figcaption>{wrote}</figcaption></figure>'
