"""What a host and its device do beside each other: numbers on their way, and work on a stream of its own.

On a CPU all is there at once, by the same calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def sent(numbers: Sequence[int] | Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Whole numbers on the device, without waiting for what it is doing."""
    here = torch.tensor(numbers)
    return here.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else here


class OnTheWay:
    """Copies of tensors to the host, begun now; nothing waits for them until they are wanted."""

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
    def arrived(self) -> bool:
        """Whether `wait` would not wait."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def wait(self) -> list[Tensor]:
        """The copies, once they are there."""
        if self._event is not None:
            self._event.synchronize()
        return self._copies


class Lane:
    """A stream beside the one that decodes.  What one `run` after another does there is done in their order."""

    def __init__(self, device: torch.device) -> None:
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # where the weights may still be made

    def run(self, work: Callable[[], Tensor]) -> tuple[Tensor, torch.cuda.Event | None]:
        """What the work gives, and what must have happened before that is read elsewhere."""
        if self._stream is None:
            return work(), None
        with torch.cuda.stream(self._stream):
            made = work()
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        return made, event


def join(made: Tensor, event: torch.cuda.Event | None) -> Tensor:
    """What another lane made, for use on the current stream from here on."""
    if event is not None:
        stream = torch.cuda.current_stream(made.device)
        stream.wait_event(event)
        made.record_stream(stream)
    return made
