"""Greedy and beam search over a static cache, token for token what transformers' `generate` writes.

Shapes: B sequences, K beams, R = B*K rows (beams of one sequence side by side), V vocabulary, M = 1 + most new
tokens, the length of a full row with its start token.

What makes the tokens equal, beyond the textbook:
    the n-gram ban sees the start token, and acts on log-probabilities (beams) or logits (greedy) that are not
    normalised again;  2K candidates are kept of the flat K*V, and a finished one counts only among the first K;
    a finished score is divided by its length to the power `length_penalty`, the heuristic for going on by one less;
    the last place is always the end token;  stopping is decided for the whole batch, but a sequence that is done
    is frozen, so batch mates do not change a result.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from harness.florence2.bart import Cache, Memory
from harness.florence2.model import Florence2

FAR = -1.0e9  # a score that no real one reaches; finite, as in transformers, so that it can be added to


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How answers are written.  The defaults are the published ones, with an explicit bound on length."""

    beams: int = 3
    max_new_tokens: int = 1024
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

    def describe(self) -> str:
        """One line for fingerprints: every setting by name."""
        return " ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))


@dataclass(frozen=True, slots=True)
class Written:
    """Token ids (B, L) from the start token on, filled with `pad`; the log-probability of each (0 for those not
    chosen); how many tokens were generated (B,); and whether an answer used all it was allowed (B,)."""

    tokens: Tensor
    log_probs: Tensor
    lengths: Tensor
    truncated: Tensor

    def row(self, index: int) -> tuple[list[int], list[float]]:
        """The generated ids of one answer and their log-probabilities, without the start token."""
        end = int(self.lengths[index]) + 1
        return self.tokens[index, 1:end].tolist(), self.log_probs[index, 1:end].tolist()


@torch.inference_mode()
def generate(model: Florence2, memory: Memory, decoding: Decoding) -> Written:
    """One answer for each sequence of the memory."""
    batch = memory.keys.shape[1]
    room = model.config.text.positions
    if decoding.max_new_tokens > room:
        raise ValueError(f"{decoding.max_new_tokens} new tokens; this checkpoint has positions for {room}")
    search = _greedy if decoding.beams == 1 else _beam
    return search(model, memory, decoding, batch)


def _first_feed(decoding: Decoding, rows: int, device: torch.device) -> tuple[Tensor, int]:
    """The buffer (R, M) with the start token, and the forced first one where there is one; how many are known."""
    tokens = torch.full((rows, 1 + decoding.max_new_tokens), decoding.pad, dtype=torch.long, device=device)
    tokens[:, 0] = decoding.start
    if decoding.forced_first is None or decoding.max_new_tokens == 1:
        return tokens, 1
    tokens[:, 1] = decoding.forced_first
    return tokens, 2


def _greedy(model: Florence2, memory: Memory, decoding: Decoding, batch: int) -> Written:
    device = memory.keys.device
    tokens, current = _first_feed(decoding, batch, device)
    limit = tokens.shape[1]
    log_probs = torch.zeros(tokens.shape, device=device)
    finished = torch.zeros(batch, dtype=torch.bool, device=device)
    cache = Cache(model.config.text, batch, memory.keys)
    hidden = model.write(tokens[:, :current], memory, cache)[:, -1]
    while True:
        logits = model.lm_head(hidden).float()
        normaliser = logits.logsumexp(-1)
        _ban_repeats(logits, tokens, current, decoding.no_repeat_ngram)
        if current == limit - 1 and decoding.forced_last is not None:
            chosen = torch.full_like(tokens[:, 0], decoding.forced_last)
            chosen_log_prob = torch.zeros_like(normaliser)
        else:
            best, chosen = logits.max(-1)
            chosen_log_prob = best - normaliser
        tokens[:, current] = torch.where(finished, decoding.pad, chosen)
        log_probs[:, current] = chosen_log_prob.masked_fill(finished, 0.0)
        finished |= chosen == decoding.end
        current += 1
        if current == limit or bool(finished.all()):
            break
        hidden = model.write(tokens[:, current - 1 : current], memory, cache)[:, -1]
    return _finish(tokens[:, :current], log_probs[:, :current], decoding)


def _beam(model: Florence2, memory: Memory, decoding: Decoding, batch: int) -> Written:
    beams, device = decoding.beams, memory.keys.device
    tokens, current = _first_feed(decoding, batch * beams, device)
    limit = tokens.shape[1]
    running = tokens.view(batch, beams, limit)
    running_log_probs = torch.zeros(running.shape, device=device)
    running_scores = torch.full((batch, beams), FAR, device=device)
    running_scores[:, 0] = 0.0
    done = running.clone()
    done_log_probs = running_log_probs.clone()
    done_scores = torch.full((batch, beams), FAR, device=device)
    is_done = torch.zeros((batch, beams), dtype=torch.bool, device=device)
    may_improve = torch.ones((batch, 1), dtype=torch.bool, device=device)
    first_rows = torch.arange(batch, device=device)[:, None] * beams
    within = torch.arange(2 * beams, device=device) < beams

    cache = Cache(model.config.text, batch * beams, memory.keys)
    hidden = model.write(tokens[:, :current], memory, cache)[:, -1]
    while True:
        logits = model.lm_head(hidden)
        scores = logits.float().log_softmax(-1)  # (R, V)
        _ban_repeats(scores, running.flatten(0, 1), current, decoding.no_repeat_ngram)
        if current == limit - 1 and decoding.forced_last is not None:
            scores = torch.full_like(scores, -torch.inf)
            scores[:, decoding.forced_last] = 0.0
        vocabulary = scores.shape[-1]
        total = (scores.view(batch, beams, vocabulary) + running_scores[..., None]).flatten(1)
        best, flat = total.topk(2 * beams)  # (B, 2K)
        origin, token = flat // vocabulary, flat % vocabulary
        step = best - running_scores.gather(1, origin)

        candidates = running.gather(1, origin[..., None].expand(-1, -1, limit))
        candidates[:, :, current] = token
        candidate_log_probs = running_log_probs.gather(1, origin[..., None].expand(-1, -1, limit))
        candidate_log_probs[:, :, current] = step
        hit = (token == decoding.end) | (current + 1 >= limit)  # (B, 2K)

        # Those that go on.
        running_scores, kept = (best + hit * FAR).topk(beams)
        running = candidates.gather(1, kept[..., None].expand(-1, -1, limit))
        running_log_probs = candidate_log_probs.gather(1, kept[..., None].expand(-1, -1, limit))
        rows = (first_rows + origin.gather(1, kept)).flatten()

        # Those that end here, against those that ended before.
        just = hit & within
        full = is_done.all(-1, keepdim=True) & (decoding.early_stopping is True)
        score = best / current**decoding.length_penalty
        score = score + full * FAR + ~may_improve * FAR + ~just * FAR
        merged_scores = torch.cat([done_scores, score], dim=1)
        done_scores, kept = merged_scores.topk(beams)
        wide = kept[..., None].expand(-1, -1, limit)
        done = torch.cat([done, candidates], dim=1).gather(1, wide)
        done_log_probs = torch.cat([done_log_probs, candidate_log_probs], dim=1).gather(1, wide)
        is_done = torch.cat([is_done, just], dim=1).gather(1, kept)

        current += 1
        may_improve = may_improve & _may_improve(running_scores, done_scores, is_done, current, limit, decoding)
        going = may_improve.any() & ~(is_done.all() & (decoding.early_stopping is True)) & ~hit.all()
        if not bool(going):
            break
        cache.select(rows)
        hidden = model.write(running[:, :, current - 1].reshape(-1, 1), memory, cache)[:, -1]

    # A sequence none of whose beams has ended answers with its best running beam, as transformers does.
    ended = is_done.any(-1)[:, None]
    best_tokens = torch.where(ended, done[:, 0], running[:, 0])
    best_log_probs = torch.where(ended, done_log_probs[:, 0], running_log_probs[:, 0])
    return _finish(best_tokens[:, :current], best_log_probs[:, :current], decoding)


def _may_improve(
    running_scores: Tensor, done_scores: Tensor, is_done: Tensor, current: int, limit: int, decoding: Decoding
) -> Tensor:
    """(B, 1): whether the best running beam could still beat the worst finished one."""
    forever = decoding.early_stopping == "never" and decoding.length_penalty > 0
    length = limit - 1 if forever else current - 1
    best_possible = running_scores[:, :1] / length**decoding.length_penalty
    worst = torch.where(is_done, done_scores.min(-1, keepdim=True).values, FAR)
    better: Tensor = best_possible > worst
    return better.any(-1, keepdim=True)


def _ban_repeats(scores: Tensor, tokens: Tensor, current: int, size: int) -> None:
    """-inf, in place, for every token that would repeat an n-gram of its row's first `current` tokens."""
    if size < 1 or current < size:
        return
    grams = tokens[:, :current].unfold(1, size, 1)  # (R, current - size + 1, size)
    last = tokens[:, None, current - size + 1 : current]
    repeats = (grams[..., :-1] == last).all(-1)
    penalty = (
        torch.zeros_like(repeats, dtype=scores.dtype).masked_fill(repeats, -torch.inf).masked_fill(~repeats, torch.inf)
    )
    scores.scatter_reduce_(1, grams[..., -1], penalty, "amin")


def _finish(tokens: Tensor, log_probs: Tensor, decoding: Decoding) -> Written:
    """Cuts to the longest answer."""
    places = torch.arange(tokens.shape[1], device=tokens.device)
    is_end = (tokens == decoding.end) & (places > 0)
    ended = is_end.any(1)
    lengths = torch.where(ended, is_end.int().argmax(1), tokens.shape[1] - 1)
    truncated = lengths >= decoding.max_new_tokens
    longest = int(lengths.max()) + 1
    tokens = tokens[:, :longest].masked_fill(places[:longest] > lengths[:, None], decoding.pad)
    return Written(tokens, log_probs[:, :longest], lengths, truncated)
