"""RGB images to the network's pixels: a bicubic resize without regard to aspect, then scale and normalisation.

The resize is Pillow's, antialiased and rounded to 8 bits, as in the published processor.  Each of the 256 levels is
normalised once, with the processor's order of operations, so values are equal to its values in every bit.
`fast` resizes with torch instead, which is quicker; values may differ by 2 of 255 levels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.errors import CheckpointError

if TYPE_CHECKING:
    from PIL import Image

BICUBIC = 3  # the number of bicubic resampling in Pillow and in `preprocessor_config.json`
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Size of the network's image in pixels; mean and standard deviation of each channel on 0..1."""

    height: int
    width: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    fast: bool = False

    def resize(self, image: Image.Image) -> Tensor:
        """An RGB image resized to uint8 (height, width, 3)."""
        if not self.fast:
            resized = image.resize((self.width, self.height), BICUBIC)
            return torch.from_numpy(np.array(resized))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        pixels = F.interpolate(pixels, (self.height, self.width), mode="bicubic", antialias=True)
        return pixels[0].permute(1, 2, 0).contiguous()

    def normalise(self, pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """uint8 (B, height, width, 3) on any device to normalised (B, 3, height, width), in channels-last memory."""
        table, offsets = _table_on(self, pixels.device, dtype)
        return table[pixels.int() + offsets].permute(0, 3, 1, 2)

    def table(self) -> Tensor:
        """(3, 256) float32: the normalised value of each level, by channel, as CLIPImageProcessor computes them."""
        levels = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)[:, None]
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(((levels - mean) / std).T))


@cache
def _table_on(preprocess: Preprocess, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The flattened table (768,) on a device, and the offset of each channel in it, (3,)."""
    offsets = torch.tensor([0, 256, 512], dtype=torch.int32, device=device)
    return preprocess.table().flatten().to(device, dtype), offsets


def read_preprocess(folder: Path, *, side: int | None = None, fast: bool = False) -> Preprocess:
    """The preprocessing of a checkpoint's `preprocessor_config.json`; 768 pixels if there is no such file.

    `side`, in pixels, overrides the size.  CheckpointError if the file is malformed, or asks for a step that no
    published checkpoint has.
    """
    path = folder / "preprocessor_config.json"
    try:
        fields: Mapping[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        size = fields.get("size", {"height": 768, "width": 768})
        height, width = int(size["height"]), int(size["width"])
        mean, std = _three(fields.get("image_mean", IMAGENET_MEAN)), _three(fields.get("image_std", IMAGENET_STD))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a readable preprocessor_config.json: {error!r}") from error
    for key, expected in (
        ("do_center_crop", False),
        ("resample", BICUBIC),
        ("do_resize", True),
        ("do_normalize", True),
    ):
        if fields.get(key, expected) != expected:
            raise CheckpointError(f"{path}: {key} is {fields[key]}; only {expected} is implemented")
    return Preprocess(side or height, side or width, mean, std, fast)


def native_preprocess(side: int) -> dict[str, Any]:
    """The `preprocessor_config.json` of a checkpoint for images of this side in pixels."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_center_crop": False,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
        "resample": BICUBIC,
        "rescale_factor": 1 / 255,
        "size": {"height": side, "width": side},
    }


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
