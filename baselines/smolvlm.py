"""SmolVLM and SmolVLM2 (arXiv:2504.05299): an image as a whole and as tiles, and SmolLM2.

SmolVLM's checkpoints are of the class of Idefics3; SmolVLM2's have a class of their own.  The VQA prompt is
VLMEvalKit's (`vlmeval/vlm/smolvlm.py`, brief answers), which has another one for TextVQA; the caption prompt is
lmms-eval's.  transformers' processor needs num2words for the numbers of video frames only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from baselines.chat import CAPTION, Ask, Chat
from baselines.entry import Entry, Setting
from baselines.generative import Generative, Options, refuse
from baselines.pretrained import Checkpoint, Pretrained, load
from harness.core import Kind

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
IMAGE, AROUND, WHOLE = "<image>", "<fake_token_around_image>", "<global-img>"
TURN = "<|im_start|>User:<image>{}<end_of_utterance>\nAssistant:"
ASKS: Mapping[Kind, Ask] = {
    "caption": Ask(CAPTION, {"max_new_tokens": 64}),
    "vqa": Ask("{}\nGive a very brief answer.", {"max_new_tokens": 64}),
}


class SmolVlm(Chat):
    """How SmolVLM is asked and read; a `generative.Family`."""

    def __init__(self, loaded: Pretrained, *, second: bool) -> None:
        self._pixels = loaded.image_processor("SmolVLMImageProcessorPil" if second else "Idefics3ImageProcessorPil")
        config = loaded.model.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        self._per_tile = side**2 // config.scale_factor**2
        tile, whole = self._pixels.max_image_size["longest_edge"], self._pixels.size["longest_edge"]
        super().__init__(
            loaded,
            ASKS,
            form=TURN,
            image_token=IMAGE,
            version=ANSWERS_VERSION,
            preprocessing=f"tiles of {tile} of images of {whole}" if self._pixels.do_image_splitting else f"{tile}",
        )

    def pixels(self, images: Sequence[Image.Image]) -> tuple[list[str], Mapping[str, Any]]:
        """The tiles of each image, filled up to those of the image with the most, and the mask of their pixels."""
        from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

        features = self._pixels([[image] for image in images], return_row_col_info=True, return_tensors="pt")
        places = [
            get_image_prompt_string(int(row), int(column), self._per_tile, AROUND, IMAGE, WHOLE)
            for [row], [column] in zip(features["rows"], features["cols"], strict=True)
        ]
        return places, {name: features[name] for name in ("pixel_values", "pixel_attention_mask")}


def _build(setting: Setting, options: Options, checkpoint: Checkpoint, second: bool) -> Generative:
    name = "SmolVLMForConditionalGeneration" if second else "Idefics3ForConditionalGeneration"
    loaded = load(name, checkpoint, setting, options)
    return Generative(SmolVlm(loaded, second=second), loaded, setting, options)


def _entry(name: str, repo: str, parameters: str) -> Entry:
    checkpoint = Checkpoint(name, f"HuggingFaceTB/{repo}")
    second = name.startswith("smolvlm2")
    return checkpoint.entry(
        f"{repo.replace('-', ' ')}, Apache-2.0",
        partial(_build, second=second),
        options=Options,
        kinds=frozenset(ASKS),
        refuse=refuse,
        parameters=parameters,
    )


ENTRIES = (
    _entry("smolvlm-256m", "SmolVLM-256M-Instruct", "0.3 B"),
    _entry("smolvlm-500m", "SmolVLM-500M-Instruct", "0.5 B"),
    _entry("smolvlm-2.2b", "SmolVLM-Instruct", "2.2 B"),
    _entry("smolvlm2-256m", "SmolVLM2-256M-Video-Instruct", "0.3 B"),
    _entry("smolvlm2-500m", "SmolVLM2-500M-Video-Instruct", "0.5 B"),
    _entry("smolvlm2-2.2b", "SmolVLM2-2.2B-Instruct", "2.2 B"),
)
