"""Overlap of host and device: copies that nobody waits for, and work on a second CUDA stream.

On a CPU the same calls work, and have no overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def to_device(numbers: Sequence[int] | Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Integers as an int64 tensor on the device; the host does not wait for the device."""
    host = torch.tensor(numbers)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host


class HostCopies:
    """Copies of tensors to the host that start now; only `wait` waits for them."""

    def __init__(self, *tensors: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if not tensors[0].is_cuda:
            self._copies = [tensor.clone() for tensor in tensors]
            return
        self._copies = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
        for copy, tensor in zip(self._copies, tensors, strict=True):
            copy.copy_(tensor, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record()

    @property
    def ready(self) -> bool:
        """Whether the copies are on the host."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def wait(self) -> list[Tensor]:
        """Waits for the copies, and returns them."""
        if self._event is not None:
            self._event.synchronize()
        return self._copies


class SideStream:
    """A second CUDA stream, for work during decoding; its work runs in the order of the calls of `run`."""

    def __init__(self, device: torch.device) -> None:
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # which may still write weights

    def run(self, work: Callable[[], Tensor]) -> tuple[Tensor, torch.cuda.Event | None]:
        """The work's result, and the event after which other streams may read it; None on a CPU."""
        if self._stream is None:
            return work(), None
        with torch.cuda.stream(self._stream):
            result = work()
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        return result, event


def wait_for(result: Tensor, event: torch.cuda.Event | None) -> Tensor:
    """A result of `SideStream.run`; the current stream waits for its event from here on."""
    if event is not None:
        stream = torch.cuda.current_stream(result.device)
        stream.wait_event(event)
        result.record_stream(stream)
    return result
