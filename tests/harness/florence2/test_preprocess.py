"""Pixels versus the published processor's, and the error of the fast resize."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, CLIPImageProcessor, CLIPImageProcessorPil

from harness.errors import CheckpointError
from harness.florence2.preprocess import (
    MUST_BE_STATED,
    PUBLISHED,
    Preprocess,
    find_preprocess,
    native_preprocess,
    read_preprocess,
)


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


def as_transformers_5(folder: Path, side: int, **changes: Any) -> None:
    """What `Florence2Processor.save_pretrained` of transformers 5 leaves: one file, with the settings inside."""
    settings = CLIPImageProcessor(**{**native_preprocess(side), "crop_size": {"height": 224, "width": 224}}).to_dict()
    whole = {"image_processor": {**settings, **changes}, "processor_class": "Florence2Processor"}
    (folder / "processor_config.json").write_text(json.dumps(whole))


def test_settings_inside_processor_config_are_read(tmp_path: Path) -> None:
    as_transformers_5(tmp_path, 256, image_mean=[0.5, 0.4, 0.3])
    preprocess, notes = find_preprocess(tmp_path)
    assert preprocess == Preprocess(256, 256, (0.5, 0.4, 0.3))
    assert notes == ()
    [loaded] = {AutoImageProcessor.from_pretrained(tmp_path).size["height"]}  # as transformers reads the folder
    assert loaded == 256


def test_processor_config_without_settings_of_images_leaves_those_of_the_other_file(tmp_path: Path) -> None:
    """As in florence-community's checkpoints."""
    (tmp_path / "processor_config.json").write_text('{"processor_class": "Florence2Processor"}')
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(native_preprocess(384)))
    assert find_preprocess(tmp_path) == (Preprocess(384, 384), ())


def test_of_two_files_that_differ_the_one_that_transformers_5_reads_counts(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(native_preprocess(384)))
    as_transformers_5(tmp_path, 384)
    assert find_preprocess(tmp_path) == (Preprocess(384, 384), ())
    as_transformers_5(tmp_path, 256)
    preprocess, [note] = find_preprocess(tmp_path)
    assert preprocess == Preprocess(256, 256)
    assert AutoImageProcessor.from_pretrained(tmp_path).size["height"] == 256
    assert "preprocessor_config.json states another size than processor_config.json, which counts" in note


def test_absent_settings_are_assumed_with_a_note(tmp_path: Path) -> None:
    preprocess, [note] = find_preprocess(tmp_path)
    assert preprocess == Preprocess(768, 768)
    assert "has no processor_config.json or preprocessor_config.json" in note
    stated = native_preprocess(384)
    del stated["size"], stated["image_std"]
    stated["do_center_crop"] = None
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    preprocess, [note] = find_preprocess(tmp_path)
    assert preprocess == Preprocess(768, 768)
    assert "preprocessor_config.json does not state size, image_std, do_center_crop: the published" in note
    assert "size {'height': 768, 'width': 768}" in note
    _, [note] = find_preprocess(tmp_path, side=64)
    assert "does not state image_std, do_center_crop: the published" in note


def test_published_file_of_the_original_checkpoints_leaves_no_doubt(tmp_path: Path) -> None:
    """It has no `rescale_factor`, and null for `do_convert_rgb`; transformers' defaults are the published values."""
    stated = {**native_preprocess(768), "do_convert_rgb": None, "crop_size": {"height": 768, "width": 768}}
    for key in ("rescale_factor", "resample", "do_resize", "do_rescale", "do_normalize"):
        del stated[key]
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
        assert find_preprocess(tmp_path) == (Preprocess(768, 768), ())
    defaults = CLIPImageProcessor()
    assert all(getattr(defaults, key) == PUBLISHED[key] for key in PUBLISHED if key not in MUST_BE_STATED)
    assert all(getattr(defaults, key) != PUBLISHED[key] for key in MUST_BE_STATED)


def test_settings_that_a_folder_lacks_are_those_of_its_base(tmp_path: Path) -> None:
    folder, base = tmp_path / "folder", tmp_path / "base"
    folder.mkdir()
    base.mkdir()
    as_transformers_5(base, 320)
    preprocess, [note] = find_preprocess(folder, base=base)
    assert preprocess == Preprocess(320, 320)
    assert note == f"{folder} states no preprocessing: that of {base} is used"
    as_transformers_5(folder, 256)
    assert find_preprocess(folder, base=base) == (Preprocess(256, 256), ())


MALFORMED: dict[str, str] = {
    "{": "is not a readable preprocessor_config.json",
    "[]": "it holds a list, not an object",
    '{"size": 7}': r"size is 7; height and width in pixels, from 1 to \d+, are expected",
    '{"size": {"shortest_edge": 224}}': "size is {'shortest_edge': 224}; height and width",
    '{"size": {"height": 0, "width": 64}}': "size is .* from 1 to",
    '{"size": {"height": 64, "width": -64}}': "size is .* from 1 to",
    '{"size": {"height": 64, "width": 1000000000}}': "size is .* from 1 to",
    '{"size": {"height": true, "width": 64}}': "size is .* from 1 to",
    '{"size": {"height": "64", "width": 64}}': "size is .* from 1 to",
    '{"do_center_crop": true}': "do_center_crop is True; only False is implemented",
    '{"do_resize": 0}': "do_resize is 0; only True is implemented",
    '{"do_normalize": false}': "do_normalize is False; only True is implemented",
    '{"do_rescale": false}': "do_rescale is False; only True is implemented",
    '{"do_pad": true}': "do_pad is True; only False is implemented",
    '{"resample": 2}': r"resample is 2; only 3 is implemented \(bicubic\)",
    '{"resample": "bicubic"}': "resample is 'bicubic'; only 3",
    '{"rescale_factor": 0.5}': "rescale_factor is 0.5; only 1/255",
    '{"rescale_factor": "x"}': "rescale_factor is 'x'; only 1/255",
    '{"image_mean": [1, 2]}': r"image_mean is \[1, 2\]; three finite numbers",
    '{"image_mean": [1, 2, NaN]}': "image_mean is .*; three finite numbers",
    '{"image_mean": [1, 2, "3"]}': "image_mean is .*; three finite numbers",
    '{"image_mean": "abc"}': "image_mean is 'abc'; three finite numbers",
    '{"image_std": [1, 2, 0]}': "standard deviations are above 0",
    '{"image_std": [1, 2, 1e999]}': "image_std is .*; three finite numbers",
}


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_or_unknown_preprocessing_is_a_checkpoint_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"preprocessor_config.*{MALFORMED[text]}"):
        read_preprocess(tmp_path)


@pytest.mark.parametrize("value", [[], "x", 7, True])
def test_malformed_settings_inside_processor_config_are_a_checkpoint_error(value: Any, tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": value}))
    with pytest.raises(CheckpointError, match=r"processor_config\.json: image_processor is .*, not an object"):
        read_preprocess(tmp_path)
