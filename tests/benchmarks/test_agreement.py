"""Agreement of the most likely tokens, by kind of token."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from benchmarks import agreement
from harness.florence2.tokenizer import PAD

FIRST_BIN = 10
ANSWER = torch.tensor([[2, 0, 5, 12, 2, PAD], [2, 0, 13, 14, 15, 2]])
EXACT = torch.tensor([[0, 5, 12, 2, 9], [0, 13, 14, 15, 2]])
LESS = torch.tensor([[0, 5, 11, 2, 8], [0, 13, 14, 16, 3]])


def test_agreement_leaves_out_padding_and_separates_locations() -> None:
    """The tokens after the first are 0, 5, 12, 2, PAD and 0, 13, 14, 15, 2.

    Words are 0, 5, 2, 0 and 2, of which the last differs: 4 of 5.  Locations are 12, 13, 14 and 15, of which 12 and 15
    differ: 2 of 4.  In all 6 of 9 agree.
    """

    def model(pixels: Any, prompt: Any, real: Any, answer: torch.Tensor) -> torch.Tensor:
        assert torch.equal(answer, ANSWER[:, :-1])
        return F.one_hot(LESS, 20).float()

    model.vision = SimpleNamespace(dtype=torch.float32)  # type: ignore[attr-defined]
    parts: Any = SimpleNamespace(
        model=model, tokenizer=SimpleNamespace(first_bin=FIRST_BIN),
        preprocess=SimpleNamespace(normalise=lambda pixels, dtype: pixels),
    )  # fmt: skip
    nothing = torch.zeros(2)
    shares = agreement.agreement(parts, [(nothing, nothing, nothing, ANSWER)], [EXACT])
    assert shares == pytest.approx({"all": 600 / 9, "words": 80.0, "locations": 50.0, "places": 9})
