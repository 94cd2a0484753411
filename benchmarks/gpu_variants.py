"""The engine and its kernels with one part left out, for `benchmarks/gpu.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import torch

from harness.florence2.decoding.engine import Engine
from harness.florence2.fast import fused, vision
from harness.speed.systems import Ours


def unchanged(system: Ours) -> Ours:
    """Returns the system as it is."""
    return system


def without_graphs(system: Ours) -> Ours:
    """Returns the system without CUDA graphs: every kernel is launched by itself."""
    system.engine.pool.advance = None
    system.engine._encode_image = system.engine.model.encode_image
    return system


def exact(system: Ours) -> Ours:
    """Returns the system with exact shapes: the host waits for every token, and diverging beams copy the cache."""
    engine = system.engine
    system.engine = Engine(engine.model, engine.preprocess, engine.decoding, slots=engine.slots, static=False)
    system.engine.group = engine.slots  # images are encoded together, as with fixed shapes
    system.engine.pool.advance = None
    return system


def _never(x: torch.Tensor) -> bool:
    return False


@contextmanager
def interpreted(rehearsal: bool) -> Iterator[None]:
    """In a rehearsal, kernels run in Triton's interpreter."""
    if not rehearsal:
        yield
        return
    with mock.patch.object(fused, "usable", lambda x: True):
        yield


@contextmanager
def plain() -> Iterator[None]:
    """Plain torch in place of the Triton kernels."""
    with mock.patch.object(fused, "usable", _never):
        yield


@contextmanager
def plain_tower() -> Iterator[None]:
    """Plain torch in place of the Triton kernels of the vision tower."""
    with mock.patch.object(vision, "fused", SimpleNamespace(usable=_never)):
        yield


@contextmanager
def torch_search() -> Iterator[None]:
    """torch's logsumexp and topk in place of the kernels over the vocabulary's scores."""
    with mock.patch.multiple(fused, normalisers=lambda scores: scores.logsumexp(-1), candidates=torch.topk):
        yield


@contextmanager
def gelu_inside() -> Iterator[None]:
    """GELU inside a Triton product, in place of a pass of its own."""
    with mock.patch.object(fused, "GELU_INSIDE", True):
        yield
