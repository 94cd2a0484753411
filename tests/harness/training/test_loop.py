"""Teaching: the loss by hand, and a run that is stopped and goes on as if it had not been."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import ResourceError
from harness.florence2 import weights
from harness.florence2.config import NANO, TextConfig
from harness.training import loop
from harness.training.data import pad
from harness.training.loss import token_loss
from harness.training.nano import teach
from harness.training.recipes import NANO_RECIPE, Recipe
from harness.training.start import smooth_bins
from tasks.miniature.training import FIRST_TRAINING_SEED, training_scene

SMALL = replace(
    NANO,
    image_size=64,
    text=TextConfig(width=32, heads=2, encoder_layers=1, decoder_layers=1, ffn=32, positions=256, vocab=1400),
    vision=replace(NANO.vision, dims=(8, 8, 16, 16), heads=(1, 1, 2, 2), groups=(1, 1, 2, 2)),
)
RECIPE: Recipe = replace(
    NANO_RECIPE, name="tiny", config=SMALL, scenes=24, batch=4, vision_steps=3, vision_batch=4, steps=6, warmup=2,
    save_every=2, few=9, regions=0.5,
)  # fmt: skip


def test_plain_cross_entropy_where_nothing_is_softened() -> None:
    logits = torch.randn(5, 1100, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 50, 99, 100, 1099])
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(token_loss(logits, targets, first_bin=100, sigma=0.0), expected)
    torch.testing.assert_close(token_loss(logits[:3], targets[:3], first_bin=100, sigma=4.0), expected[:3])


@pytest.mark.parametrize("target", [500, 1, 998])
def test_softened_bins_against_a_plain_loop(target: int) -> None:
    logits = torch.randn(1, 1100, generator=torch.Generator().manual_seed(target))
    sigma, first = 2.0, 100
    weight = {b: math.exp(-0.5 * ((b - target) / sigma) ** 2) for b in range(1000) if abs(b - target) <= 5}
    log_probs = logits.double().log_softmax(-1)[0]
    expected = -sum(w * float(log_probs[first + b]) for b, w in weight.items()) / sum(weight.values())
    found = token_loss(logits, torch.tensor([first + target]), first, sigma)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_neighbouring_bins_start_alike() -> None:
    bins = torch.nn.functional.normalize(smooth_bins(64, torch.Generator().manual_seed(0)), dim=1)
    near = (bins[:-1] * bins[1:]).sum(1).mean()
    far = (bins[:500] * bins[500:]).sum(1).mean()
    assert near > 0.95
    assert far < 0.5


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [loop.learning_rate(step, 100, 1.0, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.01 + 0.99 * 0.5, abs=0.02)
    assert rates[-1] == pytest.approx(0.01, abs=0.002)


def test_rows_are_padded_to_the_longest() -> None:
    assert pad([np.array([5, 6, 7], np.int16), np.array([8], np.int16)]).tolist() == [[5, 6, 7], [8, 1, 1]]


class Stopped(Exception):
    """The moment of the kill."""


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = teach(RECIPE, training_scene, FIRST_TRAINING_SEED, tmp_path / "whole")
    (tmp_path / "stopped").mkdir()
    for name in ("tokenizer.json", *(path.name for path in (tmp_path / "whole").glob("scenes-*.npz"))):
        (tmp_path / "stopped" / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    follow = loop._follow
    for last in (3, 2):  # stopped in steps 3 and 4: states are kept after steps 1 and 3
        done = 0

        def stopping(average: torch.nn.Module, model: torch.nn.Module, decay: float, last: int = last) -> None:
            nonlocal done
            follow(average, model, decay)
            done += 1
            if done > last:
                raise Stopped

        monkeypatch.setattr(loop, "_follow", stopping)
        with pytest.raises(Stopped):
            teach(RECIPE, training_scene, FIRST_TRAINING_SEED, tmp_path / "stopped")
    monkeypatch.setattr(loop, "_follow", follow)
    stopped = teach(RECIPE, training_scene, FIRST_TRAINING_SEED, tmp_path / "stopped")

    one, other = (weights.load(folder).model.state_dict() for folder in (whole, stopped))
    assert all(torch.equal(one[name], other[name]) for name in one)
    log = (tmp_path / "stopped/log.csv").read_text().splitlines()
    assert log[0].startswith("step,caption,detect,ground,refer,segment")
    assert [line.split(",")[0] for line in log[1:]] == ["0"]
    names = {path.name for path in whole.iterdir()}
    assert names == {"config.json", "preprocessor_config.json", "model.safetensors", "tokenizer.json"}


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    module = torch.nn.Linear(1, 1)
    optimiser = torch.optim.AdamW(module.parameters())
    with pytest.raises(ResourceError, match="the loss is nan at step 7"):
        loop._update(module, optimiser, torch.tensor(math.nan), 1e-3, 1.0, 7)
