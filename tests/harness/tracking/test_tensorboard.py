"""TensorBoard: the event files, as TensorBoard reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.tracking.scenario import BYTES, send, without_secret

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_tensorboard_reads_the_numbers_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with without_secret(tmp_path, monkeypatch):
        send("tensorboard", tmp_path)
    first, second = sorted((tmp_path / "tensorboard").iterdir(), key=lambda path: path.name)
    assert first.name.startswith("refcoco_val-") and second.name.startswith("second-")
    read = accumulator.EventAccumulator(str(first)).Reload()
    assert sorted(read.Tags()["scalars"]) == ["Acc_0.5", "Acc_0.5_low", "failed", "rate"]
    assert [(event.step, event.value) for event in read.Scalars("Acc_0.5")] == [(10, 50.0), (20, 62.5)]
    assert [event.step for event in read.Scalars("rate")] == [BYTES]
    texts = {tag: read.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in read.Tags()["tensors"]}
    assert "task: refcoco" in texts["facts/text_summary"]
    assert texts["status/text_summary"] == "finished"
    assert texts["artifacts/run.json/text_summary"] == str(tmp_path / "run.json")
    failed = accumulator.EventAccumulator(str(second)).Reload()
    assert failed.Tensors("status/text_summary")[0].tensor_proto.string_val == [b"failed"]
