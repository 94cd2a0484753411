"""Token cross-entropy: against torch's, and softened targets against a plain loop."""

from __future__ import annotations

import math

import pytest
import torch

from harness.training.loss import token_loss


def test_token_loss_without_location_targets_equals_cross_entropy() -> None:
    logits = torch.randn(5, 1100, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 50, 99, 100, 1099])
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(token_loss(logits, targets, first_bin=100, sigma=0.0), expected)
    torch.testing.assert_close(token_loss(logits[:3], targets[:3], first_bin=100, sigma=4.0), expected[:3])


@pytest.mark.parametrize("target", [500, 1, 998])
def test_token_loss_of_location_target_equals_plain_loop(target: int) -> None:
    logits = torch.randn(1, 1100, generator=torch.Generator().manual_seed(target))
    sigma, first = 2.0, 100
    weight = {b: math.exp(-0.5 * ((b - target) / sigma) ** 2) for b in range(1000) if abs(b - target) <= 5}
    log_probs = logits.double().log_softmax(-1)[0]
    expected = -sum(w * float(log_probs[first + b]) for b, w in weight.items()) / sum(weight.values())
    loss = token_loss(logits, torch.tensor([first + target]), first, sigma)
    # A log-probability in float32 is off by a few eps of the largest logit (about 4) and of the log-sum (about 7.5);
    # 11 weights that sum to 1 each add 11 eps at most: less than 25 eps = 3e-6 of the loss.
    assert float(loss) == pytest.approx(expected, rel=1e-5)
