"""The tower does the same work in different portions on a CPU; the map must not show it."""

from __future__ import annotations

import pytest
import torch

from harness.florence2 import davit
from tests.twins import twins


@pytest.mark.parametrize(("name", "value"), [("LARGE", 0), ("STRIP", 48)])
def test_portions_change_nothing(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = twins(seed=4).ours.vision
    pixels = torch.randn(3, 3, 192, 96, generator=torch.Generator().manual_seed(0))
    calls: list[int] = []
    tower.stages[0].register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    with torch.inference_mode():
        whole = tower(pixels)
        monkeypatch.setattr(davit, name, value)
        torch.testing.assert_close(tower(pixels), whole, rtol=1e-4, atol=2e-4)
    assert calls == ([3, 1, 1, 1] if name == "LARGE" else [3, 3])
