"""RGB images to the network's pixels: a bicubic resize without regard to aspect, then scale and normalisation.

The resize is Pillow's, antialiased and rounded to 8 bits, as in the published processor.  Each of the 256 levels is
normalised once, with the processor's order of operations, so values are equal to its values in every bit.
`fast` resizes with torch instead, which is quicker; values may differ by 2 of 255 levels.
"""

from __future__ import annotations

import math
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
from harness.florence2.files import read_json

if TYPE_CHECKING:
    from PIL import Image

BICUBIC = 3  # the number of bicubic resampling in Pillow and in `preprocessor_config.json`
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_SIDE = 16384  # pixels; the position tables of the published checkpoints end at 1600
# The settings that decide on pixels, with the published checkpoints' values.
PUBLISHED: Mapping[str, Any] = {
    "size": {"height": 768, "width": 768},
    "image_mean": list(IMAGENET_MEAN),
    "image_std": list(IMAGENET_STD),
    "do_center_crop": False,
    "do_resize": True,
    "resample": BICUBIC,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
}


# Those whose default in transformers' CLIPImageProcessor is another, so that their absence leaves a doubt.
MUST_BE_STATED = ("size", "image_mean", "image_std", "do_center_crop")


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


def read_preprocess(
    folder: Path, *, base: Path | None = None, side: int | None = None, fast: bool = False
) -> Preprocess:
    """The preprocessing of a checkpoint folder; as `find_preprocess`, without its notes."""
    return find_preprocess(folder, base=base, side=side, fast=fast)[0]


def find_preprocess(
    folder: Path, *, base: Path | None = None, side: int | None = None, fast: bool = False
) -> tuple[Preprocess, tuple[str, ...]]:
    """The preprocessing that a checkpoint folder states, and notes for the record on where it does not.

    It is in `processor_config.json` under `image_processor` (transformers 5) or in `preprocessor_config.json` (earlier
    versions, and the original code).  If both have it, the first one counts, as in transformers 5.  If the folder has
    neither, the files of `base` count: the model that an adapter or a fine-tune started from.  A setting that is absent
    is the published checkpoints'; a note says so.

    `side`, in pixels, overrides the size.  CheckpointError if a file is malformed, or asks for a step that no published
    checkpoint has.
    """
    notes: list[str] = []
    path, fields = _stated(folder, notes)
    if not fields and base is not None:
        path, fields = _stated(base, notes)
        if fields:
            notes.append(f"{folder} states no preprocessing: that of {base} is used")
    fields = {key: value for key, value in fields.items() if value is not None}
    _refuse_other_steps(fields, path)
    absent = [key for key in MUST_BE_STATED if key not in fields and not (key == "size" and side)]
    if absent and not fields:
        published = "the published checkpoints' 768x768 pixels and ImageNet's mean and std are assumed"
        notes.append(f"{folder} has no processor_config.json or preprocessor_config.json: {published}")
    elif absent:
        assumed = ", ".join(f"{key} {_shown(PUBLISHED[key])}" for key in absent)
        notes.append(f"{path} does not state {', '.join(absent)}: the published checkpoints' are assumed, {assumed}")
    stated = {**PUBLISHED, **fields}
    height, width = (side, side) if side else _sides(stated["size"], path)
    mean, std = _three(stated["image_mean"], "image_mean", path), _three(stated["image_std"], "image_std", path)
    if min(std) <= 0:
        raise CheckpointError(f"{path}: image_std is {list(std)}; standard deviations are above 0")
    return Preprocess(height, width, mean, std, fast), tuple(notes)


def _stated(folder: Path, notes: list[str]) -> tuple[Path, Mapping[str, Any]]:
    """The file of a folder that counts, and its settings; no settings if neither file has any."""
    old, new = folder / "preprocessor_config.json", folder / "processor_config.json"
    earlier = read_json(old) if old.exists() else {}
    nested = read_json(new).get("image_processor") if new.exists() else None
    if nested is None:
        return old, earlier
    if not isinstance(nested, dict):
        raise CheckpointError(f"{new}: image_processor is {_shown(nested)}, not an object of settings")
    differing = [key for key in PUBLISHED if key in earlier and earlier[key] != nested.get(key, PUBLISHED[key])]
    if differing:
        notes.append(f"{old} states another {', '.join(differing)} than {new.name}, which counts, as in transformers 5")
    return new, nested


def _refuse_other_steps(fields: Mapping[str, Any], path: Path) -> None:
    """CheckpointError for settings of steps that no published checkpoint has."""
    for key, expected in {**PUBLISHED, "do_pad": False}.items():
        value = fields.get(key, expected)
        if key.startswith("do_") and value is not expected:
            raise CheckpointError(f"{path}: {key} is {_shown(value)}; only {expected} is implemented")
    if type(fields.get("resample", BICUBIC)) is not int or fields.get("resample", BICUBIC) != BICUBIC:
        raise CheckpointError(
            f"{path}: resample is {_shown(fields['resample'])}; only {BICUBIC} is implemented (bicubic)"
        )
    factor = fields.get("rescale_factor", 1 / 255)
    if type(factor) not in (int, float) or not math.isclose(factor, 1 / 255, rel_tol=1e-6):
        raise CheckpointError(f"{path}: rescale_factor is {_shown(factor)}; only 1/255 is implemented")


def _sides(size: Any, path: Path) -> tuple[int, int]:
    """Height and width in pixels of the setting `size`."""
    height, width = (size.get("height"), size.get("width")) if isinstance(size, Mapping) else (None, None)
    if (
        type(height) is not int
        or type(width) is not int
        or not (1 <= min(height, width) <= max(height, width) <= MAX_SIDE)
    ):
        expected = f"height and width in pixels, from 1 to {MAX_SIDE}, are expected"
        raise CheckpointError(f"{path}: size is {_shown(size)}; {expected}")
    return height, width


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


def _three(values: Any, key: str, path: Path) -> tuple[float, float, float]:
    """Three finite numbers; CheckpointError for anything else."""
    numbers = values if isinstance(values, list | tuple) else ()
    if len(numbers) != 3 or any(type(x) not in (int, float) or not abs(x) <= 1e6 for x in numbers):
        raise CheckpointError(f"{path}: {key} is {_shown(values)}; three finite numbers are expected")
    red, green, blue = map(float, numbers)
    return red, green, blue


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
