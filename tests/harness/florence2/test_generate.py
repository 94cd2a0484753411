"""Token for token against transformers' generate."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.florence2.generate import Decoding, Written, generate
from tests.twins import TINY, Twins, twins, with_image_tokens

MOST = 24
SIDE = 96


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
        forced_bos_token_id=decoding.forced_first,
        forced_eos_token_id=decoding.forced_last,
        decoder_start_token_id=decoding.start,
        eos_token_id=decoding.end,
        pad_token_id=decoding.pad,
        **settings,
    )
    return tokens


def ours(twin: Twins, pixels: Tensor, ids: Tensor, real: Tensor, decoding: Decoding) -> Written:
    with torch.inference_mode():
        return generate(twin.ours, twin.ours.read(twin.ours.look(pixels), ids, real), decoding)


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
        written = ours(twin, pixels, ids, real, decoding)
        assert torch.equal(written.tokens, expected), (number, decoding, written.tokens, expected)
        cases += len(ids)
        ended += int((~written.truncated).sum())
        lengths += written.lengths.tolist()
        pairs.append({tuple(row) for row in written.tokens[4:].tolist()})
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
])  # fmt: skip
def test_odd_settings_equal_transformers(decoding: Decoding) -> None:
    twin = twins(seed=3, ending=7.0)
    pixels = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    ids, real = prompts(4, 5)
    assert torch.equal(ours(twin, pixels, ids, real, decoding).tokens, theirs(twin, pixels, ids, real, decoding))


@pytest.mark.parametrize("beams", [1, 3])
def test_batch_mates_change_nothing(beams: int) -> None:
    twin = twins(seed=1, ending=7.0)
    decoding = Decoding(beams=beams, max_new_tokens=MOST)
    pixels = torch.randn(7, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    ids, real = prompts(7, 2)
    together = ours(twin, pixels, ids, real, decoding)
    for row in range(7):
        length = int(real[row].sum())
        alone = ours(twin, pixels[row : row + 1], ids[row : row + 1, :length], real[row : row + 1, :length], decoding)
        assert alone.row(0)[0] == together.row(row)[0]
        torch.testing.assert_close(alone.row(0)[1], together.row(row)[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("beams", [1, 3])
def test_log_probabilities_are_those_of_teacher_forcing(beams: int) -> None:
    """Feeding an answer back gives each of its tokens the probability that was kept with it."""
    twin = twins(seed=2, ending=7.0)
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    ids, real = prompts(3, 3)
    written = ours(twin, pixels, ids, real, Decoding(beams=beams, max_new_tokens=MOST))
    with torch.inference_mode():
        told = twin.ours(pixels, ids, real, written.tokens[:, :-1]).log_softmax(-1)
    told = told.gather(2, written.tokens[:, 1:, None])[..., 0]
    for row in range(3):
        length = int(written.lengths[row])
        last = length - 1 if bool(written.truncated[row]) else length  # the last of a truncated answer is forced
        torch.testing.assert_close(written.log_probs[row, 2 : last + 1], told[row, 1:last], rtol=1e-3, atol=1e-3)


def test_truncated_is_what_used_all_it_was_allowed() -> None:
    twin = twins(seed=0)
    pixels, (ids, real) = torch.randn(1, 3, SIDE, SIDE), prompts(1, 0)
    written = ours(twin, pixels, ids, real, Decoding(max_new_tokens=5))
    assert written.truncated.tolist() == [True]
    assert written.lengths.tolist() == [5]


def test_more_tokens_than_positions_is_refused() -> None:
    twin = twins()
    with pytest.raises(ValueError, match="positions for 64"):
        ours(twin, torch.zeros(1, 3, SIDE, SIDE), *prompts(1, 0), Decoding(max_new_tokens=65))
