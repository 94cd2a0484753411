"""The searches versus slow loops over lists; `test_generate` compares their tokens with transformers'."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import pytest
import torch
from torch import Tensor

from harness.florence2.decoding.search import Beams, Decoding, Greedy, Search, ban_repeats
from harness.florence2.fast import fused

CPU = torch.device("cpu")
WORDS = 9  # the vocabulary's size
PLAIN = {"no_repeat_ngram": 0, "forced_first": None, "forced_last": None}  # a search without special rules


@pytest.mark.parametrize(("settings", "message"), [
    ({"beams": 0}, "0 beams and 1024 new tokens: both must be at least 1"),
    ({"max_new_tokens": 0}, "3 beams and 0 new tokens"),
    ({"max_new_tokens": 4, "min_new_tokens": 5}, "min_new_tokens 5 must be from 0 to max_new_tokens 4"),
    ({"min_new_tokens": -1}, "min_new_tokens -1 must be"),
])  # fmt: skip
def test_decoding_with_settings_out_of_range_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Decoding(**settings)


def test_description_of_decoding_has_every_setting_by_name() -> None:
    description = Decoding(beams=5, early_stopping="never").describe()
    assert [part.partition("=")[0] for part in description.split()] == [field.name for field in fields(Decoding)]
    assert "beams=5" in description and "early_stopping=never" in description


def test_prefix_has_the_forced_first_token_if_there_is_room_for_it() -> None:
    assert Decoding().prefix == [2, 0]
    assert Decoding(forced_first=None).prefix == [2]
    assert Decoding(max_new_tokens=1).prefix == [2]


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_ban_of_repeats_equals_a_loop_over_ngrams(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    tokens = torch.randint(0, 4, (6, 12), generator=generator)  # of four words, so that n-grams repeat
    lengths = torch.tensor([1, 2, 3, 7, 11, 12])
    scores = torch.randn(6, WORDS, generator=generator)
    expected = scores.clone()
    for row, length in enumerate(lengths.tolist()):
        known = tokens[row, :length].tolist()
        if size:
            ngrams = {tuple(known[start : start + size]) for start in range(length - size + 1)}
            for word in range(WORDS):
                if tuple([*known, word][-size:]) in ngrams and length + 1 >= size:
                    expected[row, word] = -math.inf
    ban_repeats(scores, tokens, lengths, size)
    assert torch.equal(scores, expected)
    assert not size or scores.isinf().any()


def table(seed: int) -> Tensor:
    """Logits (WORDS, WORDS) of the next word by the last one, in float32."""
    return 2 * torch.randn(WORDS, WORDS, generator=torch.Generator().manual_seed(seed))


def generated(search: Search, logits: Tensor, slots: int) -> tuple[list[list[int]], list[list[float]]]:
    """Tokens behind the start token, and log-probabilities, of `slots` sequences with the logits of a table."""
    search.begin(slice(0, slots))
    while not bool(search.finished[:slots].all()):
        search.step(slots, logits[search.last(slots)[:, 0]].clone(), int(search.lengths[:slots].max()))
    tokens, log_probs = search.answers(torch.arange(slots))
    sequences, probabilities = [], []
    for row, values in zip(tokens.tolist(), log_probs.tolist(), strict=True):
        words = row[1:]
        length = words.index(search.decoding.end) + 1 if search.decoding.end in words else len(words)
        sequences.append(words[:length])
        probabilities.append(values[1 : length + 1])
    return sequences, probabilities


@pytest.mark.parametrize("seed", range(4))
def test_greedy_search_equals_a_loop_of_maxima(seed: int) -> None:
    decoding = Decoding(beams=1, max_new_tokens=6, **PLAIN)
    logits = table(seed)
    log_probs = logits.double().log_softmax(-1)
    expected, scores, last = [], [], decoding.start
    while len(expected) < 6 and (not expected or last != decoding.end):
        word = int(logits[last].argmax())
        scores.append(float(log_probs[last, word]))
        expected.append(word)
        last = word
    tokens, probabilities = generated(Greedy(decoding, 2, CPU), logits, 2)
    assert tokens == [expected, expected]
    assert probabilities[0] == pytest.approx(scores, rel=1e-5, abs=1e-5)


@dataclass
class Hypothesis:
    words: list[int]
    score: float  # the sum of its log-probabilities


def slow_beam_search(logits: Tensor, decoding: Decoding) -> list[int]:
    """Beam search over lists, with early stopping: it ends once K hypotheses have ended."""
    log_probs = logits.double().log_softmax(-1)
    running, ended = [Hypothesis([], 0.0)], []
    for length in range(1, decoding.max_new_tokens + 1):
        candidates = [
            Hypothesis([*beam.words, word], beam.score + float(log_probs[(beam.words or [decoding.start])[-1], word]))
            for beam in running
            for word in range(WORDS)
        ]
        candidates.sort(key=lambda candidate: -candidate.score)
        running = []
        for rank, candidate in enumerate(candidates[: 2 * decoding.beams]):
            if candidate.words[-1] == decoding.end or length == decoding.max_new_tokens:
                if rank < decoding.beams:
                    ended.append(Hypothesis(candidate.words, candidate.score / length**decoding.length_penalty))
            elif len(running) < decoding.beams:
                running.append(candidate)
        ended = sorted(ended, key=lambda hypothesis: -hypothesis.score)[: decoding.beams]
        if len(ended) == decoding.beams:
            break
    return ended[0].words


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("beams", [2, 3])
def test_beam_search_with_early_stopping_equals_a_search_over_lists(beams: int, length_penalty: float) -> None:
    decoding = Decoding(beams=beams, max_new_tokens=6, length_penalty=length_penalty, **PLAIN)
    lengths = set()
    for seed in range(12):
        expected = slow_beam_search(table(seed), decoding)
        tokens, _ = generated(Beams(decoding, 2, CPU), table(seed), 2)
        assert tokens == [expected, expected], seed
        lengths.add(len(expected))
    assert len(lengths) > 1


@pytest.mark.parametrize("beams", [1, 3])
def test_minimum_of_new_tokens_and_forced_last_token_hold(beams: int) -> None:
    logits = table(0)
    logits[:, 2] += 20  # the end token would come first
    rules = {"no_repeat_ngram": 0, "forced_first": None}
    kind = Greedy if beams == 1 else Beams
    tokens, _ = generated(kind(Decoding(beams=beams, max_new_tokens=6, min_new_tokens=4, **rules), 1, CPU), logits, 1)
    assert len(tokens[0]) == 5 and tokens[0].index(2) == 4
    logits[:, 2] -= 60  # the end token would not come at all
    tokens, log_probs = generated(kind(Decoding(beams=beams, max_new_tokens=6, **rules), 1, CPU), logits, 1)
    assert len(tokens[0]) == 6 and tokens[0].index(2) == 5
    assert log_probs[0][-1] == pytest.approx(0.0, abs=1e-5)  # a forced token is certain


@pytest.mark.parametrize("beams", [1, 3])
def test_moved_slot_continues_as_it_would_have_at_its_old_place(beams: int) -> None:
    decoding = Decoding(beams=beams, max_new_tokens=6, **PLAIN)
    kind = Greedy if beams == 1 else Beams
    logits = table(5)
    expected, _ = generated(kind(decoding, 3, CPU), logits, 3)
    search = kind(decoding, 3, CPU)
    search.begin(slice(0, 3))
    search.step(3, logits[search.last(3)[:, 0]].clone(), 1)
    search.move(2, 0)
    while not bool(search.finished[0]):
        search.step(1, logits[search.last(1)[:, 0]].clone(), int(search.lengths[0]))
    [tokens] = search.answers(torch.tensor([0]))[0].tolist()
    assert tokens[1 : 1 + len(expected[2])] == expected[2]


@pytest.mark.parametrize("longest", [9, 11])
def test_best_continuations_by_kernels_equal_those_of_plain_torch(
    longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With n-grams to ban, a minimum length, and (of 12 positions, for a length of 11) the last position."""
    pytest.importorskip("harness.florence2.fast.kernels", reason="Triton is not installed")
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    decoding = Decoding(max_new_tokens=11, min_new_tokens=10, no_repeat_ngram=2)
    search = Beams(decoding, 4, torch.device(device))
    search.scores.copy_(-torch.rand(4, 3))
    running = torch.randint(4, 7, (12, longest), device=device)  # of three words, so that n-grams repeat
    lengths = torch.tensor([longest, 5, longest, 2], device=device).repeat_interleave(3)
    logits = 3 * torch.randn(12, 2500, device=device)
    logits[:, 4:7] += 20
    monkeypatch.setattr(fused, "usable", lambda x: False)
    plain = search._best(logits.clone(), running, lengths, longest)
    monkeypatch.setattr(fused, "usable", lambda x: True)
    by_kernels = search._best(logits.clone(), running, lengths, longest)
    finite = plain[0] > -1e30
    # 6 candidates of 4 slots; at the last position, each of the 3 beams of 2 slots has only one continuation.
    assert finite.sum() == (24 if longest < 11 else 18)
    # Scores are below 40 in size, and rounded to 24 bits a few times: 40 * 2 ** -24 is 2.4e-6.
    torch.testing.assert_close(by_kernels[0], plain[0], rtol=1e-5, atol=1e-4)
    for indices, expected in zip(by_kernels[1:], plain[1:], strict=True):
        assert torch.equal(indices[finite], expected[finite])
