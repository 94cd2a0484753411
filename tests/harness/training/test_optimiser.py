"""Which parameters each optimiser has, Muon's update against its definition, and what cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.errors import UsageError
from harness.training.optimiser import MOMENTUM, Pair, optimiser_of
from harness.training.recipe import Plan, described

PLAN = Plan(steps=1, batch=1, rate=0.1, weight_decay=0.5)
MUON = replace(PLAN, optimiser="muon")


def network() -> nn.Sequential:
    """An embedding, a convolution, a matrix with its bias, a norm, a frozen matrix, and an output tied to the first."""
    torch.manual_seed(0)
    embedding = nn.Embedding(5, 4)
    output = nn.Linear(4, 5, bias=False)
    output.weight = embedding.weight
    frozen = nn.Linear(4, 4).requires_grad_(False)
    return nn.Sequential(embedding, nn.Conv2d(4, 4, 1), nn.Linear(4, 3), nn.LayerNorm(3), frozen, output)


def ids(groups: list[dict[str, object]]) -> list[list[int]]:
    return [[id(p) for p in group["params"]] for group in groups]  # type: ignore[attr-defined]


def test_adamw_decays_matrices_alone() -> None:
    module = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 1).requires_grad_(False))
    decayed, undecayed = optimiser_of(module, PLAN).param_groups
    assert (decayed["weight_decay"], undecayed["weight_decay"]) == (0.5, 0.0)
    assert ids([decayed]) == [[id(module[1].weight)]]
    biases_norms_embeddings = [module[0].weight, module[1].bias, module[2].weight, module[2].bias]
    assert ids([undecayed]) == [[id(p) for p in biases_norms_embeddings]]


def test_muon_has_the_matrices_and_adamw_the_rest() -> None:
    """The output is tied to the embedding, so it is AdamW's; a convolution has four dimensions."""
    net = network()
    embedding, convolution, linear, norm, *_ = net
    matrices, decayed, undecayed = optimiser_of(net, MUON).param_groups
    assert ids([matrices]) == [[id(linear.weight)]]
    assert ids([decayed]) == [[id(convolution.weight)]]
    others = (embedding.weight, convolution.bias, linear.bias, norm.weight, norm.bias)
    assert ids([undecayed]) == [[id(p) for p in others]]
    assert [group["weight_decay"] for group in (matrices, decayed, undecayed)] == [0.5, 0.5, 0.0]


def orthogonalised(update: Tensor) -> Tensor:
    """The Newton-Schulz iteration of Muon, five steps, as Jordan et al. (2024) state it."""
    a, b, c = 3.4445, -4.775, 2.0315
    x = update.bfloat16() / update.norm()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).float()


def test_first_step_of_muon_is_its_definition() -> None:
    """weight * (1 - rate * decay) - rate * 0.2 * sqrt(larger side) * orthogonalised(Nesterov momentum).

    torch's first momentum is (1 - m) * gradient, and Nesterov's mixes the gradient in again; the direction stays that
    of the gradient, whose length the iteration divides out.
    """
    module = nn.Linear(6, 3, bias=False)
    weight, gradient = module.weight.detach().clone(), torch.randn(3, 6)
    optimiser = optimiser_of(module, MUON)
    module.weight.grad = gradient.clone()
    optimiser.step()
    expected = weight * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 6**0.5 * orthogonalised(gradient)
    torch.testing.assert_close(module.weight.detach(), expected, atol=2e-3, rtol=0)  # bfloat16 inside
    assert MOMENTUM == 0.95


def test_learning_rate_and_gradients_of_a_pair_reach_both() -> None:
    net = network()
    pair = optimiser_of(net, MUON)
    assert isinstance(pair, Pair)
    for group in pair.param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in net.parameters()]
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    pair.step()
    assert all(torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))
    pair.zero_grad()
    assert all(p.grad is None for p in net.parameters() if p.requires_grad)


def test_state_of_a_pair_continues_bit_for_bit() -> None:
    def stepped(net: nn.Sequential, optimiser: Pair, steps: range) -> list[Tensor]:
        for step in steps:
            torch.manual_seed(step)
            for p in net.parameters():
                p.grad = torch.randn_like(p) if p.requires_grad else None
            optimiser.step()
        return [p.detach().clone() for p in net.parameters()]

    whole = network()
    expected = stepped(whole, optimiser_of(whole, MUON), range(6))
    halves = network()
    first = optimiser_of(halves, MUON)
    stepped(halves, first, range(3))
    second = optimiser_of(halves, MUON)
    second.load_state_dict(first.state_dict())
    for mine, theirs in zip(stepped(halves, second, range(3, 6)), expected, strict=True):
        assert torch.equal(mine, theirs)


def test_muon_without_a_trained_matrix_is_refused() -> None:
    net = network()
    net[2].requires_grad_(False)
    with pytest.raises(UsageError, match="no matrix is trained"):
        optimiser_of(net, MUON)


def test_torch_without_muon_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(UsageError, match=r"optimiser=muon needs torch 2\.9 or newer"):
        optimiser_of(network(), MUON)


def test_plan_with_the_default_optimiser_is_described_as_before_there_was_another() -> None:
    assert "optimiser" not in described(PLAN)
    assert described(MUON) == described(PLAN) | {"optimiser": "muon"}
