"""Settings of the whole process: what the engine needs holds inside, what was set before holds again after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from harness.florence2.fast import settings


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = found()
    yield
    torch.backends.cudnn.allow_tf32, attention = before
    torch.backends.cuda.enable_cudnn_sdp(attention)


def found() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.parametrize("tf32", [True, False])
@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_gpu_settings_are_restored(fails: bool, attention: bool, tf32: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: the current device is a stand-in, the settings are torch's own."""
    entered: list[torch.device] = []

    @contextmanager
    def current(device: torch.device) -> Iterator[None]:
        entered.append(device)
        try:
            yield
        finally:
            entered.pop()

    monkeypatch.setattr(torch.cuda, "device", current)
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.enable_cudnn_sdp(attention)

    def work() -> None:
        with settings.cuda(torch.device("cuda:1")):
            assert found() == (False, False)
            assert entered == [torch.device("cuda:1")]
            if fails:
                raise ValueError("in the middle")

    if fails:
        with pytest.raises(ValueError, match="in the middle"):
            work()
    else:
        work()
    assert found() == (tf32, attention)
    assert not entered


@pytest.mark.parametrize("name", ["cpu", "meta"])
def test_nothing_is_set_for_another_device(name: str) -> None:
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.enable_cudnn_sdp(True)
    with settings.cuda(torch.device(name)):
        assert found() == (True, True)
