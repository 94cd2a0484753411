"""Generated tokens versus transformers' `generate`, and a pool versus sequences that are generated alone."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from harness.florence2.decoding.generate import Generated, Pool, generate, padded
from harness.florence2.decoding.search import Decoding
from tests.twins import TINY, Twins, fast, twins, with_image_tokens

MOST = 24
SIDE = 96
Form = Literal["plain", "fast", "static"]  # "static" is the fast network with static shapes
FORMS: tuple[Form, ...] = ("plain", "fast", "static")


def prompts(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random prompts of unequal lengths, padded on the right."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 9, (rows,), generator=generator)
    ids = torch.randint(4, TINY.text.vocab - 1, (rows, int(lengths.max())), generator=generator)
    real = torch.arange(ids.shape[1]) < lengths[:, None]
    ids[:, 0] = 0
    ids[torch.arange(rows), lengths - 1] = 2
    return ids.masked_fill(~real, 1), real


def reference(twin: Twins, pixels: Tensor, ids: Tensor, real: Tensor, decoding: Decoding, **more: Any) -> Any:
    """transformers' tokens (B, L), from the start token on; what else `generate` returns, if `more` asks for it."""
    all_ids, mask = with_image_tokens(twin, ids, real, 1 + TINY.vision.map_side(SIDE) ** 2)
    settings: dict[str, Any] = {"early_stopping": decoding.early_stopping} if decoding.beams > 1 else {}
    if decoding.beams > 1:
        settings["length_penalty"] = decoding.length_penalty
    return twin.reference.generate(
        input_ids=all_ids,
        attention_mask=mask,
        pixel_values=pixels,
        num_beams=decoding.beams,
        max_new_tokens=decoding.max_new_tokens,
        no_repeat_ngram_size=decoding.no_repeat_ngram,
        do_sample=False,
        min_new_tokens=decoding.min_new_tokens or None,
        forced_bos_token_id=decoding.forced_first,
        forced_eos_token_id=decoding.forced_last,
        decoder_start_token_id=decoding.start,
        eos_token_id=decoding.end,
        pad_token_id=decoding.pad,
        **settings,
        **more,
    )


def ours(
    twin: Twins, pixels: Tensor, ids: Tensor, real: Tensor, decoding: Decoding, form: Form = "plain"
) -> list[Generated[int]]:
    """Our generated sequences, with the network in this form."""
    model = twin.ours if form == "plain" else fast(twin.ours)
    with torch.inference_mode():
        return generate(model, model.encode(model.encode_image(pixels), ids, real), decoding, static=form == "static")


def settings() -> list[Decoding]:
    """Greedy search, and several numbers of beams with every kind of early stopping and several length penalties."""
    searches = [
        Decoding(beams=beams, max_new_tokens=MOST, early_stopping=stopping, length_penalty=penalty)
        for beams, stopping, penalty in itertools.product((2, 3, 5), (True, False, "never"), (0.0, 0.6, 1.0, 2.0))
    ]
    return [Decoding(beams=1, max_new_tokens=MOST), *searches]


def test_tokens_of_every_search_equal_transformers_tokens() -> None:
    models = [twins(seed=seed, ending=10.0) for seed in range(1, 6)]
    cases = complete = 0
    lengths: list[int] = []
    pairs: list[set[tuple[int, ...]]] = []
    for number, decoding in enumerate(settings()):
        twin = models[number % len(models)]
        generator = torch.Generator().manual_seed(1000 + number)
        pixels = torch.randn(6, 3, SIDE, SIDE, generator=generator)
        ids, real = prompts(6, number)
        ids[5], real[5] = ids[4], real[4]  # one prompt, two images
        expected = reference(twin, pixels, ids, real, decoding)
        for form in FORMS:
            generated = ours(twin, pixels, ids, real, decoding, form)
            assert torch.equal(padded(generated, decoding), expected), (number, decoding, form, generated, expected)
        cases += len(ids)
        complete += sum(not sequence.truncated for sequence in generated)
        lengths += [len(sequence.tokens) for sequence in generated]
        pairs.append({tuple(sequence.tokens) for sequence in generated[4:]})
    differing = sum(len(pair) == 2 for pair in pairs)
    # The cases are many and varied: sequences end early, have many lengths, and depend on the image.
    assert cases >= 200
    assert complete >= cases / 2
    assert len(set(lengths)) >= 10
    assert differing >= 0.9 * len(pairs)


@pytest.mark.parametrize("decoding", [
    Decoding(max_new_tokens=1),
    Decoding(max_new_tokens=2),
    Decoding(beams=1, max_new_tokens=2),
    Decoding(no_repeat_ngram=0, max_new_tokens=12),
    Decoding(no_repeat_ngram=2, max_new_tokens=12),
    Decoding(forced_first=None, max_new_tokens=12),
    Decoding(forced_last=None, max_new_tokens=12),
    Decoding(beams=1, forced_last=None, max_new_tokens=12),
    Decoding(min_new_tokens=9, max_new_tokens=12),
    Decoding(min_new_tokens=12, max_new_tokens=12),
    Decoding(beams=1, min_new_tokens=12, max_new_tokens=12),
])  # fmt: skip
def test_tokens_with_unusual_settings_equal_transformers_tokens(decoding: Decoding) -> None:
    twin = twins(seed=3, ending=7.0)
    pixels = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    ids, real = prompts(4, 5)
    expected = reference(twin, pixels, ids, real, decoding)
    for form in FORMS:
        assert torch.equal(padded(ours(twin, pixels, ids, real, decoding, form), decoding), expected)


@pytest.mark.parametrize("form", ["plain", "fast"])
@pytest.mark.parametrize("beams", [1, 3])
def test_sequence_in_a_batch_equals_the_sequence_alone(beams: int, form: Form) -> None:
    twin = twins(seed=1, ending=7.0)
    decoding = Decoding(beams=beams, max_new_tokens=MOST)
    pixels = torch.randn(7, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    ids, real = prompts(7, 2)
    together = ours(twin, pixels, ids, real, decoding, form)
    for row in range(7):
        only, length = slice(row, row + 1), int(real[row].sum())
        [alone] = ours(twin, pixels[only], ids[only, :length], real[only, :length], decoding, form)
        assert alone.tokens == together[row].tokens
        torch.testing.assert_close(alone.log_probs, together[row].log_probs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("beams", [1, 3])
def test_log_probabilities_of_generated_tokens_equal_those_of_teacher_forcing(beams: int) -> None:
    twin = twins(seed=2, ending=7.0)
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    ids, real = prompts(3, 3)
    decoding = Decoding(beams=beams, max_new_tokens=MOST)
    generated = ours(twin, pixels, ids, real, decoding)
    tokens = padded(generated, decoding)
    with torch.inference_mode():
        forced = twin.ours(pixels, ids, real, tokens[:, :-1]).log_softmax(-1)
    forced = forced.gather(2, tokens[:, 1:, None])[..., 0]
    for row, sequence in enumerate(generated):
        last = len(sequence.tokens) - sequence.truncated  # the last token of a truncated sequence is forced
        log_probs = torch.tensor(sequence.log_probs[1:last])
        torch.testing.assert_close(log_probs, forced[row, 1:last], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("beams", [1, 3])
def test_log_probabilities_equal_the_transition_scores_of_transformers(beams: int, form: Form) -> None:
    """Of the model's logits in greedy search, where its scores are -inf for banned tokens; of its scores with beams.

    The first token of each output is forced, and so is the last of a truncated one.
    """
    twin = twins(seed=2, ending=9.0)
    pixels = torch.randn(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    ids, real = prompts(8, 3)
    decoding = Decoding(beams=beams, max_new_tokens=MOST)
    output = reference(
        twin, pixels, ids, real, decoding, return_dict_in_generate=True, output_logits=True, output_scores=True
    )
    scores = twin.reference.compute_transition_scores(
        output.sequences,
        output.logits if beams == 1 else output.scores,
        None if beams == 1 else output.beam_indices,
        normalize_logits=beams == 1,
    )
    generated = ours(twin, pixels, ids, real, decoding, form)
    assert len({len(sequence.tokens) for sequence in generated}) > 1
    for row, sequence in enumerate(generated):
        last = len(sequence.tokens) - sequence.truncated
        assert output.sequences[row, 1 : 1 + len(sequence.tokens)].tolist() == sequence.tokens
        torch.testing.assert_close(torch.tensor(sequence.log_probs[1:last]), scores[row, 1:last], rtol=1e-3, atol=1e-3)
        assert sequence.log_probs[last:] == [0.0] * sequence.truncated


def test_sequence_of_max_new_tokens_is_truncated() -> None:
    twin = twins(seed=0)
    pixels, (ids, real) = torch.randn(1, 3, SIDE, SIDE), prompts(1, 0)
    [sequence] = ours(twin, pixels, ids, real, Decoding(max_new_tokens=5))
    assert sequence.truncated
    assert len(sequence.tokens) == 5


def test_more_new_tokens_than_positions_are_refused() -> None:
    twin = twins()
    with pytest.raises(ValueError, match="positions for 64"):
        ours(twin, torch.zeros(1, 3, SIDE, SIDE), *prompts(1, 0), Decoding(max_new_tokens=65))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decoding", [
    Decoding(beams=1, max_new_tokens=MOST),
    Decoding(beams=3, max_new_tokens=MOST),
    Decoding(beams=3, max_new_tokens=MOST, early_stopping=False),
    Decoding(beams=2, max_new_tokens=MOST, early_stopping="never", length_penalty=0.6),
], ids=lambda decoding: decoding.describe()[:60])  # fmt: skip
def test_sequences_admitted_as_slots_become_free_equal_those_generated_alone(decoding: Decoding, form: Form) -> None:
    twin = twins(seed=4, ending=9.0)
    model = twin.ours if form == "plain" else fast(twin.ours)
    pixels = torch.randn(18, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(6))
    ids, real = prompts(18, 6)

    def memory(rows: list[int]) -> Any:
        length = int(real[rows].sum(1).max())
        with torch.inference_mode():
            return twin.ours.encode(twin.ours.encode_image(pixels[rows]), ids[rows, :length], real[rows, :length])

    alone = {row: generate(twin.ours, memory([row]), decoding)[0] for row in range(18)}
    assert len({len(sequence.tokens) for sequence in alone.values()}) > 3
    for order in range(3):
        generator = torch.Generator().manual_seed(order)
        waiting = torch.randperm(18, generator=generator).tolist()
        pool: Pool[int] = Pool(model, decoding, 5, static=form == "static")
        results: dict[int, Generated[int]] = {}
        lengths = set()
        while waiting or pool.keys:
            most = min(pool.free, len(waiting))
            count = int(torch.randint(0 if pool.keys else 1, most + 1, (), generator=generator)) if most else 0
            if count:
                admitted, waiting = waiting[:count], waiting[count:]
                pool.admit(admitted, memory(admitted))
            lengths.add(tuple(sorted(set(pool.lengths))))
            pool.step()
            results |= {sequence.key: sequence for sequence in pool.poll()}
        assert any(len(different) > 2 for different in lengths)  # sequences of different lengths were in the pool
        for row, sequence in alone.items():
            assert results[row].tokens == sequence.tokens
            assert results[row].truncated == sequence.truncated
            torch.testing.assert_close(results[row].log_probs, sequence.log_probs, rtol=1e-3, atol=1e-3)


def test_more_sequences_than_free_slots_or_no_slot_are_refused() -> None:
    twin = twins()
    pool: Pool[int] = Pool(twin.ours, Decoding(max_new_tokens=4), 1)
    memory = twin.ours.encode(twin.ours.encode_image(torch.zeros(2, 3, SIDE, SIDE)), torch.tensor([[0, 5, 2]] * 2))
    with pytest.raises(ValueError, match="2 sequences for 1 free slots"):
        pool.admit([0, 1], memory)
    with pytest.raises(ValueError, match="at least one"):
        Pool(twin.ours, Decoding(max_new_tokens=4), 0)


def test_static_pool_with_a_plain_decoder_is_refused() -> None:
    """A plain decoder would attend to a beam's own row, which has the keys and values of other beams."""
    with pytest.raises(ValueError, match="need a model in its fast forms"):
        Pool(twins().ours, Decoding(max_new_tokens=4), 1, static=True)
