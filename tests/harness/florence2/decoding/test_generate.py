"""Token for token against transformers' generate."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from harness.florence2.decoding.generate import Pool, Written, generate, padded
from harness.florence2.decoding.search import Decoding
from tests.twins import TINY, Twins, fast, twins, with_image_tokens

MOST = 24
SIDE = 96
Form = Literal["plain", "fast", "static"]  # of the network; "static" has fixed shapes as well
FORMS: tuple[Form, ...] = ("plain", "fast", "static")


def prompts(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random prompts of unequal lengths, padded on the right."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 9, (rows,), generator=draw)
    ids = torch.randint(4, TINY.text.vocab - 1, (rows, int(lengths.max())), generator=draw)
    real = torch.arange(ids.shape[1]) < lengths[:, None]
    ids[:, 0] = 0
    ids[torch.arange(rows), lengths - 1] = 2
    return ids.masked_fill(~real, 1), real


def theirs(twin: Twins, pixels: Tensor, ids: Tensor, real: Tensor, decoding: Decoding) -> Tensor:
    places, mask = with_image_tokens(twin, ids, real, 1 + TINY.vision.map_side(SIDE) ** 2)
    settings: dict[str, Any] = {"early_stopping": decoding.early_stopping} if decoding.beams > 1 else {}
    if decoding.beams > 1:
        settings["length_penalty"] = decoding.length_penalty
    tokens: Tensor = twin.theirs.generate(
        input_ids=places,
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
    )
    return tokens


def ours(
    twin: Twins, pixels: Tensor, ids: Tensor, real: Tensor, decoding: Decoding, form: Form = "plain"
) -> list[Written[int]]:
    model = twin.ours if form == "plain" else fast(twin.ours)
    with torch.inference_mode():
        return generate(model, model.read(model.look(pixels), ids, real), decoding, static=form == "static")


def settings() -> list[Decoding]:
    """Greedy, and every number of beams with every way to stop and to weigh lengths."""
    searched = [
        Decoding(beams=beams, max_new_tokens=MOST, early_stopping=stopping, length_penalty=penalty)
        for beams, stopping, penalty in itertools.product((2, 3, 5), (True, False, "never"), (0.0, 0.6, 1.0, 2.0))
    ]
    return [Decoding(beams=1, max_new_tokens=MOST), *searched]


def test_tokens_equal_transformers(capsys: pytest.CaptureFixture[str]) -> None:
    models = [twins(seed=seed, ending=10.0) for seed in range(1, 6)]
    cases = ended = 0
    lengths: list[int] = []
    pairs: list[set[tuple[int, ...]]] = []
    for number, decoding in enumerate(settings()):
        twin = models[number % len(models)]
        draw = torch.Generator().manual_seed(1000 + number)
        pixels = torch.randn(6, 3, SIDE, SIDE, generator=draw)
        ids, real = prompts(6, number)
        ids[5], real[5] = ids[4], real[4]  # one prompt, two images
        expected = theirs(twin, pixels, ids, real, decoding)
        for form in FORMS:
            written = ours(twin, pixels, ids, real, decoding, form)
            assert torch.equal(padded(written, decoding), expected), (number, decoding, form, written, expected)
        cases += len(ids)
        ended += sum(not one.truncated for one in written)
        lengths += [len(one.tokens) for one in written]
        pairs.append({tuple(one.tokens) for one in written[4:]})
    differing = sum(len(pair) == 2 for pair in pairs)
    with capsys.disabled():
        print(
            f"\n{cases} cases equal; {ended} ended by themselves; {len(set(lengths))} different lengths; "
            f"{differing} of {len(pairs)} pairs of images told apart"
        )
    assert cases >= 200
    assert ended >= cases / 2
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
def test_odd_settings_equal_transformers(decoding: Decoding) -> None:
    twin = twins(seed=3, ending=7.0)
    pixels = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    ids, real = prompts(4, 5)
    expected = theirs(twin, pixels, ids, real, decoding)
    for form in FORMS:
        assert torch.equal(padded(ours(twin, pixels, ids, real, decoding, form), decoding), expected)


@pytest.mark.parametrize("form", ["plain", "fast"])
@pytest.mark.parametrize("beams", [1, 3])
def test_batch_mates_change_nothing(beams: int, form: Form) -> None:
    twin = twins(seed=1, ending=7.0)
    decoding = Decoding(beams=beams, max_new_tokens=MOST)
    pixels = torch.randn(7, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    ids, real = prompts(7, 2)
    together = ours(twin, pixels, ids, real, decoding, form)
    for row in range(7):
        mine, length = slice(row, row + 1), int(real[row].sum())
        [alone] = ours(twin, pixels[mine], ids[mine, :length], real[mine, :length], decoding, form)
        assert alone.tokens == together[row].tokens
        torch.testing.assert_close(alone.log_probs, together[row].log_probs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("beams", [1, 3])
def test_log_probabilities_are_those_of_teacher_forcing(beams: int) -> None:
    """Feeding an answer back gives each of its tokens the probability that was kept with it."""
    twin = twins(seed=2, ending=7.0)
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    ids, real = prompts(3, 3)
    decoding = Decoding(beams=beams, max_new_tokens=MOST)
    written = ours(twin, pixels, ids, real, decoding)
    tokens = padded(written, decoding)
    with torch.inference_mode():
        told = twin.ours(pixels, ids, real, tokens[:, :-1]).log_softmax(-1)
    told = told.gather(2, tokens[:, 1:, None])[..., 0]
    for row, one in enumerate(written):
        last = len(one.tokens) - one.truncated  # the last of a truncated answer is forced
        torch.testing.assert_close(torch.tensor(one.log_probs[1:last]), told[row, 1:last], rtol=1e-3, atol=1e-3)


def test_truncated_is_what_used_all_it_was_allowed() -> None:
    twin = twins(seed=0)
    pixels, (ids, real) = torch.randn(1, 3, SIDE, SIDE), prompts(1, 0)
    [written] = ours(twin, pixels, ids, real, Decoding(max_new_tokens=5))
    assert written.truncated
    assert len(written.tokens) == 5


def test_more_tokens_than_positions_is_refused() -> None:
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
def test_answers_admitted_as_places_come_free_are_those_asked_one_by_one(decoding: Decoding, form: Form) -> None:
    twin = twins(seed=4, ending=9.0)
    model = twin.ours if form == "plain" else fast(twin.ours)
    pixels = torch.randn(18, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(6))
    ids, real = prompts(18, 6)

    def memory(rows: list[int]) -> Any:
        length = int(real[rows].sum(1).max())
        with torch.inference_mode():
            return twin.ours.read(twin.ours.look(pixels[rows]), ids[rows, :length], real[rows, :length])

    alone = {row: generate(twin.ours, memory([row]), decoding)[0] for row in range(18)}
    assert len({len(one.tokens) for one in alone.values()}) > 3
    for order in range(3):
        draw = torch.Generator().manual_seed(order)
        waiting = torch.randperm(18, generator=draw).tolist()
        pool: Pool[int] = Pool(model, decoding, 5, static=form == "static")
        found: dict[int, Written[int]] = {}
        beside = set()
        while waiting or pool.keys:
            most = min(pool.free, len(waiting))
            count = int(torch.randint(0 if pool.keys else 1, most + 1, (), generator=draw)) if most else 0
            if count:
                taken, waiting = waiting[:count], waiting[count:]
                pool.admit(taken, memory(taken))
            beside.add(tuple(sorted(set(pool.current))))
            pool.step()
            found |= {one.key: one for one in pool.poll()}
        assert any(len(places) > 2 for places in beside)  # that answers at different places were under way together
        for row, one in alone.items():
            assert found[row].tokens == one.tokens
            assert found[row].truncated == one.truncated
            torch.testing.assert_close(found[row].log_probs, one.log_probs, rtol=1e-3, atol=1e-3)


def test_a_pool_takes_no_more_than_it_has_places() -> None:
    twin = twins()
    pool: Pool[int] = Pool(twin.ours, Decoding(max_new_tokens=4), 1)
    memory = twin.ours.read(twin.ours.look(torch.zeros(2, 3, SIDE, SIDE)), torch.tensor([[0, 5, 2]] * 2))
    with pytest.raises(ValueError, match="2 answers for 1 free slots"):
        pool.admit([0, 1], memory)
    with pytest.raises(ValueError, match="at least one"):
        Pool(twin.ours, Decoding(max_new_tokens=4), 0)


def test_pool_of_fixed_shapes_needs_the_fast_decoder() -> None:
    """The plain one would attend to whatever lies in a beam's own row."""
    with pytest.raises(ValueError, match="need a model in its fast forms"):
        Pool(twins().ours, Decoding(max_new_tokens=4), 1, static=True)
