"""Greedy and beam search, one token at a time, token for token what transformers' `generate` chooses.

Shapes: C slots, each an answer being written; n of them, the first, at work; K beams of each; M = 1 + most new tokens,
the length of a full row with its start token; V vocabulary; W columns that may be filled after a step.

Every slot has its own position, so answers may begin and end beside one another.  All is done in place, in buffers that
stay where they are, and nothing here asks the device what a number is: a step may be captured once and replayed.

What makes the tokens equal, beyond the textbook:
    the n-gram ban sees the start token, and acts on log-probabilities (beams) or logits (greedy) that are not
    normalised again;  2K candidates are kept of the flat K*V, and a finished one counts only among the first K;
    a finished score is divided by its length to the power `length_penalty`, the heuristic for going on by one less;
    the last place is always the end token.
transformers decides about stopping for the whole batch, but a sequence that is settled no longer changes; so here it is
frozen, or let go, and batch mates do not change a result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from harness.florence2.fast import fused

FAR = -1.0e9  # a score that no real one reaches; finite, as in transformers, so that it can be added to


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How answers are written.  The defaults are the published ones, with an explicit bound on length."""

    beams: int = 3
    max_new_tokens: int = 1024
    min_new_tokens: int = 0  # before these are written no answer ends
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
            raise ValueError(f"at least {self.min_new_tokens} and at most {self.max_new_tokens} new tokens")

    @property
    def first(self) -> list[int]:
        """What every answer begins with: the start token and, where one is forced, the one after it."""
        if self.forced_first is None or self.max_new_tokens == 1:
            return [self.start]
        return [self.start, self.forced_first]

    def describe(self) -> str:
        """One line for fingerprints: every setting by name."""
        return " ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))


class Search(ABC):
    """What both searches know of each slot.  `tokens` and `log_probs` are (C, K, M), `current` (C,) how many tokens of
    a slot are known, and `settled` (C,) whether its answer can no longer change.  A slot that is free is settled."""

    def __init__(self, decoding: Decoding, slots: int, device: torch.device) -> None:
        self.decoding = decoding
        self.beams = decoding.beams
        self.limit = 1 + decoding.max_new_tokens
        rows = (slots, self.beams, self.limit)
        self.tokens = torch.full(rows, decoding.pad, dtype=torch.long, device=device)
        self.log_probs = torch.zeros(rows, device=device)
        self.current = torch.ones(slots, dtype=torch.long, device=device)
        self.settled = torch.ones(slots, dtype=torch.bool, device=device)
        self._given = torch.tensor(decoding.first, device=device)

    def buffers(self) -> list[Tensor]:
        """All that is known, slot by slot."""
        return [self.tokens, self.log_probs, self.current, self.settled]

    def begin(self, slots: slice) -> None:
        """New answers in these slots."""
        known = len(self._given)
        self.tokens[slots] = self.decoding.pad
        self.tokens[slots, :, :known] = self._given
        self.log_probs[slots] = 0.0
        self.current[slots] = known
        self.settled[slots] = False

    def move(self, source: int, target: int) -> None:
        """What is known of one slot, to another."""
        for buffer in self.buffers():
            buffer[target] = buffer[source]

    def last(self, count: int) -> Tensor:
        """(n*K, 1): the token that each row wrote last."""
        place = (self.current[:count] - 1)[:, None, None].expand(-1, self.beams, -1)
        return self.tokens[:count].gather(2, place).flatten(0, 1)

    @abstractmethod
    def step(self, count: int, logits: Tensor, longest: int) -> Tensor | None:
        """One more token for each row of the first `count` slots, from logits (n*K, V).

        `longest` is at least the most of their `current`.  Gives which row each of the new rows continues (n*K,);
        None: its own.
        """

    @abstractmethod
    def answers(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """(len(slots), M) ids and log-probabilities of what these slots have written."""

    def _govern_end(self, scores: Tensor, current: Tensor, longest: int, sure: Tensor | None = None) -> None:
        """No end before `min_new_tokens`, and at a row's last place nothing else, as sure as can be; in place.

        `current` is (rows,), and so is `sure`, the score of what is certain: 0 where none is given.
        """
        if self.decoding.min_new_tokens:
            ends = scores[:, self.decoding.end, None]
            ends.masked_fill_((current - 1 < self.decoding.min_new_tokens)[:, None], -torch.inf)
        if self.decoding.forced_last is None or longest < self.limit - 1:
            return
        at_last = (current == self.limit - 1)[:, None]
        scores.masked_fill_(at_last, -torch.inf)
        forced = scores[:, self.decoding.forced_last, None]
        if sure is None:
            forced.masked_fill_(at_last, 0.0)
        else:
            forced.copy_(torch.where(at_last, sure[:, None], forced))


class Greedy(Search):
    """The likeliest token each time; K is 1."""

    def step(self, count: int, logits: Tensor, longest: int) -> Tensor | None:
        """See `Search.step`."""
        current, settled = self.current[:count], self.settled[:count]
        tokens, log_probs = self.tokens[:count, 0], self.log_probs[:count, 0]
        scores = logits.float()
        normaliser = scores.logsumexp(-1)
        ban_repeats(scores, tokens[:, :longest], current, self.decoding.no_repeat_ngram)
        self._govern_end(scores, current, longest)
        best, chosen = scores.max(-1)
        log_prob = best - normaliser
        if self.decoding.forced_last is not None:
            log_prob = log_prob.masked_fill(current == self.limit - 1, 0.0)
        place = current[:, None]
        tokens.scatter_(1, place, torch.where(settled, tokens.gather(1, place)[:, 0], chosen)[:, None])
        log_probs.scatter_(1, place, torch.where(settled, log_probs.gather(1, place)[:, 0], log_prob)[:, None])
        settled |= (chosen == self.decoding.end) | (current + 1 >= self.limit)
        current += ~settled
        return None

    def answers(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """See `Search.answers`."""
        return self.tokens[slots, 0], self.log_probs[slots, 0]


class Beams(Search):
    """Beam search.  Beside the running beams, the K best that ended: `done*`, best first."""

    def __init__(self, decoding: Decoding, slots: int, device: torch.device) -> None:
        super().__init__(decoding, slots, device)
        self.scores = torch.full((slots, self.beams), FAR, device=device)
        self.done = self.tokens.clone()
        self.done_log_probs = self.log_probs.clone()
        self.done_scores = self.scores.clone()
        self.is_done = torch.zeros((slots, self.beams), dtype=torch.bool, device=device)
        self.may_improve = torch.ones(slots, dtype=torch.bool, device=device)
        # What a score is divided by, for each length.
        lengths = [1.0, *(length**decoding.length_penalty for length in range(1, self.limit + 1))]
        self._divisors = torch.tensor(lengths, device=device)
        self._first_row = self.beams * torch.arange(slots, device=device)[:, None]
        self._is_among_first = torch.arange(2 * self.beams, device=device) < self.beams

    def buffers(self) -> list[Tensor]:
        """All that is known, slot by slot."""
        mine = [self.scores, self.done, self.done_log_probs, self.done_scores, self.is_done, self.may_improve]
        return super().buffers() + mine

    def begin(self, slots: slice) -> None:
        """All beams at the start, but only the first of each slot alive."""
        super().begin(slots)
        self.scores[slots] = FAR
        self.scores[slots, 0] = 0.0
        self.done[slots] = self.tokens[slots]
        self.done_log_probs[slots] = 0.0
        self.done_scores[slots] = FAR
        self.is_done[slots] = False
        self.may_improve[slots] = True

    def step(self, count: int, logits: Tensor, longest: int) -> Tensor | None:
        """See `Search.step`."""
        beams, width = self.beams, min(longest + 1, self.limit)
        current, settled = self.current[:count], self.settled[:count]
        running, running_log_probs = self.tokens[:count, :, :width], self.log_probs[:count, :, :width]
        by_row = current.repeat_interleave(beams)
        best, origin, token = self._best(logits.float(), running.flatten(0, 1)[:, :longest], by_row, longest)  # (n, 2K)
        place = current[:, None, None].expand(-1, 2 * beams, -1)
        candidates = _rows(running, origin).scatter_(2, place, token[..., None])  # (n, 2K, W)
        gained = best - self.scores[:count].gather(1, origin)
        log_probs = _rows(running_log_probs, origin).scatter_(2, place, gained[..., None])
        hit = (token == self.decoding.end) | (current[:, None] + 1 >= self.limit)  # (n, 2K)

        # Those that go on.
        self.scores[:count], kept = (best + hit * FAR).topk(beams)
        running.copy_(_rows(candidates, kept))
        running_log_probs.copy_(_rows(log_probs, kept))
        origin = origin.gather(1, kept)

        # Those that end here, against those that ended before.
        early = self.decoding.early_stopping is True
        just = hit & self._is_among_first
        closed = settled | ~self.may_improve[:count]
        if early:
            closed = closed | self.is_done[:count].all(-1)
        score = best / self._divisors[current][:, None] + closed[:, None] * FAR + ~just * FAR
        self.done_scores[:count], kept = torch.cat([self.done_scores[:count], score], dim=1).topk(beams)
        done, done_log_probs = self.done[:count, :, :width], self.done_log_probs[:count, :, :width]
        done.copy_(_rows(torch.cat([done, candidates], dim=1), kept))
        done_log_probs.copy_(_rows(torch.cat([done_log_probs, log_probs], dim=1), kept))
        self.is_done[:count] = torch.cat([self.is_done[:count], just & ~settled[:, None]], dim=1).gather(1, kept)

        self.may_improve[:count] &= self._may_improve(count)
        settled |= ~self.may_improve[:count] | (current + 1 >= self.limit)
        if early:
            settled |= self.is_done[:count].all(-1)
        current += ~settled
        return (self._first_row[:count] + origin).flatten()

    def _best(self, logits: Tensor, running: Tensor, current: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
        """The 2K best ways of each slot to go on, each (n, 2K): score, beam, token.  `logits` (n*K, V) may be changed.

        A GPU does not write what is normalised: what is best of a row is so before.
        """
        size, beams = self.decoding.no_repeat_ngram, self.beams
        count = len(logits) // beams
        before = self.scores[:count].flatten()[:, None]
        if fused.usable(logits):
            normaliser = fused.normalisers(logits)
            ban_repeats(logits, running, current, size)
            self._govern_end(logits, current, longest, normaliser)
            found, word = fused.candidates(logits, 2 * beams)
            total = (found - normaliser[:, None] + before).view(count, -1)
            best, flat = total.topk(2 * beams)
            return best, flat // word.shape[1], word.view(count, -1).gather(1, flat)
        scores = logits.log_softmax(-1)
        ban_repeats(scores, running, current, size)
        self._govern_end(scores, current, longest)
        best, flat = (scores + before).view(count, -1).topk(2 * beams)
        return best, flat // scores.shape[-1], flat % scores.shape[-1]

    def _may_improve(self, count: int) -> Tensor:
        """(n,): whether the best running beam could still beat the worst finished one."""
        forever = self.decoding.early_stopping == "never" and self.decoding.length_penalty > 0
        divisor = self._divisors[self.limit - 1] if forever else self._divisors[self.current[:count]]
        best_possible = self.scores[:count, 0] / divisor
        worst = torch.where(self.is_done[:count], self.done_scores[:count].min(-1, keepdim=True).values, FAR)
        better: Tensor = best_possible[:, None] > worst
        return better.any(-1)

    def answers(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """The best that ended, or else (as in transformers) the best running."""
        ended = self.is_done[slots].any(-1)[:, None]
        tokens = torch.where(ended, self.done[slots, 0], self.tokens[slots, 0])
        return tokens, torch.where(ended, self.done_log_probs[slots, 0], self.log_probs[slots, 0])


def _rows(of: Tensor, index: Tensor) -> Tensor:
    """(n, K, W) and (n, J) to (n, J, W)."""
    return of.gather(1, index[..., None].expand(-1, -1, of.shape[-1]))


def ban_repeats(scores: Tensor, tokens: Tensor, current: Tensor, size: int) -> None:
    """-inf, in place, for what would repeat an n-gram among the first `current` (rows,) of its row's tokens."""
    longest = tokens.shape[1]
    if size < 1 or longest < size:
        return
    grams = tokens.unfold(1, size, 1)  # (rows, longest - size + 1, size)
    places = torch.arange(grams.shape[1], device=tokens.device)
    before = (current[:, None] + torch.arange(1 - size, 0, device=tokens.device)).clamp(min=0)
    last = tokens.gather(1, before)[:, None]  # (rows, 1, size - 1)
    repeats = (grams[..., :-1] == last).all(-1) & (places <= current[:, None] - size)
    penalty = (
        torch.zeros_like(repeats, dtype=scores.dtype).masked_fill(repeats, -torch.inf).masked_fill(~repeats, torch.inf)
    )
    scores.scatter_reduce_(1, grams[..., -1], penalty, "amin")
