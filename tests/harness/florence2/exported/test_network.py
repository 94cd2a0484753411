"""The engine over exported graphs writes what transformers writes."""

from __future__ import annotations

import pytest
import torch

from harness.florence2.bart import Memory
from harness.florence2.decoding.search import Decoding
from harness.florence2.exported.network import Exported
from harness.florence2.exported.runtimes import Settings
from harness.speed.scenarios import ask
from harness.speed.systems import Ours
from tests.exported import (
    NEW_TOKENS,
    PREPROCESS,
    RUNTIMES,
    SMALL,
    by_transformers,
    network,
    queries,
)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("beams", "slots"), [(1, 1), (1, 3), (3, 1), (3, 3), (3, 5)])
def test_engine_over_a_runtime_answers_as_transformers_alone(runtime: str, beams: int, slots: int) -> None:
    """Five prompts of four lengths; with fewer slots, sequences of one batch are at different positions."""
    expected = by_transformers(beams)
    assert len(set(map(len, expected))) > 1
    decoding = Decoding(beams=beams, max_new_tokens=NEW_TOKENS)
    system = Ours(network(Settings(runtime, "float32", 1)), PREPROCESS, decoding, queries(), slots)
    assert ask(system, range(len(expected))) == expected


def test_exported_network_has_no_weights_and_draws_no_numbers() -> None:
    before = torch.random.get_rng_state()
    exported = Exported(SMALL, {}, Settings("torch-compile", "float32", 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    held = [weight for weight in exported.parameters() if weight.device.type != "meta"]
    assert sum(weight.numel() for weight in held) == SMALL.text.width  # a row that has the device and precision
    assert exported.vision.dtype == torch.float32 and exported.hidden_width == SMALL.text.vocab


def test_decoding_without_a_cache_is_refused() -> None:
    exported = Exported(SMALL, {}, Settings("torch-compile", "float32", 1))
    nothing = torch.zeros(0)
    with pytest.raises(ValueError, match="needs a cache"):
        exported.decode(torch.zeros(1, 1, dtype=torch.long), Memory(nothing, nothing, None))
