"""Greedy and beam search, one token at a time; the tokens equal those of transformers' `generate`.

Shapes:
    C  slots, one sequence each     n  occupied slots, which are the first     K  beams of a slot
    M  length of a full row: the start token and the most new tokens           V  vocabulary
    W  columns of a row that may be filled after a step

Every slot has its own length, so sequences may begin and end at different steps.  Buffers are updated in place and
never move, and no step reads a value from the device.  So a step can be captured as a CUDA graph and replayed.

Beyond the textbook, transformers' tokens need these rules:
    the n-gram ban includes the start token; it acts on log-probabilities (beams) or logits (greedy), which are not
    normalised again
    2K candidates are kept of the flat K*V; a candidate that ends counts only if it is among the first K
    an ended hypothesis' score is divided by length ** length_penalty; the bound for early stopping, by one token less
    the last position is always the end token
transformers decides about stopping for the whole batch, but a finished sequence no longer changes there.  Here it is
frozen or released, and other sequences of the batch do not change its result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from harness.florence2.fast import fused

LOWEST = -1.0e9  # below every score; finite, as in transformers, so that scores can be added to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """Settings of the search.  The defaults are the published ones, with an explicit bound on length.

    ValueError for fewer than one beam or new token, or for a minimum outside 0 to `max_new_tokens`.
    """

    beams: int = 3
    max_new_tokens: int = 1024
    min_new_tokens: int = 0  # no sequence ends before it has these
    no_repeat_ngram: int = 3  # 0: no ban
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = True
    start: int = 2
    pad: int = 1
    end: int = 2
    forced_first: int | None = 0
    forced_last: int | None = 2

    def __post_init__(self) -> None:
        if self.beams < 1 or self.max_new_tokens < 1:
            raise ValueError(f"{self.beams} beams and {self.max_new_tokens} new tokens: both must be at least 1")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens {self.min_new_tokens} must be from 0 to max_new_tokens {self.max_new_tokens}"
            )

    @property
    def prefix(self) -> list[int]:
        """The tokens that every sequence begins with: the start token and, if there is one, the forced first token."""
        if self.forced_first is None or self.max_new_tokens == 1:
            return [self.start]
        return [self.start, self.forced_first]

    def describe(self) -> str:
        """Every setting as name=value, on one line; part of fingerprints."""
        return " ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))


class Search(ABC):
    """State of each slot, common to both searches.

    `tokens` and `log_probs` are (C, K, M).  `lengths` (C,) counts the tokens of a slot so far.  `finished` (C,) is True
    for a sequence that can no longer change, and for a free slot.
    """

    def __init__(self, decoding: Decoding, slots: int, device: torch.device) -> None:
        self.decoding = decoding
        self.beams = decoding.beams
        self.limit = 1 + decoding.max_new_tokens
        rows = (slots, self.beams, self.limit)
        self.tokens = torch.full(rows, decoding.pad, dtype=torch.long, device=device)
        self.log_probs = torch.zeros(rows, device=device)
        self.lengths = torch.ones(slots, dtype=torch.long, device=device)
        self.finished = torch.ones(slots, dtype=torch.bool, device=device)
        self._prefix = torch.tensor(decoding.prefix, device=device)

    def buffers(self) -> list[Tensor]:
        """All state, with the slots as first axis."""
        return [self.tokens, self.log_probs, self.lengths, self.finished]

    def begin(self, slots: slice) -> None:
        """Starts new sequences in these slots."""
        count = len(self._prefix)
        self.tokens[slots] = self.decoding.pad
        self.tokens[slots, :, :count] = self._prefix
        self.log_probs[slots] = 0.0
        self.lengths[slots] = count
        self.finished[slots] = False

    def move(self, source: int, target: int) -> None:
        """Copies the state of one slot to another."""
        for buffer in self.buffers():
            buffer[target] = buffer[source]

    def last(self, count: int) -> Tensor:
        """(n*K, 1): the last token of each row of the first `count` slots."""
        place = (self.lengths[:count] - 1)[:, None, None].expand(-1, self.beams, -1)
        return self.tokens[:count].gather(2, place).flatten(0, 1)

    @abstractmethod
    def step(self, count: int, logits: Tensor, longest: int) -> Tensor | None:
        """Appends a token to each row of the first `count` slots, chosen from logits (n*K, V).

        `longest` is an upper bound of their `lengths`.  Returns the index of the row that each new row continues,
        (n*K,); None if each row continues itself.
        """

    @abstractmethod
    def answers(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids and log-probabilities of the best sequence of these slots, (len(slots), M) each."""

    def _constrain_end(self, scores: Tensor, lengths: Tensor, longest: int, certain: Tensor | None = None) -> None:
        """Changes scores (rows, V) in place: no end token before `min_new_tokens`, only the end at the last position.

        `lengths` (rows,) are the rows' lengths.  `certain` (rows,) is the score of a certain token; None: 0.
        """
        if self.decoding.min_new_tokens:
            ends = scores[:, self.decoding.end, None]
            ends.masked_fill_((lengths - 1 < self.decoding.min_new_tokens)[:, None], -torch.inf)
        if self.decoding.forced_last is None or longest < self.limit - 1:
            return
        at_last = (lengths == self.limit - 1)[:, None]
        scores.masked_fill_(at_last, -torch.inf)
        forced = scores[:, self.decoding.forced_last, None]
        if certain is None:
            forced.masked_fill_(at_last, 0.0)
        else:
            forced.copy_(torch.where(at_last, certain[:, None], forced))


class Greedy(Search):
    """Greedy search: the likeliest token at each step; K is 1."""

    def step(self, count: int, logits: Tensor, longest: int) -> Tensor | None:
        """See `Search.step`."""
        lengths, finished = self.lengths[:count], self.finished[:count]
        tokens, log_probs = self.tokens[:count, 0], self.log_probs[:count, 0]
        scores = logits.float()
        normaliser = scores.logsumexp(-1)
        ban_repeats(scores, tokens[:, :longest], lengths, self.decoding.no_repeat_ngram)
        self._constrain_end(scores, lengths, longest)
        best, chosen = scores.max(-1)
        log_prob = best - normaliser
        if self.decoding.forced_last is not None:
            log_prob = log_prob.masked_fill(lengths == self.limit - 1, 0.0)
        place = lengths[:, None]
        tokens.scatter_(1, place, torch.where(finished, tokens.gather(1, place)[:, 0], chosen)[:, None])
        log_probs.scatter_(1, place, torch.where(finished, log_probs.gather(1, place)[:, 0], log_prob)[:, None])
        finished |= (chosen == self.decoding.end) | (lengths + 1 >= self.limit)
        lengths += ~finished
        return None

    def answers(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """See `Search.answers`."""
        return self.tokens[slots, 0], self.log_probs[slots, 0]


class Beams(Search):
    """Beam search.  A slot has K running beams, and its K best ended hypotheses (`ended*`), best first."""

    def __init__(self, decoding: Decoding, slots: int, device: torch.device) -> None:
        super().__init__(decoding, slots, device)
        self.scores = torch.full((slots, self.beams), LOWEST, device=device)
        self.ended = self.tokens.clone()
        self.ended_log_probs = self.log_probs.clone()
        self.ended_scores = self.scores.clone()
        self.has_ended = torch.zeros((slots, self.beams), dtype=torch.bool, device=device)
        self.may_improve = torch.ones(slots, dtype=torch.bool, device=device)
        # The divisor of a score, by its length.
        divisors = [1.0, *(length**decoding.length_penalty for length in range(1, self.limit + 1))]
        self._divisors = torch.tensor(divisors, device=device)
        self._first_row = self.beams * torch.arange(slots, device=device)[:, None]
        self._is_among_first = torch.arange(2 * self.beams, device=device) < self.beams

    def buffers(self) -> list[Tensor]:
        """See `Search.buffers`."""
        own = [self.scores, self.ended, self.ended_log_probs, self.ended_scores, self.has_ended, self.may_improve]
        return super().buffers() + own

    def begin(self, slots: slice) -> None:
        """See `Search.begin`.  Only the first beam of a slot is alive: at first, all beams are equal."""
        super().begin(slots)
        self.scores[slots] = LOWEST
        self.scores[slots, 0] = 0.0
        self.ended[slots] = self.tokens[slots]
        self.ended_log_probs[slots] = 0.0
        self.ended_scores[slots] = LOWEST
        self.has_ended[slots] = False
        self.may_improve[slots] = True

    def step(self, count: int, logits: Tensor, longest: int) -> Tensor | None:
        """See `Search.step`."""
        beams, width = self.beams, min(longest + 1, self.limit)
        lengths, finished = self.lengths[:count], self.finished[:count]
        running, running_log_probs = self.tokens[:count, :, :width], self.log_probs[:count, :, :width]
        by_row = lengths.repeat_interleave(beams)
        best, origin, token = self._best(logits.float(), running.flatten(0, 1)[:, :longest], by_row, longest)  # (n, 2K)
        place = lengths[:, None, None].expand(-1, 2 * beams, -1)
        candidates = _rows(running, origin).scatter_(2, place, token[..., None])  # (n, 2K, W)
        token_log_probs = best - self.scores[:count].gather(1, origin)
        log_probs = _rows(running_log_probs, origin).scatter_(2, place, token_log_probs[..., None])
        ends = (token == self.decoding.end) | (lengths[:, None] + 1 >= self.limit)  # (n, 2K)

        # Candidates that continue.
        self.scores[:count], kept = (best + ends * LOWEST).topk(beams)
        running.copy_(_rows(candidates, kept))
        running_log_probs.copy_(_rows(log_probs, kept))
        origin = origin.gather(1, kept)

        # Candidates that end here, with the hypotheses that ended before.
        early = self.decoding.early_stopping is True
        new = ends & self._is_among_first
        closed = finished | ~self.may_improve[:count]
        if early:
            closed = closed | self.has_ended[:count].all(-1)
        score = best / self._divisors[lengths][:, None] + closed[:, None] * LOWEST + ~new * LOWEST
        self.ended_scores[:count], kept = torch.cat([self.ended_scores[:count], score], dim=1).topk(beams)
        ended, ended_log_probs = self.ended[:count, :, :width], self.ended_log_probs[:count, :, :width]
        ended.copy_(_rows(torch.cat([ended, candidates], dim=1), kept))
        ended_log_probs.copy_(_rows(torch.cat([ended_log_probs, log_probs], dim=1), kept))
        self.has_ended[:count] = torch.cat([self.has_ended[:count], new & ~finished[:, None]], dim=1).gather(1, kept)

        self.may_improve[:count] &= self._may_improve(count)
        finished |= ~self.may_improve[:count] | (lengths + 1 >= self.limit)
        if early:
            finished |= self.has_ended[:count].all(-1)
        lengths += ~finished
        return (self._first_row[:count] + origin).flatten()

    def _best(self, logits: Tensor, running: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
        """The 2K best continuations of each slot: score, beam and token, (n, 2K) each.

        `logits` (n*K, V) may be overwritten.  On a GPU, normalised scores are never stored: normalisation does not
        change the order within a row, so only the candidates are normalised.
        """
        size, beams = self.decoding.no_repeat_ngram, self.beams
        count = len(logits) // beams
        previous = self.scores[:count].flatten()[:, None]
        if fused.usable(logits):
            normaliser = fused.normalisers(logits)
            ban_repeats(logits, running, lengths, size)
            self._constrain_end(logits, lengths, longest, normaliser)
            candidate, word = fused.candidates(logits, 2 * beams)
            total = (candidate - normaliser[:, None] + previous).view(count, -1)
            best, flat = total.topk(2 * beams)
            return best, flat // word.shape[1], word.view(count, -1).gather(1, flat)
        scores = logits.log_softmax(-1)
        ban_repeats(scores, running, lengths, size)
        self._constrain_end(scores, lengths, longest)
        best, flat = (scores + previous).view(count, -1).topk(2 * beams)
        return best, flat // scores.shape[-1], flat % scores.shape[-1]

    def _may_improve(self, count: int) -> Tensor:
        """(n,): whether the best running beam could still beat the worst ended hypothesis."""
        forever = self.decoding.early_stopping == "never" and self.decoding.length_penalty > 0
        divisor = self._divisors[self.limit - 1] if forever else self._divisors[self.lengths[:count]]
        best_possible = self.scores[:count, 0] / divisor
        worst = torch.where(self.has_ended[:count], self.ended_scores[:count].min(-1, keepdim=True).values, LOWEST)
        better: Tensor = best_possible[:, None] > worst
        return better.any(-1)

    def answers(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """See `Search.answers`.  A slot without an ended hypothesis gives its best running beam, as in transformers."""
        any_ended = self.has_ended[slots].any(-1)[:, None]
        tokens = torch.where(any_ended, self.ended[slots, 0], self.tokens[slots, 0])
        return tokens, torch.where(any_ended, self.ended_log_probs[slots, 0], self.log_probs[slots, 0])


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of (n, K, W) by their index (n, J): (n, J, W)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def ban_repeats(scores: Tensor, tokens: Tensor, lengths: Tensor, size: int) -> None:
    """Sets scores (rows, V) in place to -inf for tokens that would repeat an n-gram of `size` tokens.

    `tokens` is (rows, longest), and `lengths` (rows,) counts the tokens of each row; later columns are ignored.
    """
    longest = tokens.shape[1]
    if size < 1 or longest < size:
        return
    grams = tokens.unfold(1, size, 1)  # (rows, longest - size + 1, size)
    starts = torch.arange(grams.shape[1], device=tokens.device)
    last_columns = (lengths[:, None] + torch.arange(1 - size, 0, device=tokens.device)).clamp(min=0)
    last = tokens.gather(1, last_columns)[:, None]  # (rows, 1, size - 1)
    repeats = (grams[..., :-1] == last).all(-1) & (starts <= lengths[:, None] - size)
    penalty = (
        torch.zeros_like(repeats, dtype=scores.dtype).masked_fill(repeats, -torch.inf).masked_fill(~repeats, torch.inf)
    )
    scores.scatter_reduce_(1, grams[..., -1], penalty, "amin")
