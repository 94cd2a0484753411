"""Pixels versus the published processor's, and the error of the fast resize."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil

from harness.errors import CheckpointError
from harness.florence2.preprocess import Preprocess, native_preprocess, read_preprocess


def photo_like(width: int, height: int, seed: int) -> Image.Image:
    """Smooth colours with noise, as in photographs."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = generator.normal(0, 12, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("width", "height", "side"), [(640, 480, 768), (333, 500, 384), (96, 96, 128), (1600, 1200, 768), (7, 5, 64)]
)
def test_normalised_pixels_equal_the_published_processors_in_every_bit(width: int, height: int, side: int) -> None:
    image = photo_like(width, height, width)
    processor = CLIPImageProcessorPil(**{**native_preprocess(side), "size": {"height": side, "width": side}})
    expected = processor(image, return_tensors="pt")["pixel_values"]
    preprocess = Preprocess(side, side)
    assert torch.equal(preprocess.normalise(preprocess.resize(image)[None]), expected)


def test_normalised_pixels_are_channels_last_in_memory() -> None:
    pixels = Preprocess(64, 64).normalise(torch.zeros(2, 64, 64, 3, dtype=torch.uint8))
    assert pixels.shape == (2, 3, 64, 64)
    assert pixels.is_contiguous(memory_format=torch.channels_last)


def test_fast_resize_differs_by_at_most_two_levels_in_few_values() -> None:
    image = photo_like(640, 480, 1)
    exact, fast = Preprocess(384, 384).resize(image), Preprocess(384, 384, fast=True).resize(image)
    difference = (exact.int() - fast.int()).abs()
    assert int(difference.max()) <= 2
    assert float((difference > 0).float().mean()) < 0.005


def test_read_preprocess_with_and_without_a_file_and_overrides_gives_its_sizes(tmp_path: Path) -> None:
    assert read_preprocess(tmp_path) == Preprocess(768, 768)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(native_preprocess(384)))
    assert read_preprocess(tmp_path) == Preprocess(384, 384)
    assert read_preprocess(tmp_path, side=512, fast=True) == Preprocess(512, 512, fast=True)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"size": 7}', '{"do_center_crop": true}', '{"resample": 2}', '{"image_mean": [1, 2]}']
)
def test_malformed_or_unknown_preprocessing_is_a_checkpoint_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(CheckpointError, match="preprocessor_config"):
        read_preprocess(tmp_path)
