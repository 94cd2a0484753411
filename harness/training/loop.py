"""The loop: a vision phase, then every task at once; killed at any step, it goes on as if it had not been.

A step depends on the weights, the optimiser and the step's number alone (batches are drawn from (seed, step), and
there is no dropout), so the state that is kept every `save_every` steps is complete.  It is written to a new file
that then replaces the old one.  `log.csv` has a line every 20 steps.
"""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from harness.core import Kind
from harness.errors import ResourceError
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import EOS, PAD
from harness.training.data import Pack
from harness.training.loss import token_loss
from harness.training.recipes import Recipe
from harness.training.start import initialise
from harness.training.vision import RegionHeads, region_loss

LOG_EVERY = 20


def train(
    recipe: Recipe, pack: Pack, first_bin: int, out: Path, *, start: Florence2 | None = None, device: str = "cpu"
) -> Florence2:
    """The averaged weights at the recipe's end; resumes from what is in `out`.  `start` is where to begin."""
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(recipe.seed)
    model = start or Florence2(recipe.config)
    if start is None:
        initialise(model, first_bin, generator)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    heads = None
    if recipe.vision_steps:
        heads = _teach_vision(recipe, model, pack, out / "vision.pt", out / "vision.csv", generator)
    kept = heads if recipe.regions else None
    return _teach_all(recipe, model, kept, pack, first_bin, out)


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up to `peak`, then a cosine to a hundredth of it."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def _teach_vision(
    recipe: Recipe, model: Florence2, pack: Pack, state: Path, log: Path, generator: torch.Generator
) -> RegionHeads:
    regions = torch.from_numpy(pack.regions)
    classes = tuple(int(regions[..., 4 + v].max()) + 1 for v in range(regions.shape[-1] - 4))
    heads = RegionHeads(model.vision, recipe.config.vision.dims[-1], classes)
    nn.init.xavier_uniform_(heads.head.weight, generator=generator)
    nn.init.zeros_(heads.head.bias)
    optimiser = _optimiser(heads, recipe, recipe.vision_rate)
    preprocess = Preprocess(recipe.config.image_size, recipe.config.image_size)
    start = _resume(state, {"heads": heads, "optimiser": optimiser})
    with _log(log, start, ("step", "loss", "right", "rate")) as write:
        for step in _steps(start, recipe.vision_steps, "vision"):
            draw = np.random.default_rng((recipe.seed, 1, step))
            chosen = torch.from_numpy(draw.integers(0, len(pack.images), recipe.vision_batch))
            loss, right = region_loss(heads(preprocess.normalise(pack.images[chosen])), regions[chosen])
            rate = learning_rate(step, recipe.vision_steps, recipe.vision_rate, min(100, recipe.vision_steps))
            _update(heads, optimiser, loss, rate, recipe.clip, step)
            if step % LOG_EVERY == 0:
                write(step, float(loss.detach()), right, rate)
            _keep(state, step + 1, recipe.vision_steps, recipe.save_every, {"heads": heads, "optimiser": optimiser})
    return heads


def _teach_all(
    recipe: Recipe, model: Florence2, heads: RegionHeads | None, pack: Pack, first_bin: int, out: Path
) -> Florence2:
    state = out / "state.pt"
    taught = model if heads is None else nn.ModuleList([model, heads])  # they share the tower
    optimiser = _optimiser(taught, recipe, recipe.rate)
    average = copy.deepcopy(model).requires_grad_(False)
    parts = {"model": taught, "average": average, "optimiser": optimiser}
    start = _resume(state, parts)
    preprocess = Preprocess(recipe.config.image_size, recipe.config.image_size)
    kinds: tuple[Kind, ...] = tuple(sorted({kind for slot in recipe.slots for kind in slot}))
    with _log(out / "log.csv", start, ("step", *kinds, "rate", "images/s")) as write:
        since, clock = start, time.monotonic()
        for step in _steps(start, recipe.steps, "all tasks"):
            losses, regions = _losses(recipe, model, heads, pack, preprocess, first_bin, step)
            rate = learning_rate(step, recipe.steps, recipe.rate, recipe.warmup)
            total = torch.stack([loss for _, loss in losses]).mean() + recipe.regions * regions
            _update(taught, optimiser, total, rate, recipe.clip, step)
            _follow(average, model, min(recipe.average, (1 + step) / (10 + step)))
            if step % LOG_EVERY == 0:
                now = time.monotonic()
                speed = (step + 1 - since) * recipe.batch / (now - clock)
                since, clock = step + 1, now
                by_kind = {kind: float(loss.detach()) for kind, loss in losses}
                write(step, *(by_kind.get(kind, "") for kind in kinds), rate, speed)
            _keep(state, step + 1, recipe.steps, recipe.save_every, parts)
    return average


def _losses(
    recipe: Recipe,
    model: Florence2,
    heads: RegionHeads | None,
    pack: Pack,
    preprocess: Preprocess,
    first_bin: int,
    step: int,
) -> tuple[list[tuple[Kind, Tensor]], Tensor]:
    """The loss of each slot of one step, and that of the regions, 0 without heads."""
    draw = np.random.default_rng((recipe.seed, 2, step))
    progress = step / recipe.steps
    sigma = recipe.sigma[0] * (recipe.sigma[1] / recipe.sigma[0]) ** progress
    kinds = [slot[int(draw.integers(len(slot)))] for slot in recipe.slots]
    able = np.logical_and.reduce([np.diff(pack.examples[kind].first) > 0 for kind in kinds])
    if progress < recipe.few_until:
        able &= (pack.regions[..., 4] >= 0).sum(1) <= recipe.few
    scenes = draw.choice(np.flatnonzero(able), recipe.batch)
    features = model.vision(preprocess.normalise(pack.images[torch.from_numpy(scenes)]))
    image = model.fusion(features)
    regions = torch.zeros(())
    if heads is not None:
        regions, _ = region_loss(heads.told(features), torch.from_numpy(pack.regions[scenes]))
    losses = []
    for kind in kinds:
        prompts, real, answers = pack.batch(kind, scenes, draw)
        fed = torch.cat([torch.full_like(answers[:, :1], EOS), answers[:, :-1]], dim=1)
        hidden = model.write(fed, model.read(image, prompts, real))
        told = answers != PAD
        losses.append((kind, token_loss(model.lm_head(hidden[told]), answers[told], first_bin, sigma).mean()))
    return losses, regions


def _optimiser(module: nn.Module, recipe: Recipe, rate: float) -> torch.optim.Optimizer:
    """AdamW; biases, norms and embeddings do not decay."""
    named = list(module.named_parameters())
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    decayed = [p for _, p in named if p.ndim > 1 and id(p) not in embeddings]
    kept = [p for _, p in named if p.ndim <= 1 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=recipe.betas, fused=True)


def _update(
    module: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor, rate: float, clip: float, step: int
) -> None:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ResourceError(f"the loss is {value} at step {step}; the last good state is kept: lower the learning rate")
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), clip)
    optimiser.step()


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def _resume(path: Path, parts: Mapping[str, Any]) -> int:
    """Loads every part; the step to go on from, 0 where nothing is kept."""
    if not path.is_file():
        return 0
    kept = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(kept[name])
    return int(kept["step"])


def _keep(path: Path, step: int, steps: int, every: int, parts: Mapping[str, Any]) -> None:
    if step % every and step != steps:
        return
    partial = path.with_suffix(".partial")
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, partial)
    partial.replace(path)


def _steps(start: int, steps: int, what: str) -> Iterator[int]:
    yield from tqdm(range(start, steps), what, initial=start, total=steps, disable=None)


@contextmanager
def _log(path: Path, start: int, header: tuple[str, ...]) -> Iterator[Any]:
    """A writer of rows; rows at or past `start`, from a run that was killed, are dropped."""
    kept = []
    if path.is_file():
        with path.open(newline="") as stream:
            kept = [row for row in csv.reader(stream) if row and row[0].isdigit() and int(row[0]) < start]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(kept)

        def write(*row: object) -> None:
            writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row])
            stream.flush()

        yield write
