"""CLIP, OpenAI's checkpoints (arXiv:2103.00020): one vector for an image, and one for a text.

For retrieval, the paper writes "a photo of" before each caption (appendix E.1).  clip_benchmark and open_clip's tables
use the bare caption: `--template "{}"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baselines.entry import Entry, Setting
from baselines.pretrained import Checkpoint, LoadOptions, Pretrained, load
from baselines.pretrained import refuse as refuse_loading
from baselines.towers import KINDS, model_of
from harness.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from baselines.batched import Batched

ANSWERS_VERSION = 1  # raise it whenever an answer could change
TEMPLATE = "a photo of {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(LoadOptions):
    """The options of models with two towers.  None leaves the choice to the family."""

    template: str | None = None
    "Text that a caption is embedded as, with {} for the caption [default: 'a photo of {}' for CLIP, else '{}']"


class Clip:
    """CLIP's two towers; a `towers.Towers`."""

    def __init__(self, loaded: Pretrained, template: str) -> None:
        self.identity = f"clip:v{ANSWERS_VERSION} template {template!r}"
        self._model = loaded.model
        self._pixels = loaded.image_processor("CLIPImageProcessorPil")
        self._ids = TextIds(loaded, template)

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Images to vectors (B, D)."""
        pixels = self._pixels(list(images), return_tensors="pt")["pixel_values"]
        features = self._model.get_image_features(pixel_values=pixels.to(self._model.device, self._model.dtype))
        return pooled(features)

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Sequence[bool]]:
        """Texts to vectors (B, D), and whether each was cut at 77 tokens."""
        ids, cut = self._ids(texts)
        return pooled(self._model.get_text_features(input_ids=ids.to(self._model.device))), cut


class TextIds:
    """Token ids of captions in a template, all of the text tower's length.

    Padding is on the right, whatever the tokenizer's own side is: towers count positions from the left.
    """

    def __init__(self, loaded: Pretrained, template: str, *, lower: bool = False) -> None:
        self._tokenizer = loaded.tokenizer
        self._tokenizer.padding_side = "right"
        self._length = int(loaded.model.config.text_config.max_position_embeddings)
        self._template, self._lower = template, lower

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, list[bool]]:
        """Ids (B, length) and whether each text was cut."""
        written = [self._template.replace("{}", text) for text in texts]
        written = [text.lower() for text in written] if self._lower else written
        whole = self._tokenizer(written, verbose=False)["input_ids"]
        fixed = {"padding": "max_length", "truncation": True, "max_length": self._length, "return_tensors": "pt"}
        return self._tokenizer(written, **fixed)["input_ids"], [len(ids) > self._length for ids in whole]


def pooled(features: Any) -> Tensor:
    """The vectors (B, D) of a tower's output, which is an object since transformers 5."""
    vectors: Tensor = features.pooler_output
    return vectors


def build(setting: Setting, options: Options, checkpoint: Checkpoint) -> Batched:
    """The model with the weights of `setting.weights`, or with those of `checkpoint`."""
    loaded = load("CLIPModel", checkpoint, setting, options)
    return model_of(Clip(loaded, TEMPLATE if options.template is None else options.template), loaded, setting)


def refuse(setting: Setting, options: Options) -> None:
    """UsageError or ResourceError for a setting or a template that cannot work, before anything is loaded."""
    refuse_loading(setting, options)
    if options.template is not None and options.template.count("{}") != 1:
        raise UsageError(f"--template {options.template!r}: the text with {{}} once, for the caption")


def _entry(name: str, repo: str, parameters: str, about: str) -> Entry:
    checkpoint = Checkpoint(name, f"openai/{repo}")
    return checkpoint.entry(
        f"CLIP {about}: embeds images and texts, for retrieval",
        build,
        options=Options,
        kinds=KINDS,
        refuse=refuse,
        parameters=parameters,
    )


ENTRIES = (
    _entry("clip-vit-b-32", "clip-vit-base-patch32", "0.15 B", "ViT-B/32"),
    _entry("clip-vit-b-16", "clip-vit-base-patch16", "0.15 B", "ViT-B/16"),
    _entry("clip-vit-l-14", "clip-vit-large-patch14", "0.43 B", "ViT-L/14"),
    _entry("clip-vit-l-14-336", "clip-vit-large-patch14-336", "0.43 B", "ViT-L/14 at 336 pixels"),
)
