"""SAM 2 at tiny size: its pixels by a slow loop, its masks by transformers' own functions, and the commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import Sam2Config, Sam2Model, Sam2Processor, Sam2VideoConfig, Sam2VideoModel

from baselines import sam2
from baselines.entry import Setting
from baselines.pretrained import Pretrained
from harness.core import Answer, Mask, Size, Ticket
from harness.errors import CheckpointError
from harness.geometry import masks
from tests.baselines import rivals
from tests.baselines.test_sam import samples

ENTRIES = {entry.name: entry for entry in sam2.ENTRIES}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 64


def config(kind: Any, **more: Any) -> Any:
    """Hiera of four stages at 64 pixels; its windows and strides fit the maps of 16, 8, 4 and 2 cells."""
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "num_attention_heads": 1, "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 2, 4, 8], "window_size_per_stage": [4, 2, 2, 2],
        "global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    vision = {
        "model_type": "sam2_vision_model", "backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "fpn_hidden_size": 32,
    }  # fmt: skip
    prompt = {"hidden_size": 32, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4}
    decoder = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 4, "iou_head_hidden_dim": 16}
    return kind(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder, **more)


def processor(**changes: Any) -> dict[str, Any]:
    """The settings of an image processor, as a repository holds them."""
    return {
        "image_processor_type": "Sam2ImageProcessorFast", "size": {"height": SIDE, "width": SIDE},
        "mask_size": {"height": 16, "width": 16}, "resample": 2, "do_resize": True, "do_rescale": True,
        "do_normalize": True, "do_convert_rgb": True, "rescale_factor": 1 / 255, "image_mean": list(MEAN),
        "image_std": list(STD), **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights, and the images of `rivals`."""
    folder = tmp_path_factory.mktemp("sam2")
    torch.manual_seed(0)
    model = Sam2Model(config(Sam2Config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor()))
    rivals.images(folder)
    return folder


def of_oracle(folder: Path, batch: int, weights: Path | None = None) -> dict[Ticket, Answer]:
    """The answers of SAM 2 to the boxes of the targets: (4, 6) to (20, 16), as far as the image goes."""
    given = str(weights or folder)
    setting = Setting(root=folder, weights=given, device="cpu", batch_size=batch, samples=samples())
    model = ENTRIES["sam2-t"].load(setting)
    return rivals.answers(model, [(number, sample.question) for number, sample in enumerate(samples())])


def resized_slowly(image: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """(H, W, 3) bytes to (side, side, 3) floats: columns, then rows, each a mean weighted by a triangle.

    The triangle is as wide as two cells of the coarser of the two grids.
    """
    for axis in (1, 0):
        length = image.shape[axis]
        scale = length / side
        reach = max(scale, 1.0)
        lines = []
        for place in range(side):
            centre = (place + 0.5) * scale
            weights = [max(0.0, 1 - abs(source + 0.5 - centre) / reach) for source in range(length)]
            total = sum(weights)
            lines.append(sum(w / total * image.take(source, axis) for source, w in enumerate(weights) if w))
        image = np.stack(lines, axis)
    return image


@pytest.mark.parametrize(("width", "height"), [(40, 24), (24, 40), (90, 30), (150, 200), (64, 64), (1, 3)])
def test_pixels_are_those_of_a_slow_loop(tiny: Path, width: int, height: int) -> None:
    """Bytes are rounded after each axis, so a value may be one byte off the loop, which rounds nowhere."""
    pixels = sam2.Pixels(Pretrained(Sam2Model(config(Sam2Config)), tiny, "", {}))
    image = Image.effect_noise((width, height), 90).convert("RGB")
    image.paste((250, 10, 30), (0, 0, width // 2, height // 3 + 1))
    array = np.array(image)
    expected = resized_slowly(array.astype(np.float64), SIDE)
    found = (pixels(image).permute(1, 2, 0).double().numpy() * STD + MEAN) * 255
    assert found == pytest.approx(np.rint(found), abs=1e-3)  # whole bytes, before they are normalised
    assert np.abs(found - expected).max() < 1.6
    assert np.abs(found - expected).mean() < 0.35  # a quarter of a byte by one rounding
    plain = pixels(Image.new("RGB", (width, height), (12, 200, 77)))
    for channel, value in enumerate((12, 200, 77)):
        assert plain[channel].numpy() == pytest.approx((value / 255 - MEAN[channel]) / STD[channel], abs=1e-6)


def test_masks_equal_transformers_own_for_the_box_of_the_target(tiny: Path) -> None:
    theirs = Sam2Model.from_pretrained(tiny).eval()
    pixels = sam2.Pixels(Pretrained(theirs, tiny, "", {}))
    some = 0
    for number, answer in of_oracle(tiny, 1).items():
        image = Image.open(tiny / f"{number}.png")
        box = torch.tensor([[4.0, 6.0, min(20, image.width), min(16, image.height)]])
        scaled = Sam2Processor._normalize_coordinates(None, SIDE, box, (image.height, image.width), True)
        assert scaled[0, 2] == pytest.approx(float(box[0, 2]) * SIDE / image.width)
        assert scaled[0, 3] == pytest.approx(float(box[0, 3]) * SIDE / image.height)
        with torch.no_grad():
            output = theirs(pixel_values=pixels(image)[None], input_boxes=scaled[None])
        whole = F.interpolate(output.pred_masks[0], (image.height, image.width), mode="bilinear", align_corners=False)
        expected = (whole[0, int(output.iou_scores[0, 0].argmax())] > 0.0).numpy()
        assert isinstance(answer.value, Mask)
        assert answer.value.size == Size(*rivals.SIZES[number])
        assert (masks.pixels(answer.value) != expected).sum() <= 2  # pixels at the threshold may round either way
        some += int(expected.sum())
    assert some > 0


def test_masks_do_not_depend_on_the_batch(tiny: Path) -> None:
    alone, together = of_oracle(tiny, 1), of_oracle(tiny, 5)
    assert together[0].batch == 5
    for number, answer in alone.items():
        one, other = masks.pixels(answer.value), masks.pixels(together[number].value)  # type: ignore[arg-type]
        assert (one != other).mean() < 0.001


def test_image_parts_of_a_video_checkpoint_are_loaded_as_repositories_hold_them(tiny: Path, tmp_path: Path) -> None:
    """The published repositories are of the kind `sam2_video`."""
    small = {"memory_attention_hidden_size": 32, "memory_encoder_hidden_size": 32, "memory_encoder_output_channels": 16}
    video = Sam2VideoModel(config(Sam2VideoConfig, image_size=SIDE, **small))
    assert video.load_state_dict(Sam2Model.from_pretrained(tiny).state_dict(), strict=False).unexpected_keys == []
    video.save_pretrained(tmp_path)
    shutil.copy(tiny / "preprocessor_config.json", tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "sam2_video"
    of_images, of_video = of_oracle(tiny, 5), of_oracle(tiny, 5, tmp_path)
    assert [answer.value for answer in of_video.values()] == [answer.value for answer in of_images.values()]


@pytest.mark.parametrize(("changes", "message"), [
    ({"size": {"height": 96, "width": 96}}, "resizes images to .*96.*; its network needs 64 x 64"),
    ({"size": {"longest_edge": 64}}, "its network needs 64 x 64"),
    ({"do_normalize": False}, "an image processor of another kind than SAM 2's"),
    ({"resample": 3}, "an image processor of another kind than SAM 2's"),
])  # fmt: skip
def test_image_settings_of_another_kind_are_refused(
    tiny: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor(**changes)))
    with pytest.raises(CheckpointError, match=message):
        sam2.Pixels(Pretrained(Sam2Model(config(Sam2Config)), tmp_path, "", {}))


def test_folder_without_image_settings_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the image processor of"):
        sam2.Pixels(Pretrained(Sam2Model(config(Sam2Config)), tmp_path, "", {}))


def test_other_image_settings_are_another_fingerprint(tiny: Path, tmp_path: Path) -> None:
    weights = Path(shutil.copytree(tiny, tmp_path / "weights"))
    (weights / "preprocessor_config.json").write_text(json.dumps(processor(image_mean=[0.5, 0.5, 0.5])))
    one, other = (
        ENTRIES["sam2-t"].load(Setting(weights=str(folder), device="cpu")).fingerprint for folder in (tiny, weights)
    )
    assert one != other and one.startswith("Sam2 v1:Sam2Model:") and ":boxes of oracle:" in one


def test_weights_come_from_the_hub_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals.check_hub(ENTRIES["sam2-t"], tiny, tmp_path, monkeypatch)


def test_tasks_are_run_on_the_targets_boxes_scored_compared_and_reported(tiny: Path, tmp_path: Path) -> None:
    tasks = ["refcoco_res", "refcoco_plus_res", "refcocog_res"]
    rivals.check_commands(ENTRIES["sam2-s"], tiny, tmp_path, tasks)
