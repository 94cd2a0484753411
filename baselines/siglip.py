"""SigLIP (arXiv:2303.15343) and SigLIP 2 (arXiv:2502.14786): one vector for an image, and one for a text.

Texts are padded to 64 tokens and padding is attended to, as in training (big_vision); no attention mask is given.  Both
were trained on lower-case texts, which SigLIP's tokenizer makes by itself and SigLIP 2's does not in every form.

SigLIP 2 of a fixed resolution is a SigLIP model with another tokenizer.  NaFlex keeps an image's shape: the patch size
and the number of patches are those of the checkpoint's image processor.  transformers' Siglip2Processor would replace
them by defaults of its own, so it is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from baselines.clip import Options, TextIds, pooled, refuse
from baselines.entry import Entry, Setting
from baselines.pretrained import Checkpoint, Pretrained, load
from baselines.towers import KINDS, model_of

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from baselines.batched import Batched

ANSWERS_VERSION = 1  # raise it whenever an answer could change
TEMPLATE = "{}"


class Siglip:
    """The two towers of SigLIP, SigLIP 2 and NaFlex; a `towers.Towers`."""

    def __init__(self, loaded: Pretrained, template: str, *, naflex: bool) -> None:
        self.identity = f"siglip:v{ANSWERS_VERSION} template {template!r}"
        self._model = loaded.model
        self._pixels = loaded.image_processor("Siglip2ImageProcessorPil" if naflex else "SiglipImageProcessorPil")
        self._ids = TextIds(loaded, template, lower=True)

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Images to vectors (B, D)."""
        inputs = self._pixels(list(images), return_tensors="pt")
        tensors = {name: tensor.to(self._model.device) for name, tensor in inputs.items()}
        tensors["pixel_values"] = tensors["pixel_values"].to(self._model.dtype)
        return pooled(self._model.get_image_features(**tensors))

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Sequence[bool]]:
        """Texts to vectors (B, D), and whether each was cut at 64 tokens."""
        ids, cut = self._ids(texts)
        return pooled(self._model.get_text_features(input_ids=ids.to(self._model.device))), cut


def build(setting: Setting, options: Options, checkpoint: Checkpoint, naflex: bool) -> Batched:
    """The model with the weights of `setting.weights`, or with those of `checkpoint`."""
    loaded = load("Siglip2Model" if naflex else "SiglipModel", checkpoint, setting, options)
    template = TEMPLATE if options.template is None else options.template
    return model_of(Siglip(loaded, template, naflex=naflex), loaded, setting)


def _entry(name: str, repo: str, parameters: str, about: str, *, naflex: bool = False) -> Entry:
    checkpoint = Checkpoint(name, f"google/{repo}")
    return checkpoint.entry(
        f"{about}: embeds images and texts, for retrieval",
        partial(build, naflex=naflex),
        options=Options,
        kinds=KINDS,
        refuse=refuse,
        parameters=parameters,
    )


ENTRIES = (
    _entry("siglip-b-16-224", "siglip-base-patch16-224", "0.20 B", "SigLIP B/16 at 224 pixels"),
    _entry("siglip-b-16-384", "siglip-base-patch16-384", "0.20 B", "SigLIP B/16 at 384 pixels"),
    _entry("siglip-l-16-384", "siglip-large-patch16-384", "0.65 B", "SigLIP L/16 at 384 pixels"),
    _entry("siglip-so400m-14-384", "siglip-so400m-patch14-384", "0.88 B", "SigLIP SO400M/14 at 384 pixels"),
    _entry("siglip2-b-16-224", "siglip2-base-patch16-224", "0.38 B", "SigLIP 2 B/16 at 224 pixels"),
    _entry("siglip2-so400m-14-384", "siglip2-so400m-patch14-384", "1.1 B", "SigLIP 2 SO400M/14 at 384 pixels"),
    _entry("siglip2-b-16-naflex", "siglip2-base-patch16-naflex", "0.38 B", "SigLIP 2 B/16 NaFlex", naflex=True),
)
