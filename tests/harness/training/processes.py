"""Training runs in processes of their own, started as `torchrun` starts them."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.florence2 import weights
from harness.training.parallel import process_group
from harness.training.scenes import teach
from harness.training.states import TrainingState
from tasks.miniature.training import FIRST_TRAINING_SEED
from tests.harness.training.tiny import DRAWING, TINY, training_scene

ROOT = Path(__file__).parents[3]
# Without region classification, whose loss is a mean over each part.
TOKENS = replace(TINY, data=replace(DRAWING, regions=0.0, vision=None))
RUNS = {
    "LONG": replace(TINY, plan=replace(TINY.plan, steps=40, save_every=1)),
    "TOKENS": TOKENS,
    "PARTS": replace(TOKENS, plan=replace(TINY.plan, accumulate=2)),
}
TIMED = {"images/s", "seconds left"}  # columns of a log that no two runs share


def start(out: Path, recipe: str, *, ranks: int = 1, kill_after: int = 0) -> list[subprocess.Popen[bytes]]:
    """The processes of a run of RUNS[recipe] into `out`.

    With `kill_after`, a process kills itself soon after it has saved the training state of that many steps.
    """
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from tests.harness.training import processes\n"
        "processes.run(sys.argv[1], sys.argv[2], int(sys.argv[3]))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, str(out), recipe, str(kill_after)],
            cwd=ROOT,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)},
        )
        for rank in range(ranks)
    ]


def run(out: str, recipe: str, kill_after: int) -> None:
    """The program of a process of `start`."""
    save = TrainingState.save

    def save_then_die(state: TrainingState, step: int, parts: Mapping[str, Any]) -> None:
        save(state, step, parts)
        if step == kill_after and state.path.name == "training.pt":
            # From another thread, and later: the signal comes at any point of the next steps.
            threading.Timer(0.005, os.kill, (os.getpid(), signal.SIGKILL)).start()

    TrainingState.save = save_then_die  # type: ignore[method-assign]
    with process_group("cpu"):
        teach(RUNS[recipe], training_scene, FIRST_TRAINING_SEED, Path(out))


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a log as text, without the timed columns."""
    with path.open(newline="") as stream:
        return [{name: cell for name, cell in row.items() if name not in TIMED} for row in csv.DictReader(stream)]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return weights.load(folder / "checkpoint").model.state_dict()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
