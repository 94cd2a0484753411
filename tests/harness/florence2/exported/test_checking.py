"""The comparison of tokens finds a runtime that is wrong, says where, and finds the hint with which it is right."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

import pytest
from torch import Tensor

from harness.errors import ResourceError
from harness.florence2.decoding.search import Decoding
from harness.florence2.exported.checking import PROMPTS, TOKENS, candidates, compare, first_equal
from harness.florence2.exported.graphs import modules, plain
from harness.florence2.exported.network import Exported
from harness.florence2.exported.runtimes import Graph, Settings
from tests.exported import PREPROCESS, RUNTIMES, SMALL, network, small
from tests.twins import fast

DECODING = Decoding(beams=3)
LENGTH = 64  # the positions of the network, which are fewer than TOKENS
ANSWERS = 2 * len(PROMPTS)  # greedily and with beams


def by_torch(settings: Settings, wrong_from: int | None = None) -> Exported:
    """The graphs' modules; `wrong_from` is the first position whose scores are wrong, for all but the first answer."""
    parts = modules(plain(small().ours))

    def of(part: str) -> Graph:
        def compute(inputs: Sequence[Tensor]) -> list[Tensor]:
            if part != "decoder":
                outputs = parts[part](*inputs)
                return [outputs] if isinstance(outputs, Tensor) else list(outputs)
            layers = SMALL.text.decoder_layers
            lists = [list(inputs[start : start + layers]) for start in range(5, len(inputs), layers)]
            scores, keys, values = parts[part](*inputs[:5], *lists)
            if wrong_from is not None and int(inputs[1].max()) >= wrong_from:
                scores[1:] = scores[1:].roll(1, -1)
            return [scores, keys, values]

        return compute

    return Exported(SMALL, {part: of(part) for part in parts}, settings)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_runtime_writes_equal_tokens_to_the_last_position(runtime: str) -> None:
    compared = compare(fast(small().ours), network(Settings(runtime, "float32", 1)), PREPROCESS, DECODING)
    assert compared.difference == ""
    assert compared.tokens == ANSWERS * LENGTH and TOKENS >= LENGTH
    assert 0 < compared.error < 1e-3  # rounding of float32, and not nothing: the two sum in different orders


def test_wrong_token_is_described_by_answer_beams_and_place() -> None:
    """The scores after position 15, of token 17 with the forced first token as number 1, are of another token."""
    ours = fast(small().ours)
    settings = Settings("torch-compile", "float32", 1)
    compared = compare(ours, by_torch(settings, wrong_from=16), PREPROCESS, DECODING)
    assert compared.difference.startswith(f"answer 2, 1 beam, token 17 of {LENGTH}: ")
    assert compared.tokens == LENGTH + 16  # all of the first answer, and those before the difference
    token, another = compared.difference.split(": ")[1].split(" instead of ")
    assert int(token) == int(another) + 1  # `roll` gives a token's score to the next token


def test_first_hint_with_equal_tokens_is_taken() -> None:
    tried: list[Settings] = []

    def load(settings: Settings) -> Exported:
        tried.append(settings)
        return by_torch(settings, wrong_from=None if settings.hint("SNIPPETS_MODE") == "DISABLE" else 16)

    pytest.importorskip("openvino")
    settings = Settings("openvino", "float32", 1)
    found, compared = first_equal(fast(small().ours), load, settings, PREPROCESS, DECODING)
    assert found.settings.hints == {"SNIPPETS_MODE": "DISABLE"} and compared.difference == ""
    assert tried == [settings, found.settings]
    assert found.backend == f"openvino {metadata.version('openvino')} SNIPPETS_MODE=DISABLE"


def test_runtime_that_is_wrong_with_every_hint_is_refused() -> None:
    settings = Settings("torch-compile", "float32", 1)
    expected = "torch-compile .* writes other tokens than this harness in float32.*: answer 2, 1 beam, token 17 of 64"
    with pytest.raises(ResourceError, match=expected) as error:
        first_equal(
            fast(small().ours), lambda changed: by_torch(changed, wrong_from=16), settings, PREPROCESS, DECODING
        )
    assert "\n" not in str(error.value)


def test_candidates_change_one_hint_at_a_time() -> None:
    hints = [dict(settings.hints) for settings in candidates(Settings("onnxruntime", "float32", 2))]
    assert hints == [{}, {"optimisation": "extended"}, {"spinning": "1"}]
