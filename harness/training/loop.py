"""The training loop.  A run killed at any step resumes, and gives the weights of an uninterrupted run.

A step depends only on the weights, the optimiser's state and the number of the step: a batch is a function of
(seed, step), and there is no dropout.  Every `save_every` steps, the training state is written to a new file that then
replaces the old one.  `name.csv` logs the losses, and `name.png` plots them (see `log`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from harness import tracking
from harness.errors import ResourceError, UsageError
from harness.florence2.fast.training import Bfloat16Linear
from harness.progress import Progress
from harness.training.lessons import Batch
from harness.training.log import Log
from harness.training.optimiser import optimiser_of
from harness.training.parallel import Ranks, distributed, set_step_totals, summed_losses
from harness.training.recipe import Plan
from harness.training.states import TrainingState, exclusive

# A loss has diverged after PATIENCE consecutive steps above DIVERGENCE times its lowest moving average.
DIVERGENCE, PATIENCE = 4.0, 50
logger = logging.getLogger(__name__)
Batches = Callable[[int], Iterator[list[Batch]]]  # the first step to the parts of that step and of each later one


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
    """Trains the lesson in place to the end of the plan; resumes from the training state in `out/name.pt`.

    `lesson(batch)` returns a scalar loss and its parts by name.  `identity` names the run that the state belongs to.
    `average` is a module and the module that holds its moving average.

    ResourceError for a loss that is not finite or diverges, and for lack of memory or disk space; the saved training
    state stays valid.  UsageError for float16 on a CPU, for a state of another run, and if another process trains in
    `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = next(lesson.parameters()).device
    if plan.precision == "float16" and device.type == "cpu":
        raise UsageError("precision=float16 needs a GPU; on a CPU, bfloat16 or float32")
    halved = any(isinstance(module, Bfloat16Linear) for module in lesson.modules())
    if halved is not (plan.precision == "bfloat16" and device.type == "cpu"):
        raise ValueError(f"the network is not prepared for {plan.precision}; call `fast.choose.trainable` first")
    first = Ranks.current().rank == 0
    facts = {"folder": out.name, "stage": name, "device": str(device), **asdict(plan), "betas": str(plan.betas)}
    tracked = tracking.run(f"{out.name} {name}", facts) if first else nullcontext()
    with exclusive(out / f"{name}.lock") if first else nullcontext(), tracked:
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
    state = TrainingState(out / f"{name}.pt", identity)
    log, watch = Log(out / f"{name}.csv", plan, enabled=first), _LossWatch(state)
    parts = {"lesson": lesson, "optimiser": optimiser, "scaler": scaler, "log": log, "watch": watch}
    if average is not None:
        parts["average"] = average[1]
    start = state.load(parts)
    trained = distributed(lesson)
    if first:
        resumed = f", resumed at step {start:,}" if start else ""
        logger.info("%s: %s steps of %d images%s; log: %s", name, f"{plan.steps:,}", plan.batch, resumed, log.path)
    progress = Progress(name, plan.steps, done=start, unit="steps", numbers=lambda: {"loss": watch.mean}, enabled=first)
    with _resource_errors(plan), _deterministic(device), log.starting_at(start), progress:
        steps = batches(start)
        for step in range(start, plan.steps):
            pieces = next(steps)
            set_step_totals(pieces)
            losses = _step(trained, pieces, plan, optimiser, scaler, learning_rate(step, plan))
            watch(step, losses, pieces)
            if average is not None:
                update_average(*average, min(plan.average, (1 + step) / (10 + step)))
            log(step, losses, learning_rate(step, plan))
            if first and ((step + 1) % plan.save_every == 0 or step + 1 == plan.steps):
                state.save(step + 1, parts)
            progress.update()


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Deterministic algorithms on a CPU, where threads otherwise add gradients of gathered rows in any order.

    A GPU keeps its setting: deterministic kernels are slower there, and some operations have none.  New memory is not
    filled, which torch adds by default: every operation writes what it returns, and filling takes a seventh of a step.
    """
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(before or device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = before and filled  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def _step(
    trained: nn.Module,
    pieces: list[Batch],
    plan: Plan,
    optimiser: Any,
    scaler: torch.amp.GradScaler,
    rate: float,
) -> dict[str, float]:
    """One optimiser step; the loss over all parts and processes (as "loss"), and the loss of each kind."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    sums: dict[str, float] = {}
    device = next(trained.parameters()).device
    for number, piece in enumerate(pieces):
        postponed = isinstance(trained, DistributedDataParallel) and number + 1 < len(pieces)
        with trained.no_sync() if postponed else nullcontext():  # type: ignore[operator]
            with _precision(plan, device):
                loss, by_kind = trained(piece)
            for kind, value in {"loss": float(loss.detach()), **by_kind}.items():
                sums[kind] = sums.get(kind, 0.0) + value
            # DistributedDataParallel averages gradients over the processes; the loss needs their sum.
            scaler.scale(loss * Ranks.current().world).backward()
    losses = summed_losses(sums)
    if math.isfinite(losses["loss"]):
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(trained.parameters(), plan.clip)
        scaler.step(optimiser)
        scaler.update()
    return losses


def _precision(plan: Plan, device: torch.device) -> AbstractContextManager[object]:
    """Autocast on a GPU; on a CPU, the linear maps themselves have the precision (`fast.choose.trainable`)."""
    if plan.precision == "float32" or device.type == "cpu":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, plan.precision))


class _LossWatch:
    """Raises ResourceError for a loss that is not finite, or that has diverged."""

    def __init__(self, state: TrainingState) -> None:
        self.state = state
        self.mean = math.nan
        self.lowest = math.inf
        self.risen = 0

    def state_dict(self) -> dict[str, float]:
        """The moving average of the loss, its minimum, and the number of consecutive steps far above it."""
        return {"mean": self.mean, "lowest": self.lowest, "risen": self.risen}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restores the state of an interrupted run."""
        self.mean, self.lowest, self.risen = state["mean"], state["lowest"], int(state["risen"])

    def __call__(self, step: int, losses: dict[str, float], pieces: list[Batch]) -> None:
        loss = losses["loss"]
        if not math.isfinite(loss):
            kinds = [kind for kind, value in losses.items() if not math.isfinite(value) and kind != "loss"]
            names = [name for piece in pieces for name in piece.names]
            self._stop(f"the loss is {loss} at step {step} ({', '.join(kinds)}; images {', '.join(names[:4])} ...)")
        self.mean = loss if math.isnan(self.mean) else 0.95 * self.mean + 0.05 * loss
        self.lowest = min(self.lowest, self.mean)
        self.risen = self.risen + 1 if loss > DIVERGENCE * self.lowest else 0
        if self.risen >= PATIENCE:
            self._stop(f"the loss has diverged: {loss:.3g} at step {step}, from {self.lowest:.3g}")

    def _stop(self, problem: str) -> None:
        raise ResourceError(
            f"{problem}; {self.state.summary()}: lower the learning rate (--set rate=...), "
            "or the limit of the gradient norm (--set clip=...)"
        )


@contextmanager
def _resource_errors(plan: Plan) -> Iterator[None]:
    """Turns exhausted memory and dead worker processes into a ResourceError that says what to do.

    The context covers the whole loop: torch reports a dead worker by raising wherever the main thread is.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ResourceError(_out_of_memory(plan)) from error
    except (ConnectionError, EOFError) as error:  # the worker died while it sent an image
        raise ResourceError(_dead_worker(str(error) or type(error).__name__)) from error
    except RuntimeError as error:
        message = str(error)
        if "DataLoader worker" in message:
            raise ResourceError(_dead_worker(message)) from error
        if "allocate memory" in message or "out of memory" in message:
            raise ResourceError(_out_of_memory(plan)) from error
        raise


def _dead_worker(message: str) -> str:
    return (
        f"a worker process that reads images died ({message.splitlines()[0]}); run the same command again to resume; "
        "--workers 0 reads images in the main process and shows the cause"
    )


def _out_of_memory(plan: Plan) -> str:
    return (
        f"out of memory with {plan.batch // plan.accumulate} images at once in {plan.precision}: "
        f"--set accumulate={2 * plan.accumulate}, --set precision=bfloat16, --set checkpointing=true or a smaller batch"
    )


def learning_rate(step: int, plan: Plan) -> float:
    """The learning rate of a step: linear warm-up to `plan.rate`, then a cosine schedule down to its floor."""
    if step < plan.warmup:
        return plan.rate * (step + 1) / plan.warmup
    progress = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return plan.rate * (plan.floor + (1 - plan.floor) * 0.5 * (1 + math.cos(math.pi * progress)))


@torch.no_grad()
def update_average(module: nn.Module, average: nn.Module, decay: float) -> None:
    """Sets `average` to decay * average + (1 - decay) * module, parameter by parameter, in place."""
    pairs: list[tuple[Tensor, Tensor]] = list(zip(average.parameters(), module.parameters(), strict=True))
    torch._foreach_lerp_([mean for mean, _ in pairs], [weight for _, weight in pairs], 1 - decay)
