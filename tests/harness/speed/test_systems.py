"""The engine and transformers as systems, random weights and queries, and alternating rounds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from harness.errors import UsageError
from harness.florence2.config import with_text
from harness.florence2.decoding.search import Decoding
from harness.florence2.preprocess import Preprocess
from harness.speed import systems
from harness.speed.scenarios import ask
from tests.harness.speed.known import Clock
from tests.twins import TINY, Twins, fast, twins, with_image_tokens

CPU = torch.device("cpu")
PREPROCESS = Preprocess(TINY.image_size, TINY.image_size)
DECODING = Decoding(max_new_tokens=24)
LENGTHS = (7, 4, 7, 5)  # of the prompts


@pytest.fixture(scope="module")
def both() -> Twins:
    return twins(seed=0, ending=5.0)


@pytest.fixture(scope="module")
def queries() -> systems.Queries:
    generator = torch.Generator().manual_seed(0)
    side = TINY.image_size
    pixels = [torch.randint(0, 256, (side, side, 3), generator=generator).byte() for _ in LENGTHS]
    prompts = [torch.randint(4, TINY.text.vocab, (length,), generator=generator).tolist() for length in LENGTHS]
    return systems.Queries(pixels, prompts, "random")


@pytest.fixture(scope="module")
def expected(both: Twins, queries: systems.Queries) -> list[list[int]]:
    """The ids that transformers writes for each query alone."""
    answers = []
    for pixels, prompt in zip(queries.pixels, queries.prompts, strict=True):
        ids = torch.tensor([prompt])
        places, mask = with_image_tokens(both, ids, torch.ones_like(ids, dtype=torch.bool), TINY.image_tokens)
        written = both.reference.generate(
            input_ids=places, attention_mask=mask, pixel_values=PREPROCESS.normalise(pixels[None]), num_beams=3,
            max_new_tokens=24, do_sample=False, early_stopping=True, no_repeat_ngram_size=3, forced_bos_token_id=0,
            forced_eos_token_id=2, decoder_start_token_id=2, eos_token_id=2, pad_token_id=1,
        )  # fmt: skip
        answers.append(written[0, 1:].tolist())
    return answers


@pytest.fixture
def cudnn_disabled() -> Iterator[None]:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    yield
    torch.backends.cuda.enable_cudnn_sdp(before)


@pytest.mark.parametrize("slots", [1, 3])
def test_engine_answers_as_transformers_alone(
    both: Twins, queries: systems.Queries, expected: list[list[int]], slots: int
) -> None:
    ours = systems.Ours(fast(both.ours), PREPROCESS, DECODING, queries, slots)
    assert ask(ours, range(len(queries))) == expected
    assert not ours.busy


@pytest.mark.parametrize("mode", ["transformers", "transformers-static"])
def test_peer_answers_batches_as_transformers_alone(
    both: Twins, queries: systems.Queries, expected: list[list[int]], mode: str
) -> None:
    """Two batches, of three queries and of one, with padded prompts and answers of different lengths."""
    assert len(set(map(len, expected))) > 1
    peer = systems.Peer(mode, both.ours, PREPROCESS, DECODING, queries, 3, network=both.reference)
    assert ask(peer, range(len(queries))) == expected
    assert not peer.busy
    assert peer.cudnn is None  # asked of a GPU only


def test_peer_of_unknown_mode_is_refused(both: Twins, queries: systems.Queries) -> None:
    with pytest.raises(UsageError, match="one of transformers, transformers-static, transformers-compile"):
        systems.Peer("vllm", both.ours, PREPROCESS, DECODING, queries, 1, network=both.reference)


@pytest.mark.usefixtures("simulated_time", "cudnn_disabled")
@pytest.mark.parametrize("faster", [False, True])
def test_cudnn_is_quicker_compares_second_runs_and_restores_setting(faster: bool) -> None:
    enabled = torch.backends.cuda.cudnn_sdp_enabled
    used: list[bool] = []

    def work() -> None:
        used.append(enabled())
        Clock.sleep(1.0 if enabled() == faster else 2.0)

    assert systems.cudnn_is_quicker(work, CPU) is faster
    assert used == [False, False, True, True]
    assert not enabled()


def test_random_model_has_finite_weights_everywhere() -> None:
    """Deterministic algorithms make torch fill uninitialised memory with NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        model = systems.random_model(with_text(TINY, vocab=1100))
    finally:
        torch.use_deterministic_algorithms(before)
    for name, weight in model.state_dict().items():
        assert weight.isfinite().all(), name


def test_random_queries_are_seeded_and_within_vocabulary() -> None:
    queries = systems.drawn(3, side=32, vocabulary=100, seed=5, length=6)
    again = systems.drawn(3, side=32, vocabulary=100, seed=5, length=6)
    assert len(queries) == 3
    for query in range(3):
        assert queries.pixels[query].shape == (32, 32, 3) and queries.pixels[query].dtype == torch.uint8
        assert torch.equal(queries.pixels[query], again.pixels[query])
        start, *prompt, end = queries.prompts[query]
        assert (start, end, len(prompt)) == (0, 2, 4)  # the tokenizer's start and end
        assert all(4 <= token < 100 for token in prompt)  # 0 to 3 are special
    assert queries.prompts == again.prompts


def test_rounds_reverse_order_and_leave_out_first() -> None:
    calls: list[str] = []
    clock = iter(range(100))

    def side(name: str) -> list[list[int]]:
        calls.append(name)
        return [[len(calls)]]

    sides = {"a": lambda: side("a"), "b": lambda: side("b")}
    times, answers = systems.rounds_of(sides, 2, lambda: float(next(clock)))
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert times == {"a": [1.0, 1.0], "b": [1.0, 1.0]}  # the clock adds a second per reading
    assert answers == {"a": [[5]], "b": [[6]]}


def test_rounds_end_where_go_on_says_so() -> None:
    counted: list[int] = []

    def go_on(done: int) -> bool:
        counted.append(done)
        return done < 2

    times, _ = systems.rounds_of({"a": lambda: [[1]]}, 7, lambda: 0.0, go_on)
    assert len(times["a"]) == 2
    assert counted == [0, 1, 2]


def test_loading_in_transformers_drawsno_progress_bar_and_restores_the_setting(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logging = pytest.importorskip("transformers.utils.logging")
    for shown in (True, False):
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
        try:
            systems.in_transformers(twins().ours)
            assert logging.is_progress_bar_enabled() is shown
        finally:
            logging.enable_progress_bar()
    assert capfd.readouterr().err == ""
