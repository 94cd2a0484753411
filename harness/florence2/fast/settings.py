"""Settings of torch that hold for the whole process, as the engine's work on a GPU needs them, and only during it.

    with cuda(device):
        ...

torch has them once for all threads: work of another thread meanwhile is under the same settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def cuda(device: torch.device) -> Iterator[None]:
    """Within it, where the device is a GPU: it is the current device, which kernels, streams and graphs are made on;
    convolutions in float32 keep all 23 bits (TF32 keeps ten); cuDNN computes no attention, since it plans anew for
    every batch and length.  What was set before is restored.  Nothing on another device.
    """
    if device.type != "cuda":
        yield
        return
    tf32 = torch.backends.cudnn.allow_tf32
    attention = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        with torch.cuda.device(device):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.enable_cudnn_sdp(attention)
