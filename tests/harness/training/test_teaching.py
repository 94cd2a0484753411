"""Training of the whole network, and the checkpoint folder: complete or absent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.errors import ResourceError
from harness.florence2 import weights
from harness.florence2.tokenizer import Tokenizer
from harness.training.history import history_of
from harness.training.lessons import Batch
from harness.training.teaching import save, teach_all
from harness.training.vision import RegionHeads
from tests.harness.training.processes import rows_of
from tests.harness.training.tiny import FIRST_BIN, SMALL, TINY, lesson_and_batch, small_model

WEIGHTS = Path(__file__).parents[3] / "baselines/weights/florence2-nano"
RUN = {"identity": "x", "recipe": {}, "from": None, "tasks": {}}


def batches(start: int) -> Iterator[list[Batch]]:
    """The same batch of three images, with a region in each, in every step."""
    _, batch = lesson_and_batch()
    batch.regions = torch.tensor([[[0.1, 0.2, 0.9, 0.8, 1.0]]] * 3)
    while True:
        yield [batch]


def test_teach_all_with_average_returns_the_moving_average(tmp_path: Path) -> None:
    """After one step the decay is (1 + 0) / (10 + 0) = 0.1, which is below the plan's: 0.1 before + 0.9 after."""
    plan = replace(TINY.plan, steps=1, batch=3)
    before = small_model().state_dict()
    trained, averaged = (
        teach_all(
            replace(TINY, plan=replace(plan, average=average)), small_model(), batches, FIRST_BIN, tmp_path / name, ""
        ).state_dict()
        for name, average in (("trained", 0.0), ("averaged", 0.5))
    )
    assert not torch.equal(before["lm_head.weight"], trained["lm_head.weight"])
    for name, tensor in averaged.items():
        torch.testing.assert_close(tensor, 0.1 * before[name] + 0.9 * trained[name])


@pytest.mark.parametrize(("regions", "logged"), [(0.5, True), (0.0, False)])
def test_teach_all_uses_region_heads_by_their_weight(regions: float, logged: bool, tmp_path: Path) -> None:
    model = small_model()
    recipe = replace(TINY, plan=replace(TINY.plan, steps=1, batch=3), data=replace(TINY.data, regions=regions))
    heads = RegionHeads(model.vision, SMALL.vision.dims[-1], (3,))
    teach_all(recipe, model, batches, FIRST_BIN, tmp_path, "", heads=heads)
    assert ("regions" in rows_of(tmp_path / "training.csv")[0]) is logged


def test_save_writes_weights_tokenizer_and_history(tmp_path: Path) -> None:
    model = small_model()
    folder = save(model, Tokenizer.load(WEIGHTS), tmp_path / "checkpoint", None, RUN)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    loaded = weights.load(folder).model.state_dict()
    # The file has float16.
    assert all(torch.equal(loaded[name].half(), tensor.half()) for name, tensor in model.state_dict().items())
    assert history_of(folder) == [RUN]
    assert Tokenizer.load(folder).backend.to_str() == Tokenizer.load(WEIGHTS).backend.to_str()


def test_save_of_weights_that_are_not_finite_raises(tmp_path: Path) -> None:
    model = small_model()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = torch.nan
    with pytest.raises(ResourceError, match=r"some trained weights are not finite, so .*checkpoint is not written"):
        save(model, Tokenizer.load(WEIGHTS), tmp_path / "checkpoint", None, RUN)
    assert not list(tmp_path.iterdir())


def test_save_on_full_disk_raises_and_keeps_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint/old").write_text("old")

    def full(model: object, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save", full)
    with pytest.raises(ResourceError, match=r"checkpoint cannot be written: .*No space left on device"):
        save(small_model(), Tokenizer.load(WEIGHTS), tmp_path / "checkpoint", None, RUN)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert (tmp_path / "checkpoint/old").read_text() == "old"
