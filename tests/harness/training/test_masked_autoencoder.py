"""Masked autoencoding: the loss against a plain loop, the mask, and training that predicts hidden pixels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.florence2.config import NANO, VisionConfig
from harness.florence2.davit import DaViT
from harness.florence2.model import Florence2
from harness.florence2.start import initialise
from harness.training.masked_autoencoder import MaskedAutoencoder, hidden_loss

SMALL: VisionConfig = replace(NANO.vision, dims=(8, 8, 16, 16), heads=(1, 1, 2, 2), groups=(1, 1, 2, 2))


def small(patch: int = 16, share: float = 0.6) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(DaViT(SMALL), SMALL, patch=patch, share=share)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(batch: int = 2, height: int = 64, width: int = 64) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=seeded(1))


@pytest.mark.parametrize(("patch", "height", "width"), [(16, 64, 64), (32, 64, 96), (8, 48, 32)])
def test_loss_equals_plain_loop(patch: int, height: int, width: int) -> None:
    module, pixels = small(patch), images(2, height, width)
    loss = module(pixels, seeded(3))
    hidden = module.draw_mask(pixels, seeded(3))
    predicted = module.predict(pixels, hidden).tolist()
    values, masked = pixels.tolist(), hidden.tolist()
    differences = [
        abs(predicted[b][c][y][x] - values[b][c][y][x])
        for b in range(2)
        for y in range(height)
        for x in range(width)
        if masked[b][y][x]
        for c in range(3)
    ]
    assert loss.shape == ()
    # Pairwise float32 sums of up to 11,000 differences of one sign are off by less than log2(11,000) + 2 = 16 eps.
    assert float(loss.detach()) == pytest.approx(sum(differences) / len(differences), rel=1e-5)


@torch.no_grad()
def test_cell_predicts_the_pixels_under_it() -> None:
    module, pixels = small(), images()
    hidden = module.draw_mask(pixels, seeded(0))
    cells = module.head(module.norm(module.tower(module.hide(pixels, hidden))))  # (B, 4, 4, 3 * 16 * 16)
    predicted = module.predict(pixels, hidden)
    assert predicted.shape == pixels.shape
    for b, i, j in [(0, 0, 0), (1, 2, 3), (0, 3, 1)]:
        pixels_under = predicted[b, :, 16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
        torch.testing.assert_close(pixels_under, cells[b, i, j].view(3, 16, 16))


@torch.no_grad()
def test_predict_does_not_depend_on_hidden_pixels() -> None:
    module, pixels = small(), images()
    hidden = module.draw_mask(pixels, seeded(2))
    predicted = module.predict(pixels, hidden)
    hidden_changed = torch.where(hidden[:, None], 7.0, pixels)
    assert torch.equal(module.predict(hidden_changed, hidden), predicted)
    visible_changed = torch.where(hidden[:, None], pixels, 7.0)
    assert not torch.allclose(module.predict(visible_changed, hidden), predicted)


def test_loss_does_not_depend_on_visible_pixels() -> None:
    module, pixels = small(), images()
    hidden = module.draw_mask(pixels, seeded(2))
    predicted = module.predict(pixels, hidden).detach()
    loss = hidden_loss(predicted, pixels, hidden).detach()
    assert torch.equal(hidden_loss(predicted, torch.where(hidden[:, None], pixels, 7.0), hidden), loss)
    assert float(hidden_loss(predicted, torch.where(hidden[:, None], 7.0, pixels), hidden)) > float(loss)


@pytest.mark.parametrize(
    ("patch", "share", "squares"),
    [(16, 0.6, 10), (8, 0.6, 38), (32, 0.5, 2), (32, 0.01, 1)],  # of 16, 64, 4 and 4: 9.6, 38.4, 2 and 0.04
)
def test_mask_has_whole_squares_and_the_given_share(patch: int, share: float, squares: int) -> None:
    hidden = small(patch, share).draw_mask(images(5), seeded(0))
    assert hidden.sum((1, 2)).tolist() == [squares * patch * patch] * 5
    for image in hidden:
        for top in range(0, 64, patch):
            for left in range(0, 64, patch):
                assert len(image[top : top + patch, left : left + patch].unique()) == 1


def test_mask_depends_on_the_generator_alone() -> None:
    module = small()
    torch.manual_seed(5)
    first = module.draw_mask(images(4), seeded(9))
    torch.manual_seed(6)
    assert torch.equal(module.draw_mask(images(4) + 1, seeded(9)), first)
    assert not torch.equal(module.draw_mask(images(4), seeded(10)), first)
    assert not torch.equal(first[0], first[1])


def test_mask_hides_every_square_equally_often() -> None:
    hidden = small().draw_mask(images(1).expand(4000, -1, -1, -1), seeded(0))[:, ::16, ::16].float().mean(0)
    # 10 of 16 squares: 0.625, with a standard error of (0.625 * 0.375 / 4000) ** 0.5 = 0.0077
    torch.testing.assert_close(hidden, torch.full((4, 4), 0.625), rtol=0, atol=0.035)


def test_hide_paints_hidden_pixels_and_keeps_the_others() -> None:
    module, pixels = small(), images()
    with torch.no_grad():
        module.colour.copy_(torch.tensor([1.0, 2.0, 3.0]))
    hidden = module.draw_mask(pixels, seeded(4))
    masked = module.hide(pixels, hidden).permute(0, 2, 3, 1)
    assert torch.equal(masked[hidden], torch.tensor([1.0, 2.0, 3.0]).expand(int(hidden.sum()), 3))
    assert torch.equal(masked[~hidden], pixels.permute(0, 2, 3, 1)[~hidden])


def test_image_or_share_out_of_range_raises() -> None:
    with pytest.raises(ValueError, match="72x64 pixels do not divide into squares of 8 and of 16"):
        small(8)(images(1, 64, 72), seeded(0))
    with pytest.raises(ValueError, match="48x64 pixels do not divide into squares of 32"):
        small(32)(images(1, 64, 48), seeded(0))
    with pytest.raises(ValueError, match="not 1"):
        small(share=1.0)


def test_training_predicts_hidden_pixels() -> None:
    """Eight images of smooth colours, whose hidden pixels follow from the visible pixels."""
    vision = replace(SMALL, dims=(32, 32, 64, 64), depths=(1, 1, 1, 1))
    config = replace(NANO, vision=vision)
    model, generator = Florence2(config), seeded(0)
    initialise(model, 500, generator)
    torch.manual_seed(0)
    module = MaskedAutoencoder(model.vision, vision)
    pixels = F.interpolate(torch.randn(8, 3, 3, 3, generator=generator), size=(64, 64), mode="bilinear")
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(45):
        loss = module(pixels, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    # The error of always predicting the median colour.
    colours = pixels.transpose(0, 1).flatten(1)
    assert sum(losses[-5:]) / 5 < 0.75 * float((colours - colours.median(1, keepdim=True).values).abs().mean())
