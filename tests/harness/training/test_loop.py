"""The training loop: its schedule and optimiser, what it refuses, and runs that are killed and resume."""

from __future__ import annotations

import logging
import math
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness import progress, tracking
from harness.errors import ResourceError, UsageError
from harness.florence2.fast.choose import trainable
from harness.training import loop, states
from harness.training.lessons import Batch
from harness.training.recipe import Plan, Precision
from tests.harness.training import processes
from tests.harness.training.tiny import ScriptedLoss, image_batches, lesson_and_batch


def test_learning_rate_warms_up_and_falls_to_the_floor() -> None:
    plan = Plan(steps=100, batch=1, rate=1.0, warmup=10)
    rates = [loop.learning_rate(step, plan) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.01 + 0.99 * 0.5)  # half of the 90 steps after the warm-up: cos(pi / 2) = 0
    assert rates[-1] == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 89 / 90)))


def test_update_average_moves_towards_the_module() -> None:
    module, average = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.constant_(module.weight, 4.0)
    nn.init.constant_(average.weight, 8.0)
    loop.update_average(module, average, decay=0.75)
    assert average.weight.item() == 0.75 * 8 + 0.25 * 4
    assert module.weight.item() == 4.0


def test_fit_with_accumulation_steps_once_per_batch(tmp_path: Path) -> None:
    """Two parts of a step: one entry of the log has both losses, and the learning rate changes once."""
    part = next(image_batches(0))[0]
    plan = Plan(steps=1, batch=2, rate=1.0, accumulate=2, clip=1e9, weight_decay=0.0)
    module = ScriptedLoss([1.0, 2.0])
    loop.fit(module, lambda start: iter([[part, part]]), plan, tmp_path)
    # The gradient is 1 + 2.  Adam's first step is the learning rate, whatever the gradient: rate * 3 / (3 + 1e-8).
    assert module.weight.item() == pytest.approx(1 - loop.learning_rate(0, plan))
    row = processes.rows_of(tmp_path / "training.csv")[0]
    assert (row["loss"], row["refer"], row["caption"]) == ("3", "3", "2")


@pytest.mark.slow
def test_run_killed_at_any_step_resumes_bit_for_bit(tmp_path: Path) -> None:
    [whole] = processes.start(tmp_path / "whole", "LONG")
    assert whole.wait() == 0
    killed = 0
    for step in (6, 19, 31):
        [process] = processes.start(tmp_path / "killed", "LONG", kill_after=step)
        killed += process.wait() == -signal.SIGKILL
    assert killed == 3
    assert not (tmp_path / "killed/checkpoint").exists()
    [rest] = processes.start(tmp_path / "killed", "LONG")
    assert rest.wait() == 0
    first, second = (processes.weights_of(tmp_path / name) for name in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows, resumed = (processes.rows_of(tmp_path / name / "training.csv") for name in ("whole", "killed"))
    assert rows == resumed
    assert len(rows) > 1 and all(float(row["loss"]) > 0 for row in rows)
    assert {path.name for path in (tmp_path / "whole/checkpoint").iterdir()} == {
        "config.json", "preprocessor_config.json", "model.safetensors", "tokenizer.json", "training.json",
    }  # fmt: skip
    assert (tmp_path / "whole/training.png").is_file()


def test_fit_with_loss_that_is_not_finite_raises_and_names_the_batch(tmp_path: Path) -> None:
    plan = Plan(steps=10, batch=1, rate=1e-9, save_every=2)
    message = r"the loss is nan at step 5 \(refer; images cat.jpg .*after 4 steps is saved"
    with pytest.raises(ResourceError, match=message):
        loop.fit(ScriptedLoss([1.0] * 5 + [math.nan] * 5), image_batches, plan, tmp_path)
    saved = torch.load(tmp_path / "training.pt", weights_only=True)
    assert saved["step"] == 4
    assert torch.isfinite(saved["parts"]["lesson"]["weight"]).all()


def test_fit_with_diverging_loss_raises(tmp_path: Path) -> None:
    plan = Plan(steps=200, batch=1, rate=1e-9, save_every=50)
    losses = [1.0] * 60 + [9.0] + [1.0] * 20 + [9.0] * 119  # the single bad step does not end the run
    # Steps 81 to 130 are PATIENCE = 50 consecutive steps at 9, above 4 times the lowest average, 1.
    with pytest.raises(ResourceError, match="the loss has diverged: 9 at step 130, from"):
        loop.fit(ScriptedLoss(losses), image_batches, plan, tmp_path)


@pytest.mark.parametrize("message", ["CUDA out of memory. Tried", "DefaultCPUAllocator: can't allocate memory: you"])
def test_fit_without_enough_memory_suggests_settings(message: str, tmp_path: Path) -> None:
    class Greedy(ScriptedLoss):
        def forward(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
            raise RuntimeError(message)

    with pytest.raises(ResourceError, match=r"out of memory with 8 images at once in float32: --set accumulate=2"):
        loop.fit(Greedy([]), image_batches, Plan(steps=2, batch=8, rate=1.0), tmp_path)


@pytest.mark.parametrize(("prepared", "precision"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_fit_of_network_prepared_for_another_precision_raises(
    prepared: str, precision: Precision, tmp_path: Path
) -> None:
    lesson, _ = lesson_and_batch()
    trainable(lesson.model, prepared)
    with pytest.raises(ValueError, match=f"not prepared for {precision}"):
        loop.fit(lesson, image_batches, Plan(steps=2, batch=8, rate=1.0, precision=precision), tmp_path)


def test_fit_in_float16_on_cpu_raises(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="precision=float16 needs a GPU"):
        loop.fit(ScriptedLoss([]), image_batches, Plan(steps=1, batch=1, rate=1.0, precision="float16"), tmp_path)


def test_fit_in_folder_of_another_run_raises(tmp_path: Path) -> None:
    plan = Plan(steps=2, batch=1, rate=1e-9)
    loop.fit(ScriptedLoss([1.0] * 2), image_batches, plan, tmp_path, identity="one")
    with pytest.raises(UsageError, match="is of another run"):
        loop.fit(ScriptedLoss([1.0] * 2), image_batches, plan, tmp_path, identity="other")


def test_fit_in_locked_folder_raises(tmp_path: Path) -> None:
    plan = Plan(steps=2, batch=1, rate=1e-9)
    message = "another process is training in"
    with states.exclusive(tmp_path / "training.lock"), pytest.raises(UsageError, match=message):
        loop.fit(ScriptedLoss([1.0] * 2), image_batches, plan, tmp_path)
    loop.fit(ScriptedLoss([1.0] * 2), image_batches, plan, tmp_path)


def test_fit_restores_the_setting_of_deterministic_algorithms(tmp_path: Path) -> None:
    before = torch.are_deterministic_algorithms_enabled()
    loop.fit(ScriptedLoss([1.0]), image_batches, Plan(steps=1, batch=1, rate=1e-9), tmp_path)
    assert torch.are_deterministic_algorithms_enabled() is before


def test_fit_without_a_terminal_logs_its_start_and_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "harness")
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    loop.fit(ScriptedLoss([0.5] * 3), image_batches, Plan(steps=3, batch=1, rate=1e-9), tmp_path, name="vision")
    assert caplog.messages[0] == f"vision: 3 steps of 1 images; log: {tmp_path / 'vision.csv'}"
    assert caplog.messages[1].startswith("vision: 1 of 3 steps (33 %), ")
    assert caplog.messages[1].endswith(" left; loss 0.5")
    assert caplog.messages[-1].startswith("vision: 3 of 3 steps (100 %), in ")


def test_fit_sends_its_rows_and_files_to_trackers_and_the_status_of_a_failure(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    plan = Plan(steps=40, batch=1, rate=1e-9)
    with tracking.to(["tensorboard"], tmp_path / "tracking"):
        loop.fit(ScriptedLoss([1.0] * 20 + [3.0] * 20), image_batches, plan, tmp_path / "good")
        with pytest.raises(ResourceError):
            loop.fit(ScriptedLoss([math.nan]), image_batches, plan, tmp_path / "bad")
    bad, good = sorted((tmp_path / "tracking/tensorboard").iterdir())
    assert not (tmp_path / "good/tensorboard").exists()  # not written twice
    read = accumulator.EventAccumulator(str(good)).Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(20, 1.0), (40, 3.0)]
    assert {"artifacts/training.csv/text_summary", "artifacts/training.png/text_summary"} <= set(read.Tags()["tensors"])
    failed = accumulator.EventAccumulator(str(bad)).Reload()
    assert failed.Tensors("status/text_summary")[0].tensor_proto.string_val == [b"failed"]
