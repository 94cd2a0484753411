"""The optimiser of a plan: AdamW, or Muon for the matrices with AdamW for the rest.

Muon makes the update of a matrix nearly orthogonal.  Its update is scaled to the root mean square of AdamW's
(`adjust_lr_fn="match_rms_adamw"`), so that both take one learning rate and one weight decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import UsageError
from harness.training.recipe import Plan

MOMENTUM = 0.95


def optimiser_of(module: nn.Module, plan: Plan) -> Any:
    """The optimiser over the trainable parameters; biases, norms and embeddings have no weight decay.

    With `optimiser="muon"`, Muon has the parameters with two dimensions that are no embeddings; AdamW has the others:
    embeddings, and so the output layer that is tied to them, convolutions, norms and biases.

    UsageError if Muon would have no parameter, or if this torch has no Muon.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    if plan.optimiser == "adamw":
        return _adamw(parameters, embeddings, plan)
    matrices = [p for p in parameters if p.ndim == 2 and id(p) not in embeddings]
    if not matrices:
        raise UsageError("optimiser=muon: no matrix is trained, only embeddings, norms or biases; optimiser=adamw")
    if not hasattr(torch.optim, "Muon"):
        raise UsageError(f"optimiser=muon needs torch 2.9 or newer, and this is {torch.__version__}; optimiser=adamw")
    muon = torch.optim.Muon(
        matrices, lr=plan.rate, weight_decay=plan.weight_decay, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw"
    )
    taken = set(map(id, matrices))
    return Pair(muon, _adamw([p for p in parameters if id(p) not in taken], embeddings, plan))


class Pair:
    """Two optimisers of different parameters, used as one."""

    def __init__(self, first: torch.optim.Optimizer, second: torch.optim.Optimizer) -> None:
        self.members = (first, second)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both; a change of one, such as of its learning rate, holds."""
        return list(chain.from_iterable(member.param_groups for member in self.members))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops all gradients."""
        for member in self.members:
            member.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """One step of each."""
        for member in self.members:
            member.step()

    def state_dict(self) -> dict[str, Any]:
        """The state of both."""
        return {str(number): member.state_dict() for number, member in enumerate(self.members)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state of an interrupted run."""
        for number, member in enumerate(self.members):
            member.load_state_dict(state[str(number)])


def _adamw(parameters: Sequence[Tensor], embeddings: set[int], plan: Plan) -> torch.optim.AdamW:
    decayed = [p for p in parameters if p.ndim > 1 and id(p) not in embeddings]
    undecayed = [p for p in parameters if p.ndim <= 1 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.rate, betas=plan.betas, fused=True)
