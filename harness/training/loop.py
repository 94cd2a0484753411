"""The loop: anything that makes a batch a loss, moved by a plan; killed at any step, it goes on as if it had not been.

A step depends on the weights, the optimiser's state and the step's number alone: batches are functions of (seed, step),
and there is no dropout.  All of that is kept every `save_every` steps, in a new file that then replaces the old one.
`log.csv` has a line every 20 steps, `log.png` draws it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from harness.errors import ResourceError, UsageError
from harness.florence2.fast.training import Bfloat16Linear
from harness.training.lessons import Batch
from harness.training.log import Log
from harness.training.parallel import Ranks, gathered, give_totals, wrapped
from harness.training.recipe import Plan
from harness.training.states import Kept, alone

RISEN, PATIENCE = 4.0, 50  # a loss so many times its lowest average, for so many steps, has exploded
Batches = Callable[[int], Iterator[list[Batch]]]  # from a step on, each step's parts


def fit(
    lesson: nn.Module,
    batches: Batches,
    plan: Plan,
    out: Path,
    *,
    name: str = "training",
    identity: str = "",
    average: tuple[nn.Module, nn.Module] | None = None,
) -> None:
    """Moves the lesson's trainable weights to the plan's end, from what is kept in `out/name.pt` of this `identity`.

    `lesson(batch)` gives a loss and its parts by name.  `average` is a module and the one that follows it.
    ResourceError where the loss is not finite or explodes, or memory or disk runs out: the state that was last kept is
    good.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = next(lesson.parameters()).device
    if plan.precision == "float16" and device.type == "cpu":
        raise UsageError("precision=float16 needs a GPU; on a CPU, bfloat16 or float32")
    halved = any(isinstance(module, Bfloat16Linear) for module in lesson.modules())
    if halved is not (plan.precision == "bfloat16" and device.type == "cpu"):
        raise ValueError(f"the network is not made ready for {plan.precision}: `fast.choose.trainable`")
    first = Ranks.current().rank == 0
    with alone(out / f"{name}.lock") if first else nullcontext():
        _fit(lesson, batches, plan, out, device, name, identity, average)


def _fit(
    lesson: nn.Module,
    batches: Batches,
    plan: Plan,
    out: Path,
    device: torch.device,
    name: str,
    identity: str,
    average: tuple[nn.Module, nn.Module] | None,
) -> None:
    optimiser = optimiser_of(lesson, plan)
    scaler = torch.amp.GradScaler(device.type, enabled=plan.precision == "float16" and device.type == "cuda")
    first = Ranks.current().rank == 0
    kept = Kept(out / f"{name}.pt", identity)
    log, watch = Log(out / f"{name}.csv", plan, enabled=first), _Watch(kept)
    parts = {"lesson": lesson, "optimiser": optimiser, "scaler": scaler, "log": log, "watch": watch}
    if average is not None:
        parts["average"] = average[1]
    start = kept.load(parts)
    taught = wrapped(lesson)
    with _explained(plan), _repeatable(device), log.going_on(start):
        drawn = batches(start)
        for step in tqdm(
            range(start, plan.steps), name, initial=start, total=plan.steps, disable=None if first else True
        ):
            pieces = next(drawn)
            give_totals(pieces)
            losses = _step(taught, pieces, plan, optimiser, scaler, learning_rate(step, plan))
            watch(step, losses, pieces)
            if average is not None:
                follow(*average, min(plan.average, (1 + step) / (10 + step)))
            log(step, losses, learning_rate(step, plan))
            if first and ((step + 1) % plan.save_every == 0 or step + 1 == plan.steps):
                kept.save(step + 1, parts)


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """On a CPU, the same sums in the same order every time; else threads add gradients of gathered rows as they come.

    On a GPU repeatable kernels are slower, and lacking for some of what is used here.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(before or device.type == "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _step(
    taught: nn.Module,
    pieces: list[Batch],
    plan: Plan,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    rate: float,
) -> dict[str, float]:
    """One movement of the weights; the loss over all parts and processes (as "loss"), and each kind's."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    sums: dict[str, float] = {}
    device = next(taught.parameters()).device
    for number, piece in enumerate(pieces):
        together = isinstance(taught, DistributedDataParallel) and number + 1 < len(pieces)
        with taught.no_sync() if together else nullcontext():  # type: ignore[operator]
            with _precision(plan, device):
                loss, seen = taught(piece)
            for kind, value in {"loss": float(loss.detach()), **seen}.items():
                sums[kind] = sums.get(kind, 0.0) + value
            scaler.scale(loss * Ranks.current().world).backward()  # the wrapper divides by the world
    losses = gathered(sums)
    if math.isfinite(losses["loss"]):
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(taught.parameters(), plan.clip)
        scaler.step(optimiser)
        scaler.update()
    return losses


def _precision(plan: Plan, device: torch.device) -> AbstractContextManager[object]:
    """Autocast on a GPU; on a CPU the linear maps have the precision (`fast.choose.trainable`)."""
    if plan.precision == "float32" or device.type == "cpu":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, plan.precision))


class _Watch:
    """Stops a run whose loss is not finite, or has risen far above what it was for a while."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.mean = math.nan
        self.lowest = math.inf
        self.risen = 0

    def state_dict(self) -> dict[str, float]:
        """What it has seen."""
        return {"mean": self.mean, "lowest": self.lowest, "risen": self.risen}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Goes on from what it had seen."""
        self.mean, self.lowest, self.risen = state["mean"], state["lowest"], int(state["risen"])

    def __call__(self, step: int, losses: dict[str, float], pieces: list[Batch]) -> None:
        loss = losses["loss"]
        if not math.isfinite(loss):
            bad = [kind for kind, value in losses.items() if not math.isfinite(value) and kind != "loss"]
            names = [name for piece in pieces for name in piece.names]
            self._stop(f"the loss is {loss} at step {step} ({', '.join(bad)}; images {', '.join(names[:4])} ...)")
        self.mean = loss if math.isnan(self.mean) else 0.95 * self.mean + 0.05 * loss
        self.lowest = min(self.lowest, self.mean)
        self.risen = self.risen + 1 if loss > RISEN * self.lowest else 0
        if self.risen >= PATIENCE:
            self._stop(f"the loss has exploded: {loss:.3g} at step {step}, from {self.lowest:.3g}")

    def _stop(self, what: str) -> None:
        raise ResourceError(f"{what}; {self.kept.said()}: lower the rate (--set rate=...), or --set clip=...")


@contextmanager
def _explained(plan: Plan) -> Iterator[None]:
    """Memory that runs out and workers that die, in one line with what to do.

    It is around everything: of a dead worker torch tells by raising wherever the main thread happens to be.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ResourceError(_memory(plan)) from error
    except (ConnectionError, EOFError) as error:  # it was sending an image when it died
        raise ResourceError(_dead(str(error) or type(error).__name__)) from error
    except RuntimeError as error:
        said = str(error)
        if "DataLoader worker" in said:
            raise ResourceError(_dead(said)) from error
        if "allocate memory" in said or "out of memory" in said:
            raise ResourceError(_memory(plan)) from error
        raise


def _dead(said: str) -> str:
    return (
        f"a worker that reads images died ({said.splitlines()[0]}); the same command goes on from the last state kept; "
        "--workers 0 reads them in this process, and shows why"
    )


def _memory(plan: Plan) -> str:
    return (
        f"out of memory with {plan.batch // plan.accumulate} images at once in {plan.precision}: "
        f"--set accumulate={2 * plan.accumulate}, --set precision=bfloat16, --set checkpointing=true or a smaller batch"
    )


def learning_rate(step: int, plan: Plan) -> float:
    """Linear warm-up to the plan's rate, then a cosine to its floor."""
    if step < plan.warmup:
        return plan.rate * (step + 1) / plan.warmup
    progress = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return plan.rate * (plan.floor + (1 - plan.floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def optimiser_of(module: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """AdamW over what is trainable; biases, norms and embeddings do not decay."""
    named = [p for p in module.parameters() if p.requires_grad]
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    decayed = [p for p in named if p.ndim > 1 and id(p) not in embeddings]
    kept = [p for p in named if p.ndim <= 1 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.rate, betas=plan.betas, fused=True)


@torch.no_grad()
def follow(module: nn.Module, average: nn.Module, decay: float) -> None:
    """Moves the average towards the module."""
    pairs: list[tuple[Tensor, Tensor]] = list(zip(average.parameters(), module.parameters(), strict=True))
    torch._foreach_lerp_([mine for mine, _ in pairs], [theirs for _, theirs in pairs], 1 - decay)
