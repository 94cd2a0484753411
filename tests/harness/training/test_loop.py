"""Teaching: the loss by hand, and a run that is stopped and goes on as if it had not been."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.errors import ResourceError, UsageError
from harness.florence2 import weights
from harness.florence2.fast.choose import trainable
from harness.florence2.start import smooth_bins
from harness.training import loop, states
from harness.training.lessons import Batch, Lesson, pad
from harness.training.loss import token_loss
from harness.training.recipe import Drawing, Plan, Precision
from harness.training.scenes import teach
from tasks.miniature.training import FIRST_TRAINING_SEED, training_scene
from tests.harness.training.tiny import TINY

HERE = Path(__file__)


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
    plan = Plan(steps=100, batch=1, rate=1.0, warmup=10)
    rates = [loop.learning_rate(step, plan) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.01 + 0.99 * 0.5, abs=0.02)
    assert rates[-1] == pytest.approx(0.01, abs=0.002)


def test_rows_are_padded_to_the_longest() -> None:
    assert pad([np.array([5, 6, 7], np.int16), np.array([8], np.int16)]).tolist() == [[5, 6, 7], [8, 1, 1]]


def test_the_loss_is_each_kinds_mean_by_its_share_of_the_prompts() -> None:
    lesson, batch = _lesson_and_batch()
    loss, seen = lesson(batch)
    by_kind: dict[str, list[float]] = {}
    for place in range(len(batch.kinds)):  # one prompt at a time, no padding, no grouping
        pixels = lesson.preprocess.normalise(batch.pixels[batch.image[place : place + 1]])
        answer = torch.from_numpy(batch.answers[place].astype(np.int64))[None]
        fed = torch.cat([torch.full_like(answer[:, :1], 2), answer[:, :-1]], dim=1)
        prompt = torch.from_numpy(batch.prompts[place].astype(np.int64))[None]
        logits = lesson.model(pixels, prompt, None, fed)[0]
        by_kind.setdefault(batch.kinds[place], []).extend(
            nn.functional.cross_entropy(logits, answer[0], reduction="none").tolist()
        )
    count = len(batch.kinds)
    expected = sum(
        batch.kinds.count(kind) / count * sum(losses) / len(losses)  # type: ignore[attr-defined]
        for kind, losses in by_kind.items()
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert seen == pytest.approx({kind: sum(losses) / len(losses) for kind, losses in by_kind.items()}, rel=1e-5)


def _lesson_and_batch() -> tuple[Lesson, Batch]:
    from harness.florence2.model import Florence2
    from harness.florence2.start import initialise

    assert TINY.config is not None
    model = Florence2(TINY.config)
    initialise(model, 300, torch.Generator().manual_seed(0))
    draw = np.random.default_rng(0)
    lengths = [3, 9, 4, 20, 2, 7]
    batch = Batch(
        torch.from_numpy(draw.integers(0, 256, (3, 64, 64, 3), np.uint8)),
        torch.tensor([0, 0, 1, 1, 2, 2]),
        ["refer", "caption", "refer", "segment", "caption", "refer"],
        [draw.integers(4, 1300, length, np.int16) for length in reversed(lengths)],
        [draw.integers(4, 1300, length, np.int16) for length in lengths],
    )
    return Lesson(model, 300), batch


def _start(out: Path, *, ranks: int = 1, recipe: str) -> list[subprocess.Popen[bytes]]:
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from tests.harness.training import test_loop\n"
        "test_loop.run_rank(sys.argv[1], sys.argv[2])"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, str(out), recipe],
            cwd=HERE.parents[3],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)},
        )
        for rank in range(ranks)
    ]


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_rank(out: str, recipe: str) -> None:
    """What a process started by `_start` does."""
    from harness.training.parallel import process_group

    with process_group("cpu"):
        teach(RUNS[recipe], training_scene, FIRST_TRAINING_SEED, Path(out))


assert isinstance(TINY.data, Drawing)
TOKENS = replace(TINY, data=replace(TINY.data, regions=0.0, vision=None))  # the regions' loss is each part's own mean
RUNS = {
    "LONG": replace(TINY, plan=replace(TINY.plan, steps=40, save_every=1)),
    "TOKENS": TOKENS,
    "PARTS": replace(TOKENS, plan=replace(TINY.plan, accumulate=2)),
}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return weights.load(folder / "checkpoint").model.state_dict()


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_step_goes_on_bit_for_bit(tmp_path: Path) -> None:
    [whole] = _start(tmp_path / "whole", recipe="LONG")
    assert whole.wait() == 0
    killed = 0
    for moment in (6, 19, 31):
        [process] = _start(tmp_path / "killed", recipe="LONG")
        deadline = time.monotonic() + 120
        while _kept(tmp_path / "killed") < moment and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == 3
    assert not (tmp_path / "killed/checkpoint").exists()
    [rest] = _start(tmp_path / "killed", recipe="LONG")
    assert rest.wait() == 0
    one, other = _weights(tmp_path / "whole"), _weights(tmp_path / "killed")
    assert all(torch.equal(one[name], other[name]) for name in one)
    whole_rows, killed_rows = (_rows(tmp_path / name / "training.csv") for name in ("whole", "killed"))
    timed = {"images/s", "seconds left"}
    curves = [[{name: row[name] for name in row.keys() - timed} for row in rows] for rows in (whole_rows, killed_rows)]
    assert curves[0] == curves[1]
    assert len(curves[0]) > 1 and all(float(row["loss"]) > 0 for row in curves[0])
    assert {path.name for path in (tmp_path / "whole/checkpoint").iterdir()} == {
        "config.json", "preprocessor_config.json", "model.safetensors", "tokenizer.json", "training.json",
    }  # fmt: skip
    assert (tmp_path / "whole/training.png").is_file()


def _kept(out: Path) -> int:
    path = out / "training.pt"
    return int(torch.load(path, weights_only=True)["step"]) if path.is_file() else 0


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "recipe"), [(2, "TOKENS"), (1, "PARTS"), (2, "PARTS")])
def test_processes_and_parts_give_the_curve_of_one_with_the_whole_batch(
    ranks: int, recipe: str, tmp_path: Path
) -> None:
    for out, count, name in (("alone", 1, "TOKENS"), ("many", ranks, recipe)):
        if (tmp_path / "alone").is_dir():  # the scenes are drawn once
            (tmp_path / out).mkdir()
            for path in (tmp_path / "alone").glob("scenes-*.npz"):
                (tmp_path / out / path.name).hardlink_to(path)
        processes = _start(tmp_path / out, ranks=count, recipe=name)
        assert [process.wait() for process in processes] == [0] * count
    one, other = (_rows(tmp_path / out / "training.csv") for out in ("alone", "many"))
    assert one[0].keys() == other[0].keys()
    for name in set(one[0]) - {"step", "images/s", "seconds left"}:
        assert float(one[-1][name] or 0) == pytest.approx(float(other[-1][name] or 0), rel=1e-4)
    first, second = _weights(tmp_path / "alone"), _weights(tmp_path / "many")
    far = [float((first[name].float() - second[name].float()).abs().max()) for name in first]
    assert (
        max(far) < 3e-3
    )  # Adam's first steps are of the size of the rate whatever the gradient's, so signs may differ


class _Broken(nn.Module):
    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.losses = iter(losses)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        value = next(self.losses)
        return self.weight.sum() * value, {"refer": value, "caption": 1.0}


def _batches(start: int) -> object:
    image = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    for _ in range(start, 1000):
        yield [Batch(image, torch.zeros(0, dtype=torch.long), (), (), (), names=["cat.jpg"])]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_batch(tmp_path: Path) -> None:
    plan = Plan(steps=10, batch=1, rate=1e-9, save_every=2)
    with pytest.raises(
        ResourceError, match=r"the loss is nan at step 5 \(refer; images cat.jpg .*after 4 steps is kept"
    ):
        loop.fit(_Broken([1.0] * 5 + [math.nan] * 5), _batches, plan, tmp_path)  # type: ignore[arg-type]
    kept = torch.load(tmp_path / "training.pt", weights_only=True)
    assert kept["step"] == 4
    assert torch.isfinite(kept["parts"]["lesson"]["weight"]).all()


def test_a_loss_that_explodes_stops_the_run(tmp_path: Path) -> None:
    plan = Plan(steps=200, batch=1, rate=1e-9, save_every=50)
    losses = [1.0] * 60 + [9.0] + [1.0] * 20 + [9.0] * 119  # one bad batch is forgiven
    with pytest.raises(ResourceError, match="the loss has exploded: 9 at step 130, from"):
        loop.fit(_Broken(losses), _batches, plan, tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("message", ["CUDA out of memory. Tried", "DefaultCPUAllocator: can't allocate memory: you"])
def test_memory_that_runs_out_suggests_settings(message: str, tmp_path: Path) -> None:
    class Greedy(_Broken):
        def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
            raise RuntimeError(message)

    with pytest.raises(ResourceError, match=r"out of memory with 8 images at once in float32: --set accumulate=2"):
        loop.fit(Greedy([]), _batches, Plan(steps=2, batch=8, rate=1.0), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(("made_for", "precision"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_network_made_ready_for_another_precision_is_not_trained(
    made_for: str, precision: Precision, tmp_path: Path
) -> None:
    lesson, _ = _lesson_and_batch()
    trainable(lesson.model, made_for)
    with pytest.raises(ValueError, match=f"not made ready for {precision}"):
        loop.fit(lesson, _batches, Plan(steps=2, batch=8, rate=1.0, precision=precision), tmp_path)  # type: ignore[arg-type]


def test_a_state_of_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    plan = Plan(steps=2, batch=1, rate=1e-9)
    loop.fit(_Broken([1.0] * 2), _batches, plan, tmp_path, identity="one")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is of another run"):
        loop.fit(_Broken([1.0] * 2), _batches, plan, tmp_path, identity="other")  # type: ignore[arg-type]


def test_two_do_not_train_in_one_folder(tmp_path: Path) -> None:
    plan = Plan(steps=2, batch=1, rate=1e-9)
    with states.alone(tmp_path / "training.lock"), pytest.raises(UsageError, match="another process is training in"):
        loop.fit(_Broken([1.0] * 2), _batches, plan, tmp_path)  # type: ignore[arg-type]
    loop.fit(_Broken([1.0] * 2), _batches, plan, tmp_path)  # type: ignore[arg-type]


def test_a_full_disk_leaves_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = states.Kept(tmp_path / "state.pt")
    module = nn.Linear(2, 2)
    kept.save(1, {"lesson": module})

    def full(thing: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ResourceError, match=r"state\.pt cannot be written"):
        kept.save(2, {"lesson": module})
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert states.Kept(tmp_path / "state.pt").load({"lesson": module}) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_is_full_is_said_in_a_line(tmp_path: Path) -> None:
    def write(partial: Path) -> None:
        partial.write_bytes(b"half of it")
        Path("/dev/full").write_bytes(b"x" * 100_000)

    with pytest.raises(ResourceError, match="the disk is full; what was there is kept"):
        states.replace_file(tmp_path / "state.pt", write)
