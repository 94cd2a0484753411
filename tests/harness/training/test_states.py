"""The training state: saved, loaded, refused, and unharmed by a full disk."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.errors import CheckpointError, ResourceError, UsageError
from harness.training.states import TrainingState, exclusive, replace_file


def test_loaded_state_restores_parts_step_and_random_numbers(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    state = TrainingState(tmp_path / "state.pt", "run")
    assert state.load({"lesson": module}) == 0
    assert state.summary() == "no training state is saved yet"
    with torch.random.fork_rng():
        state.save(7, {"lesson": module})
        weight, number = module.weight.detach().clone(), torch.rand(1)
        with torch.no_grad():
            module.weight.zero_()
        loaded = TrainingState(tmp_path / "state.pt", "run")
        assert loaded.load({"lesson": module}) == 7
        assert torch.equal(module.weight, weight)
        assert torch.equal(torch.rand(1), number)
    assert loaded.summary() == f"the training state after 7 steps is saved in {tmp_path / 'state.pt'}"


def test_load_of_state_of_another_run_raises(tmp_path: Path) -> None:
    TrainingState(tmp_path / "state.pt", "one").save(1, {})
    with pytest.raises(UsageError, match=r"state\.pt is of another run \(one, not other\)"):
        TrainingState(tmp_path / "state.pt", "other").load({})


def test_load_of_damaged_state_raises(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"half of a state")
    with pytest.raises(CheckpointError, match=r"state\.pt is not a training state of this version \("):
        TrainingState(tmp_path / "state.pt").load({})


def test_load_of_state_without_a_part_raises(tmp_path: Path) -> None:
    TrainingState(tmp_path / "state.pt").save(1, {})
    with pytest.raises(CheckpointError, match=r"not a training state of this version \(KeyError\)"):
        TrainingState(tmp_path / "state.pt").load({"lesson": nn.Linear(2, 2)})


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_load_of_state_with_nan_or_infinity_names_the_tensor_and_loads_nothing(tmp_path: Path, value: float) -> None:
    module, other = nn.Linear(2, 2), nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    optimiser.state[module.weight]["exp_avg"][1, 1] = value
    TrainingState(tmp_path / "state.pt").save(1, {"lesson": module, "optimiser": optimiser})
    before = other.weight.detach().clone()
    with pytest.raises(CheckpointError, match=r"optimiser\.state\.0\.exp_avg has 1 of 4 values .*; delete the file to"):
        TrainingState(tmp_path / "state.pt").load({"lesson": other})
    assert torch.equal(other.weight, before)


def test_exclusive_lock_held_twice_raises(tmp_path: Path) -> None:
    message = "another process is training in"
    with exclusive(tmp_path / "lock"), pytest.raises(UsageError, match=message), exclusive(tmp_path / "lock"):
        pytest.fail("the lock was held twice")
    with exclusive(tmp_path / "lock"):
        pass


def test_save_on_full_disk_keeps_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = TrainingState(tmp_path / "state.pt")
    module = nn.Linear(2, 2)
    state.save(1, {"lesson": module})

    def full(saved: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ResourceError, match=r"state\.pt cannot be written"):
        state.save(2, {"lesson": module})
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    with torch.random.fork_rng():
        assert TrainingState(tmp_path / "state.pt").load({"lesson": module}) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_replace_file_on_full_disk_reports_it(tmp_path: Path) -> None:
    def write(partial: Path) -> None:
        partial.write_bytes(b"half of it")
        Path("/dev/full").write_bytes(b"x" * 100_000)

    with pytest.raises(ResourceError, match="the disk is full; the old file is unchanged"):
        replace_file(tmp_path / "state.pt", write)
    assert not list(tmp_path.iterdir())
