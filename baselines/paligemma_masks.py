"""PaliGemma's masks: 16 codes of 4 x 4 places to the pixels inside a box.

The decoder is that of the authors' VQ-VAE (Ning et al., arXiv:2301.02229; google-research/big_vision,
`big_vision/evaluators/proj/paligemma/transfers/segmentation.py`).  transformers does not have it.  Its weights are the
authors' `vae-oid.npz` (gs://big_vision/paligemma/vae-oid.npz), which has PyTorch's names and shapes.

Shapes: B masks, D code size, F features.  A mask has 64 x 64 values; values above 0 are inside the object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.core import Mask, Size
from harness.errors import CheckpointError
from harness.geometry.masks import from_runs

CODES = 16  # of a mask
CODEBOOK = 128
SIDE = 64  # of a decoded mask
EMBEDDING = "_vq_vae._embedding"
LAYERS = (
    "decoder.0", "decoder.2.net.0", "decoder.2.net.2", "decoder.2.net.4", "decoder.3.net.0", "decoder.3.net.2",
    "decoder.3.net.4", "decoder.4", "decoder.6", "decoder.8", "decoder.10", "decoder.12",
)  # fmt: skip
NAMES = (EMBEDDING, *(f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")))


class MaskDecoder:
    """The decoder with its weights, by their names in the authors' file."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights

    @classmethod
    def load(cls, path: Path) -> MaskDecoder:
        """The decoder of an .npz file; CheckpointError where the file is missing or holds something else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                missing = [name for name in NAMES if name not in file]
                arrays = {} if missing else {name: file[name] for name in NAMES}
        except (OSError, ValueError, EOFError, BadZipFile, TypeError, AttributeError) as error:
            raise CheckpointError(f"--vae {path}: no readable .npz file ({error}); vae-oid.npz is expected") from error
        if missing:
            raise CheckpointError(f"--vae {path} has no {missing[0]}; the authors' vae-oid.npz is expected")
        decoder = cls({name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()})
        try:
            shape = tuple(decoder([[CODEBOOK - 1] * CODES]).shape)
        except (RuntimeError, IndexError, ValueError) as error:
            raise CheckpointError(f"--vae {path}: its shapes do not fit each other ({error})") from error
        if shape != (1, SIDE, SIDE):
            raise CheckpointError(f"--vae {path} decodes to {shape[1:]} values; {SIDE} x {SIDE} are expected")
        return decoder

    @torch.inference_mode()
    def __call__(self, codes: Sequence[Sequence[int]]) -> Tensor:
        """(B, 16) codes from 0 to 127 to (B, 64, 64)."""
        x = self.weights[EMBEDDING][torch.tensor(codes)]  # (B, 16, D)
        x = x.transpose(1, 2).reshape(len(codes), -1, 4, 4)  # (B, D, 4, 4)
        x = self._conv(x, "decoder.0").relu()  # (B, F, 4, 4)
        for block in ("decoder.2.net", "decoder.3.net"):
            y = self._conv(x, f"{block}.0").relu()
            y = self._conv(y, f"{block}.2").relu()
            x = x + self._conv(y, f"{block}.4")
        for layer in ("decoder.4", "decoder.6", "decoder.8", "decoder.10"):  # each doubles the sides
            x = F.conv_transpose2d(x, *self._layer(layer), stride=2, padding=1).relu()
        return self._conv(x, "decoder.12").squeeze(1)

    def _conv(self, x: Tensor, name: str) -> Tensor:
        """A convolution that keeps the sides."""
        weight, bias = self._layer(name)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def _layer(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]


def paste(values: NDArray[np.float32], box: Sequence[float], size: Size) -> Mask | None:
    """The mask in an image of this size, from decoded values (64, 64) and a box in pixels (left, top, right, bottom).

    As the authors' evaluator: edges are truncated to whole pixels, the values are resized bilinearly to the box.  None
    for a box without a pixel, which the evaluator counts as invalid.
    """
    left, top, right, bottom = map(int, box)
    if right <= left or bottom <= top:
        return None
    resized = Image.fromarray(values).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    pixels = np.zeros((size.height, size.width), bool)
    pixels[top:bottom, left:right] = np.asarray(resized) > 0
    return from_runs(_runs(pixels), size)


def _runs(pixels: NDArray[np.bool_]) -> list[int]:
    """The lengths of runs of equal pixels, column by column; the first run is of pixels outside the object."""
    flat = pixels.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = [0, *changes.tolist(), flat.size]
    lengths = np.diff(edges).tolist()
    return [0, *lengths] if flat[0] else lengths
