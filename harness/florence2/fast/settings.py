"""torch's settings for the engine's work on a GPU, set only during this work.

    with cuda(device):
        ...

torch has these settings once per process: they hold for all its threads at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def cuda(device: torch.device) -> Iterator[None]:
    """A context with the engine's settings for a GPU; it restores the former settings.  No effect on other devices.

    The GPU is the current device, on which kernels, streams and graphs are created.  Convolutions in float32 do not use
    TF32, which has 10 of 23 bits.  Attention does not use cuDNN, which plans anew for every batch and length.
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
