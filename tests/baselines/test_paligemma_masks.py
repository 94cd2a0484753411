"""The mask decoder, against a slow reading of the authors' equations, and masks in an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from baselines.paligemma_masks import EMBEDDING, MaskDecoder, paste
from harness.core import Size
from harness.errors import CheckpointError
from harness.geometry.masks import area, pixels

Array = NDArray[np.float64]
WIDTH = 4  # features; the published decoder has 128


def weights() -> dict[str, NDArray[np.float32]]:
    """Random weights with the names of the authors' file and few features.

    PyTorch's shapes: (out, in, k, k) of a convolution, (in, out, 4, 4) of a transposed one.
    """
    draw = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"decoder.0": (WIDTH, 5, 1, 1)}
    for block in ("decoder.2.net", "decoder.3.net"):
        shapes |= {f"{block}.{number}": (WIDTH, WIDTH, 3, 3) for number in (0, 2)}
        shapes[f"{block}.4"] = (WIDTH, WIDTH, 1, 1)
    features = [WIDTH, 4, 3, 2, 2]
    for number, layer in enumerate(("decoder.4", "decoder.6", "decoder.8", "decoder.10")):
        shapes[layer] = (features[number], features[number + 1], 4, 4)
    shapes["decoder.12"] = (1, 2, 1, 1)
    arrays = {EMBEDDING: draw.normal(size=(128, 5)).astype(np.float32)}
    for name, shape in shapes.items():
        outputs = shape[1] if shape[-1] == 4 else shape[0]
        arrays[f"{name}.weight"] = (draw.normal(size=shape) * 0.3).astype(np.float32)
        arrays[f"{name}.bias"] = (draw.normal(size=outputs) * 0.1).astype(np.float32)
    return arrays


def write_vae(path: Path) -> Path:
    """A file of random weights."""
    np.savez(path, **weights())  # type: ignore[arg-type]
    return path


def convolved(x: Array, kernel: Array, bias: Array, padding: int) -> Array:
    """flax's Conv on (height, width, in), in loops: a sum over the window, for a kernel (k, k, in, out)."""
    side = kernel.shape[0]
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    out = np.zeros((x.shape[0] - side + 1, x.shape[1] - side + 1, kernel.shape[3]))
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            out[row, column] = np.einsum("abi,abio->o", x[row : row + side, column : column + side], kernel) + bias
    return out


def slow(arrays: dict[str, NDArray[np.float32]], codes: list[int]) -> Array:
    """The authors' `Decoder`: their layout of kernels, and a transposed convolution as flax defines it.

    `_get_params` transposes every kernel by (2, 3, 1, 0).  ConvTranspose with stride 2, padding 2 and
    transpose_kernel=True: zeros between the values, 2 zeros around them, and a convolution with the kernel flipped and
    its two feature axes exchanged.
    """

    def layer(name: str) -> tuple[Array, Array]:
        return arrays[f"{name}.weight"].transpose(2, 3, 1, 0).astype(float), arrays[f"{name}.bias"].astype(float)

    x = arrays[EMBEDDING][codes].reshape(4, 4, -1).astype(float)
    x = np.maximum(convolved(x, *layer("decoder.0"), 0), 0)
    for block in ("decoder.2.net", "decoder.3.net"):
        y = np.maximum(convolved(x, *layer(f"{block}.0"), 1), 0)
        y = np.maximum(convolved(y, *layer(f"{block}.2"), 1), 0)
        x = convolved(y, *layer(f"{block}.4"), 0) + x
    for name in ("decoder.4", "decoder.6", "decoder.8", "decoder.10"):
        kernel, bias = layer(name)  # (4, 4, out, in)
        spread = np.zeros((2 * x.shape[0] - 1, 2 * x.shape[1] - 1, x.shape[2]))
        spread[::2, ::2] = x
        x = np.maximum(convolved(spread, kernel[::-1, ::-1].transpose(0, 1, 3, 2), bias, 2), 0)
    return convolved(x, *layer("decoder.12"), 0)[:, :, 0]


def test_decoder_equals_the_slow_reading(tmp_path: Path) -> None:
    codes = [3, 1, 4, 1, 5, 9, 2, 6, 53, 58, 97, 93, 23, 84, 62, 127]
    decoder = MaskDecoder.load(write_vae(tmp_path / "vae.npz"))
    decoded = decoder([codes, codes[::-1]]).numpy()
    assert decoded.shape == (2, 64, 64)
    for values, of in zip(decoded, (codes, codes[::-1]), strict=True):
        expected = slow(weights(), of)
        assert expected.std() > 0.01
        np.testing.assert_allclose(values, expected, atol=1e-4)


def test_values_above_zero_inside_the_box_are_the_mask() -> None:
    """The left half of the values is inside.  The box is 10 to 30.9 and 5 to 25.5, so 20 x 20 pixels."""
    values = -np.ones((64, 64), np.float32)
    values[:, :32] = 1
    mask = paste(values, (10.0, 5.0, 30.9, 25.5), Size(40, 30))
    assert mask is not None
    expected = np.zeros((30, 40), bool)
    expected[5:25, 10:20] = True
    assert (pixels(mask) == expected).all()


@pytest.mark.parametrize("size", [Size(7, 5), Size(5, 7), Size(300, 100)])
def test_mask_of_the_whole_image_has_every_pixel(size: Size) -> None:
    mask = paste(np.ones((64, 64), np.float32), (0.0, 0.0, *map(float, size)), size)
    assert mask is not None
    assert area(mask) == size.width * size.height


@pytest.mark.parametrize("box", [(5.0, 5.0, 5.9, 9.0), (5.0, 5.0, 9.0, 5.0), (9.0, 5.0, 5.0, 9.0)])
def test_box_without_a_pixel_has_no_mask(box: tuple[float, ...]) -> None:
    assert paste(np.ones((64, 64), np.float32), box, Size(10, 10)) is None


def test_values_below_zero_are_an_empty_mask() -> None:
    mask = paste(-np.ones((64, 64), np.float32), (0.0, 0.0, 8.0, 8.0), Size(10, 10))
    assert mask is not None
    assert area(mask) == 0


def test_file_that_is_no_decoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(CheckpointError, match=r"no readable .npz file"):
        MaskDecoder.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"has no _vq_vae\._embedding"):
        MaskDecoder.load(tmp_path / "other.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(CheckpointError, match=r"no readable .npz file"):
        MaskDecoder.load(tmp_path / "one.npy")
    wrong = weights() | {"decoder.6.weight": np.zeros((9, 3, 4, 4), np.float32)}
    np.savez(tmp_path / "wrong.npz", **wrong)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="do not fit each other"):
        MaskDecoder.load(tmp_path / "wrong.npz")
    pickled = weights() | {"decoder.12.bias": np.array([object()])}
    np.savez(tmp_path / "pickled.npz", **pickled)
    with pytest.raises(CheckpointError, match=r"no readable .npz file"):
        MaskDecoder.load(tmp_path / "pickled.npz")
