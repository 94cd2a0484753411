"""Settings of the whole process: the engine's hold inside the context, the former ones again after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from harness.florence2.fast import settings


@pytest.fixture(autouse=True)
def restored_settings() -> Iterator[None]:
    before = current_settings()
    yield
    torch.backends.cudnn.allow_tf32, attention = before
    torch.backends.cuda.enable_cudnn_sdp(attention)


def current_settings() -> tuple[bool, bool]:
    """Whether convolutions use TF32, and whether attention uses cuDNN."""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.parametrize("tf32", [True, False])
@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_gpu_settings_are_restored_even_after_an_error(
    fails: bool, attention: bool, tf32: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current device is a stand-in; the settings are torch's own."""
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
            assert current_settings() == (False, False)
            assert entered == [torch.device("cuda:1")]
            if fails:
                raise ValueError("a bug")

    if fails:
        with pytest.raises(ValueError, match="a bug"):
            work()
    else:
        work()
    assert current_settings() == (tf32, attention)
    assert not entered


@pytest.mark.parametrize("name", ["cpu", "meta"])
def test_settings_for_another_device_are_unchanged(name: str) -> None:
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.enable_cudnn_sdp(True)
    with settings.cuda(torch.device(name)):
        assert current_settings() == (True, True)
