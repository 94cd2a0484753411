"""Greedy and beam search over a static cache, token for token what transformers' `generate` writes.

Shapes: B sequences, K beams, R = B*K rows (beams of one sequence side by side), V vocabulary, M = 1 + most new
tokens, the length of a full row with its start token.

What makes the tokens equal, beyond the textbook:
    the n-gram ban sees the start token, and acts on log-probabilities (beams) or logits (greedy) that are not
    normalised again;  2K candidates are kept of the flat K*V, and a finished one counts only among the first K;
    a finished score is divided by its length to the power `length_penalty`, the heuristic for going on by one less;
    the last place is always the end token.
transformers decides about stopping for the whole batch, but a sequence that is settled no longer changes; so here its
rows are let go, and batch mates do not change a result.
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

    def cpu(self) -> Written:
        """The same in the host's memory, in one go."""
        return Written(self.tokens.cpu(), self.log_probs.cpu(), self.lengths.cpu(), self.truncated.cpu())

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
    rows = torch.arange(batch, device=device)  # the sequences still decoded
    cache = Cache(model.config.text, batch, memory.keys)
    hidden = model.write(tokens[:, :current], memory, cache)[:, -1]
    while True:
        logits = model.lm_head(hidden).float()
        normaliser = logits.logsumexp(-1)
        _ban_repeats(logits, tokens[rows], current, decoding.no_repeat_ngram)
        if current == limit - 1 and decoding.forced_last is not None:
            chosen = torch.full_like(rows, decoding.forced_last)
            chosen_log_prob = torch.zeros_like(normaliser)
        else:
            best, chosen = logits.max(-1)
            chosen_log_prob = best - normaliser
        over = finished[rows]
        tokens[rows, current] = torch.where(over, decoding.pad, chosen)
        log_probs[rows, current] = chosen_log_prob.masked_fill(over, 0.0)
        finished[rows] = over | (chosen == decoding.end)
        current += 1
        left = int((~finished).sum())
        if current == limit or not left:
            break
        if left <= len(rows) // 2:
            kept = (~finished[rows]).nonzero()[:, 0]
            rows, memory = rows[kept], memory.keep(kept)
            cache.keep(kept)
        hidden = model.write(tokens[rows, current - 1 : current], memory, cache)[:, -1]
    return _finish(tokens[:, :current], log_probs[:, :current], decoding)


@dataclass(slots=True)
class _Beams:
    """What a beam search knows of each sequence; (B, K, M), (B, K) and, for the last two, (B, 1) and (B,)."""

    running: Tensor
    running_log_probs: Tensor
    running_scores: Tensor
    done: Tensor
    done_log_probs: Tensor
    done_scores: Tensor
    is_done: Tensor
    may_improve: Tensor
    place: Tensor  # of the sequence in the batch as it was given

    @classmethod
    def begin(cls, tokens: Tensor, batch: int, beams: int) -> _Beams:
        """All beams at the start, but only the first of each sequence alive."""
        running = tokens.view(batch, beams, -1)
        zeros = torch.zeros(running.shape, device=tokens.device)
        far = torch.full((batch, beams), FAR, device=tokens.device)
        alive = far.clone()
        alive[:, 0] = 0.0
        none = torch.zeros((batch, beams), dtype=torch.bool, device=tokens.device)
        place = torch.arange(batch, device=tokens.device)
        return cls(running, zeros, alive, running.clone(), zeros.clone(), far, none, ~none[:, :1], place)

    def keep(self, sequences: Tensor) -> None:
        """Only these sequences."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[sequences])

    def best(self) -> tuple[Tensor, Tensor]:
        """(B, M) ids and log-probabilities: the best that ended, or else (as in transformers) the best running."""
        ended = self.is_done.any(-1)[:, None]
        tokens = torch.where(ended, self.done[:, 0], self.running[:, 0])
        return tokens, torch.where(ended, self.done_log_probs[:, 0], self.running_log_probs[:, 0])


def _beam(model: Florence2, memory: Memory, decoding: Decoding, batch: int) -> Written:
    beams, device = decoding.beams, memory.keys.device
    tokens, current = _first_feed(decoding, batch * beams, device)
    state = _Beams.begin(tokens, batch, beams)
    out = torch.full((batch, tokens.shape[1]), decoding.pad, dtype=torch.long, device=device)
    out_log_probs = torch.zeros(out.shape, device=device)
    cache = Cache(model.config.text, batch * beams, memory.keys)
    hidden = model.write(tokens[:, :current], memory, cache)[:, -1]
    while True:
        origin, last = _step(state, model.lm_head(hidden), current, decoding)
        current += 1
        settled = ~state.may_improve[:, 0] | (state.is_done.all(-1) & (decoding.early_stopping is True))
        left = 0 if last else int((~settled).sum())
        if not left:
            break
        # The rows of the cache follow their beams; once half of the sequences are settled, theirs are let go.
        rows = torch.arange(len(settled), device=device)[:, None] * beams + origin
        if left <= len(settled) // 2:
            tokens, log_probs = state.best()
            out[state.place], out_log_probs[state.place] = tokens, log_probs
            kept = (~settled).nonzero()[:, 0]
            state.keep(kept)
            memory = memory.keep(kept)
            cache.keep(rows[kept].flatten())
        else:
            cache.select(rows.flatten())
        hidden = model.write(state.running[:, :, current - 1].reshape(-1, 1), memory, cache)[:, -1]
    out[state.place], out_log_probs[state.place] = state.best()
    return _finish(out[:, :current], out_log_probs[:, :current], decoding)


def _step(state: _Beams, logits: Tensor, current: int, decoding: Decoding) -> tuple[Tensor, bool]:
    """One token for every beam, from logits (R, V): which beam each of the new ones continues (B, K), and whether
    every candidate ended."""
    batch, beams, limit = state.running.shape
    scores = logits.float().log_softmax(-1)
    _ban_repeats(scores, state.running.flatten(0, 1), current, decoding.no_repeat_ngram)
    if current == limit - 1 and decoding.forced_last is not None:
        scores = torch.full_like(scores, -torch.inf)
        scores[:, decoding.forced_last] = 0.0
    vocabulary = scores.shape[-1]
    total = (scores.view(batch, beams, vocabulary) + state.running_scores[..., None]).flatten(1)
    best, flat = total.topk(2 * beams)  # (B, 2K)
    origin, token = flat // vocabulary, flat % vocabulary
    wide = origin[..., None].expand(-1, -1, limit)
    candidates = state.running.gather(1, wide)
    candidates[:, :, current] = token
    log_probs = state.running_log_probs.gather(1, wide)
    log_probs[:, :, current] = best - state.running_scores.gather(1, origin)
    hit = (token == decoding.end) | (current + 1 >= limit)  # (B, 2K)

    # Those that go on.
    state.running_scores, kept = (best + hit * FAR).topk(beams)
    wide = kept[..., None].expand(-1, -1, limit)
    state.running, state.running_log_probs = candidates.gather(1, wide), log_probs.gather(1, wide)
    origin = origin.gather(1, kept)

    # Those that end here, against those that ended before.
    just = hit & (torch.arange(2 * beams, device=hit.device) < beams)
    full = state.is_done.all(-1, keepdim=True) & (decoding.early_stopping is True)
    score = best / current**decoding.length_penalty
    score = score + full * FAR + ~state.may_improve * FAR + ~just * FAR
    state.done_scores, kept = torch.cat([state.done_scores, score], dim=1).topk(beams)
    wide = kept[..., None].expand(-1, -1, limit)
    state.done = torch.cat([state.done, candidates], dim=1).gather(1, wide)
    state.done_log_probs = torch.cat([state.done_log_probs, log_probs], dim=1).gather(1, wide)
    state.is_done = torch.cat([state.is_done, just], dim=1).gather(1, kept)
    state.may_improve = state.may_improve & _may_improve(state, current + 1, limit, decoding)
    return origin, current + 1 >= limit


def _may_improve(state: _Beams, current: int, limit: int, decoding: Decoding) -> Tensor:
    """(B, 1): whether the best running beam could still beat the worst finished one."""
    forever = decoding.early_stopping == "never" and decoding.length_penalty > 0
    length = limit - 1 if forever else current - 1
    best_possible = state.running_scores[:, :1] / length**decoding.length_penalty
    worst = torch.where(state.is_done, state.done_scores.min(-1, keepdim=True).values, FAR)
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
