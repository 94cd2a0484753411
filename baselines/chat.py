"""What families of chat models share: the text of a turn with one image, its tokens, and the prompts of text kinds.

A turn is written in the authors' chat text, unless the checkpoint has a template of its own that writes another; the
fingerprint names the text.  The processors of these families need torchvision, so the placeholder of an image is
multiplied here, as the processors do it.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.generative import Written, without_tokens
from baselines.pretrained import Pretrained, explained
from harness.core import Kind, Question, Size, Text, Value
from harness.errors import CheckpointError

if TYPE_CHECKING:
    from PIL import Image

MESSAGE = "{}"  # in a chat text: the place of the message
CAPTION = "Provide a one-sentence caption for the provided image."  # InternVL's evaluate_caption.py; lmms-eval's NoCaps
VQA = "{}\nAnswer the question using a single word or phrase."  # lmms-eval's VQAv2, TextVQA and VizWiz
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ask:
    """The prompt of a kind of question, with `{}` for the text of the question, and the settings of `generate`."""

    text: str
    settings: Mapping[str, Any] = field(default_factory=dict)


class Chat(ABC):
    """A `generative.Family` of chat models: a subclass gives `pixels`, and `value` if it writes boxes.

    - `form` is the authors' chat text, with `image_token` at the place of the image.
    - `asks` has the prompt of each kind.
    """

    scored = False

    def __init__(
        self,
        loaded: Pretrained,
        asks: Mapping[Kind, Ask],
        *,
        form: str,
        image_token: str,
        version: int,
        preprocessing: str = "",
    ) -> None:
        self.asks = asks
        self.kinds = frozenset(asks)
        self.version = version
        self.image_token = image_token
        self._tokenizer = loaded.tokenizer
        _check_token(self._tokenizer, image_token, loaded)
        self.form = chat_text(loaded.folder, self._tokenizer, form, image_token)
        self.identity = f"{self.form!r} {preprocessing}".strip()

    def prompts(self, question: Question) -> Sequence[str]:
        """The prompt of the kind with the text of the question."""
        return (self.prompt(question.kind, question.text),)

    def prompt(self, kind: Kind, text: str) -> str:
        """The prompt of a kind with a text of the data."""
        return self.asks[kind].text.replace("{}", without_tokens(text, self._tokenizer))

    def settings(self, kind: Kind) -> Mapping[str, Any]:
        """Greedy search, with the lengths of the kind."""
        return {"num_beams": 1, **self.asks[kind].settings}

    def key(self, image: Image.Image, prompt: str) -> Hashable:
        """All prompts can be in one batch."""
        return ()

    @abstractmethod
    def pixels(self, images: Sequence[Image.Image]) -> tuple[list[str], Mapping[str, Any]]:
        """For each image the text that replaces its placeholder, and the tensors of all images."""

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, Any]:
        """The tensors of the images, and the tokens of the turns, padded on the left."""
        places, tensors = self.pixels(images)
        texts = [
            self.form.replace(self.image_token, place).replace(MESSAGE, prompt)
            for place, prompt in zip(places, prompts, strict=True)
        ]
        tokens = self._tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"], **tensors}

    def begin(self, inputs: Mapping[str, Any]) -> int:
        """The tokens of the turn."""
        return int(inputs["input_ids"].shape[1])

    def decode(self, ids: Sequence[int]) -> str:
        """The text without special tokens."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def value(self, question: Question, written: Sequence[Written], size: Size) -> Value | None:
        """The text without white space around it."""
        return Text((written[0].text.strip(),))


def chat_text(folder: Path, tokenizer: Any, form: str, image_token: str) -> str:
    """The text of a turn by the template of a checkpoint; `form` where it has none.

    Only a template of the whole processor counts (chat_template.jinja, or chat_template.json): that of a tokenizer may
    know no images.  CheckpointError for a template that fails, or has no single place for the image and the message.
    """
    template = _template(folder)
    if template is None:
        return form
    content = [{"type": "image"}, {"type": "text", "text": MESSAGE}]
    with explained(folder, "chat template"):
        text = str(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                chat_template=template,
                add_generation_prompt=True,
                tokenize=False,
            )
        )
    if text.count(MESSAGE) != 1 or text.count(image_token) != 1:
        raise CheckpointError(
            f"the chat template of {folder} writes {text!r}; expected are {image_token} and the message once each"
        )
    if text != form:
        log.warning("%s has a chat template of its own: it writes %r, not %r", folder, text, form)
    return text


def _template(folder: Path) -> str | None:
    jinja, older = folder / "chat_template.jinja", folder / "chat_template.json"
    if jinja.is_file():
        return jinja.read_text("utf-8")
    if not older.is_file():
        return None
    with explained(folder, "chat template"):
        return str(json.loads(older.read_text("utf-8"))["chat_template"])


def _check_token(tokenizer: Any, token: str, loaded: Pretrained) -> None:
    wanted = loaded.model.config.image_token_id
    if tokenizer.convert_tokens_to_ids(token) != wanted:
        raise CheckpointError(
            f"the tokenizer of {loaded.folder} does not have {token} as token {wanted}, as config.json says: "
            "it is of another model"
        )
