"""SAM 2.1 (arXiv:2408.00714) as the second half of a cascade, as `sam` is: the mask of the box of an expression.

transformers' Sam2ImageProcessor needs torchvision, so its few steps are written here: an image is resized to a square
by torch's bilinear interpolation with antialiasing on bytes, which is what torchvision calls; then scaled and
normalised.  A box is scaled by the same two factors.  The logits of a mask are interpolated to the size of the image,
and the mask is where they are positive.  As for SAM, the mask of the highest predicted IoU of three is taken.

The repositories hold the model for videos, whose parts for images are loaded; its memory is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from baselines.entry import Entry
from baselines.pretrained import Checkpoint, Pretrained, explained
from baselines.sam import Family, entry_of
from harness.core import Box
from harness.errors import CheckpointError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

ANSWERS_VERSION = 1  # raise it whenever an answer could change
BILINEAR = 2  # Pillow's number
STEPS = ("do_resize", "do_rescale", "do_normalize")
DEFAULTS: Mapping[str, Any] = {  # those of Sam2ImageProcessor
    "size": {"height": 1024, "width": 1024},
    "resample": BILINEAR,
    "rescale_factor": 1 / 255,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    **dict.fromkeys(STEPS, True),
}


class Pixels:
    """The image processor of a checkpoint; CheckpointError for settings that are not of SAM 2's kind."""

    def __init__(self, loaded: Pretrained) -> None:
        import transformers

        with explained(loaded.folder, "image processor"):
            stored, _ = transformers.SamImageProcessorPil.get_image_processor_dict(loaded.folder, local_files_only=True)
        self._settings = {name: stored.get(name, value) for name, value in DEFAULTS.items()}
        size, needed = self._settings["size"], loaded.model.config.prompt_encoder_config.image_size
        if size != {"height": needed, "width": needed}:
            raise CheckpointError(f"{loaded.folder} resizes images to {size}; its network needs {needed} x {needed}")
        if self._settings["resample"] != BILINEAR or not all(self._settings[step] for step in STEPS):
            raise CheckpointError(f"{loaded.folder} has an image processor of another kind than SAM 2's: {stored}")
        self.side = int(needed)

    def to_dict(self) -> dict[str, Any]:
        """The settings, for fingerprints."""
        return dict(self._settings)

    def __call__(self, image: Image.Image) -> Tensor:
        """The pixels of an RGB image, (3, side, side)."""
        import torch
        import torch.nn.functional as F

        channels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # (1, 3, H, W), bytes
        resized = F.interpolate(channels, (self.side, self.side), mode="bilinear", antialias=True)[0]
        mean, std = (
            torch.tensor(self._settings[name])[:, None, None] * (1 / self._settings["rescale_factor"])
            for name in ("image_mean", "image_std")
        )
        normalised: Tensor = (resized.float() - mean) / std
        return normalised


class Sam2:
    """How SAM 2 is asked; a `sam.Masks`."""

    def __init__(self, loaded: Pretrained) -> None:
        self._loaded = loaded
        self._pixels = Pixels(loaded)
        loaded.processors.append(self._pixels)

    def masks(self, images: Sequence[Image.Image], boxes: Sequence[Box]) -> list[NDArray[np.bool_]]:
        """For each image the (height, width) pixels of the object in its box."""
        import torch
        import torch.nn.functional as F

        device, dtype, side = self._loaded.device, self._loaded.dtype, self._pixels.side
        pixels = torch.stack([self._pixels(image) for image in images])
        scaled = torch.tensor(boxes) * torch.tensor([[side / image.width, side / image.height] * 2 for image in images])
        with torch.inference_mode():
            output = self._loaded.model(
                pixel_values=pixels.to(device, dtype),
                input_boxes=scaled[:, None].to(device, dtype),  # (B, 1, 4)
                multimask_output=True,
            )
        best = output.iou_scores[:, 0].argmax(dim=-1).tolist()
        drawn = []
        for image, logits, place in zip(images, output.pred_masks[:, 0].float().cpu(), best, strict=True):
            whole = F.interpolate(logits[None, place, None], (image.height, image.width), mode="bilinear")
            drawn.append((whole[0, 0] > 0).numpy())
        return drawn


SAM2 = Family("Sam2Model", f"Sam2 v{ANSWERS_VERSION}", Sam2)


def _sam2(name: str, size: str, parameters: str) -> Entry:
    checkpoint = Checkpoint(f"sam2-{name}", f"facebook/sam2.1-hiera-{size}")
    return entry_of(checkpoint, SAM2, f"SAM 2.1 with Hiera {size}", parameters)


ENTRIES = (
    _sam2("t", "tiny", "39 M"),
    _sam2("s", "small", "46 M"),
    _sam2("b+", "base-plus", "81 M"),
    _sam2("l", "large", "224 M"),
)
