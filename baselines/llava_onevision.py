"""LLaVA-OneVision (arXiv:2408.03326): an image as a whole and as up to 36 tiles, and Qwen2.

Prompts and lengths are those of lmms-eval, by which the authors evaluate (`lmms_eval/tasks`: NoCaps, TextCaps, VQAv2,
TextVQA, VizWiz), except that VizWiz has no sentence of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from baselines.chat import CAPTION, VQA, Ask, Chat
from baselines.entry import Entry, Setting
from baselines.generative import Generative, Options, refuse
from baselines.pretrained import Checkpoint, Pretrained, load
from harness.core import Kind

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
IMAGE = "<image>"
TURN = "<|im_start|>user <image>\n{}<|im_end|><|im_start|>assistant\n"
ASKS: Mapping[Kind, Ask] = {
    "caption": Ask(CAPTION, {"max_new_tokens": 64}),
    "vqa": Ask(VQA, {"max_new_tokens": 16}),
}


class LlavaOnevision(Chat):
    """How LLaVA-OneVision is asked and read; a `generative.Family`."""

    def __init__(self, loaded: Pretrained) -> None:
        self._pixels = loaded.image_processor("LlavaOnevisionImageProcessorPil")
        self._network = loaded.model.model
        grid = self._pixels.image_grid_pinpoints
        super().__init__(
            loaded,
            ASKS,
            form=TURN,
            image_token=IMAGE,
            version=ANSWERS_VERSION,
            preprocessing=f"{len(grid)} sizes of {min(grid)} to {max(grid)}",
        )

    def pixels(self, images: Sequence[Image.Image]) -> tuple[list[str], Mapping[str, Any]]:
        """The tiles of each image, filled up to those of the image with the most."""
        features = self._pixels(list(images), return_tensors="pt")
        names = ("pixel_values", "image_sizes", "batch_num_images")
        places = [IMAGE * count for count in self._counts(features["image_sizes"])]
        return places, {name: features[name] for name in names}

    def _counts(self, sizes: Any) -> list[int]:
        """The number of tokens of images of these sizes, (images, 2): rows and columns in pixels.

        The model's own packing is applied to features of one channel, so that no formula is repeated here.
        """
        import torch
        from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

        config = self._network.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        features = [
            torch.zeros(
                image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size),
                side**2,
                1,
            )
            for size in sizes
        ]
        _, counts = self._network.pack_image_features(
            features, sizes, image_newline=torch.zeros(1), vision_aspect_ratio=config.vision_aspect_ratio
        )
        return [int(count) for count in counts]


def _build(setting: Setting, options: Options, checkpoint: Checkpoint) -> Generative:
    loaded = load("LlavaOnevisionForConditionalGeneration", checkpoint, setting, options)
    return Generative(LlavaOnevision(loaded), loaded, setting, options)


def _entry(size: str, parameters: str) -> Entry:
    name = f"llava-onevision-{size}"
    checkpoint = Checkpoint(name, f"llava-hf/llava-onevision-qwen2-{size}-ov-hf")
    return checkpoint.entry(
        f"LLaVA-OneVision with Qwen2 {size.upper()}",
        _build,
        options=Options,
        kinds=frozenset(ASKS),
        refuse=refuse,
        parameters=parameters,
    )


ENTRIES = (
    _entry("0.5b", "0.9 B"),
    _entry("7b", "8.0 B"),
    _entry("72b", "73.2 B"),
)
