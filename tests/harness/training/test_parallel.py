"""Several processes and gradient accumulation: each place once, and the curve of one process with the whole batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import UsageError
from harness.training.lessons import Batch
from harness.training.loop import learning_rate
from harness.training.parallel import Ranks, distributed, process_group, set_step_totals, summed_losses
from tests.harness.training import processes
from tests.harness.training.tiny import TINY


def test_parts_of_two_processes_cover_the_batch() -> None:
    # Of 12 places in 2 x 3 shares, part p of rank r has the places 2 p + r and 2 p + r + 6.
    assert Ranks(0, 2).parts(12, 3) == [[0, 6], [2, 8], [4, 10]]
    assert Ranks(1, 2).parts(12, 3) == [[1, 7], [3, 9], [5, 11]]
    assert Ranks().parts(4, 1) == [[0, 1, 2, 3]]


def test_parts_of_indivisible_batch_raise() -> None:
    with pytest.raises(UsageError, match="a batch of 10 does not divide into 3 parts for each of 2 processes"):
        Ranks(0, 2).parts(10, 3)


def part(kinds: list[str], lengths: list[int], images: int) -> Batch:
    answers = [np.zeros(length, np.int16) for length in lengths]
    return Batch(torch.zeros(images, 2, 2, 3), torch.zeros(len(kinds)).long(), kinds, answers, answers)


def test_step_totals_of_one_process_cover_all_parts() -> None:
    parts = [part(["vqa", "caption"], [2, 5], images=1), part(["vqa"], [4], images=3)]
    set_step_totals(parts)
    for each in parts:
        assert each.totals == ({"vqa": 2, "caption": 1}, {"vqa": 2 + 4, "caption": 5})
    assert [each.share for each in parts] == [1 / 4, 3 / 4]


def test_one_process_needs_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group("cpu") as device:
        assert device == "cpu"
        assert Ranks.current() == Ranks(0, 1)
    module = torch.nn.Linear(1, 1)
    assert distributed(module) is module
    assert summed_losses({"vqa": 1.5}) == {"vqa": 1.5}


@pytest.mark.slow
def test_processes_and_parts_give_the_curve_of_one_process_with_the_whole_batch(tmp_path: Path) -> None:
    trained(tmp_path, "whole", "TOKENS", ranks=1)
    for recipe, ranks in (("TOKENS", 2), ("PARTS", 1), ("PARTS", 2)):
        trained(tmp_path, f"{recipe} {ranks}", recipe, ranks)
        same_curve(tmp_path / "whole", tmp_path / f"{recipe} {ranks}")


def trained(folder: Path, out: str, recipe: str, ranks: int) -> None:
    """Trains in processes; all runs use the pack of the first, which is rendered once."""
    for path in (folder / "whole").glob("scenes-*.npz"):
        (folder / out).mkdir()
        (folder / out / path.name).hardlink_to(path)
    started = processes.start(folder / out, recipe, ranks=ranks)
    assert [process.wait() for process in started] == [0] * ranks


def same_curve(one: Path, other: Path) -> None:
    whole, divided = (processes.rows_of(out / "training.csv") for out in (one, other))
    assert whole[0].keys() == divided[0].keys()
    for name in set(whole[0]) - {"step"}:
        assert float(whole[-1][name] or 0) == pytest.approx(float(divided[-1][name] or 0), rel=1e-4)
    first, second = (processes.weights_of(out) for out in (one, other))
    far = torch.cat([(first[name].float() - second[name].float()).abs().flatten() for name in first])
    # A step of Adam moves a weight by the learning rate, whatever the size of the gradient; in 6 steps of these betas,
    # by at most 1.02 times the learning rate.  Rounding decides the sign of a gradient near 0, and thus the direction.
    reach = 1.02 * sum(learning_rate(step, TINY.plan) for step in range(TINY.plan.steps))
    assert float(far.max()) < 2 * reach
    # Fewer than one weight in 1,000 has such a gradient.
    assert float(far.mean()) < reach / 1000
