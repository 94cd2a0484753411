"""Triton kernels for operations that torch computes in several passes over memory.

`fused` documents each function, and chooses between kernel and plain torch.  A program computes a tile, and sums in
float32.  Without a GPU, Triton's interpreter runs the kernels on a CPU (TRITON_INTERPRET=1 before this import); tests
use it.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 4096  # numbers in registers, per program of `convolve_add_norm`
CHUNK = 1024  # tokens, per program of `channel_products`
STEP = 64  # tokens in one product of `channel_products`
BLOCK = 64  # cache positions that `attend_lineage` reads at once
WORDS = 2048  # scores, per program of `normalisers` or `candidates`
FEW = 16  # rows; the fewest that tensor cores multiply


def convolve_add_norm(
    x: Tensor,
    shape: tuple[int, int],
    taps: tuple[Tensor, Tensor],
    norm: tuple[Tensor, Tensor, float],
    bias: Tensor | None,
    window_in: int,
    window_out: int,
) -> tuple[Tensor, Tensor]:
    """See `fused.convolve_add_norm`."""
    x = x.contiguous()
    batch, _, dim = x.shape
    height, width = shape
    columns = triton.next_power_of_2(dim)
    tokens = max(1, min(triton.next_power_of_2(width), TILE // columns))
    added, normed = torch.empty_like(x), torch.empty_like(x)
    grid = (batch * height, triton.cdiv(width, tokens))
    _convolve_add_norm[grid](
        x, *taps, norm[0], norm[1], taps[1] if bias is None else bias, added, normed, height, width, norm[2],
        DIM=dim, COLUMNS=columns, TOKENS=tokens, IN=window_in, OUT=window_out, BIASED=bias is not None, num_warps=8,
    )  # fmt: skip
    return added, normed


@triton.jit
def _place(row, column, width, WINDOW: tl.constexpr):
    """The index of a token in its image, by its row and column; by windows if WINDOW is not 0."""
    if WINDOW == 0:
        return row * width + column
    inside = (row % WINDOW) * WINDOW + column % WINDOW
    return ((row // WINDOW) * (width // WINDOW) + column // WINDOW) * WINDOW * WINDOW + inside


@triton.jit
def _convolve_add_norm(
    x, weight, conv_bias, gain, shift, bias, added, normed, height, width, epsilon,
    DIM: tl.constexpr, COLUMNS: tl.constexpr, TOKENS: tl.constexpr,
    IN: tl.constexpr, OUT: tl.constexpr, BIASED: tl.constexpr,
):  # fmt: skip
    image = (tl.program_id(0) // height).to(tl.int64) * height * width
    column = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    row = tl.program_id(0) % height + tl.zeros_like(column)
    channel = tl.arange(0, COLUMNS)
    is_channel = channel < DIM
    total = tl.zeros((TOKENS, COLUMNS), tl.float32) + tl.load(conv_bias + channel, is_channel, 0.0)[None].to(tl.float32)
    for tap in tl.static_range(9):
        above, beside = row + tap // 3 - 1, column + tap % 3 - 1
        inside = (above >= 0) & (above < height) & (beside >= 0) & (beside < width)
        at = (image + _place(above, beside, width, IN))[:, None] * DIM + channel[None]
        seen = tl.load(x + at, inside[:, None] & is_channel[None], 0.0).to(tl.float32)
        factor = tl.load(weight + channel * 9 + tap, is_channel, 0.0).to(tl.float32)
        if tap == 4:
            factor += 1.0  # the residual
        total += seen * factor[None]
    mean = tl.sum(total, 1) / DIM
    centred = tl.where(is_channel[None], total - mean[:, None], 0.0)
    deviation = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / DIM + epsilon)
    scaled = centred * deviation[:, None] * tl.load(gain + channel, is_channel, 0.0)[None].to(tl.float32)
    scaled += tl.load(shift + channel, is_channel, 0.0)[None].to(tl.float32)
    if BIASED:
        total += tl.load(bias + channel, is_channel, 0.0)[None].to(tl.float32)
    at = (image + _place(row, column, width, OUT))[:, None] * DIM + channel[None]
    real = (column < width)[:, None] & is_channel[None]
    tl.store(added + at, total.to(added.dtype.element_ty), real)
    tl.store(normed + at, scaled.to(normed.dtype.element_ty), real)


def add_norm(x: Tensor, y: Tensor, norm: tuple[Tensor, Tensor, float]) -> Tensor:
    """See `fused.add_norm`."""
    dim = x.shape[-1]
    x, y = x.contiguous(), y.contiguous()
    out = torch.empty_like(x)
    _add_norm[(x.numel() // dim,)](x, y, *norm[:2], out, norm[2], DIM=dim, COLUMNS=triton.next_power_of_2(dim))
    return out


@triton.jit
def _add_norm(x, y, gain, shift, out, epsilon, DIM: tl.constexpr, COLUMNS: tl.constexpr):
    channel = tl.arange(0, COLUMNS)
    real = channel < DIM
    at = tl.program_id(0).to(tl.int64) * DIM + channel
    total = tl.load(x + at, real, 0.0).to(tl.float32) + tl.load(y + at, real, 0.0).to(tl.float32)
    centred = tl.where(real, total - tl.sum(total, 0) / DIM, 0.0)
    deviation = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / DIM + epsilon)
    scaled = centred * deviation * tl.load(gain + channel, real, 0.0).to(tl.float32)
    scaled += tl.load(shift + channel, real, 0.0).to(tl.float32)
    tl.store(out + at, scaled.to(out.dtype.element_ty), real)


def channel_products(qkv: Tensor, groups: int) -> Tensor:
    """See `fused.channel_products`."""
    batch, tokens, three_dims = qkv.shape
    dim = three_dims // 3
    size = dim // groups
    chunks = triton.cdiv(tokens, CHUNK)
    partial = qkv.new_empty((chunks, batch * groups, size, size), dtype=torch.float32)
    _channel_products[(chunks, batch * groups)](
        qkv, partial, tokens, GROUPS=groups, DIM=dim, SIZE=size, COLUMNS=max(16, triton.next_power_of_2(size)),
        CHUNK=CHUNK, STEP=STEP,
    )  # fmt: skip
    return partial.sum(0).view(batch, groups, size, size)


@triton.jit
def _channel_products(
    qkv, partial, tokens,
    GROUPS: tl.constexpr, DIM: tl.constexpr, SIZE: tl.constexpr, COLUMNS: tl.constexpr,
    CHUNK: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    chunk, pair = tl.program_id(0), tl.program_id(1)
    first = (pair // GROUPS).to(tl.int64) * tokens
    channel = tl.arange(0, COLUMNS)
    is_channel = channel < SIZE
    total = tl.zeros((COLUMNS, COLUMNS), tl.float32)
    for start in range(0, CHUNK, STEP):
        token = chunk * CHUNK + start + tl.arange(0, STEP)
        real = (token < tokens)[:, None] & is_channel[None]
        at = (first + token)[:, None] * (3 * DIM) + (pair % GROUPS) * SIZE + channel[None]
        query = tl.load(qkv + at, real, 0.0)
        key = tl.load(qkv + at + DIM, real, 0.0)
        total += tl.dot(tl.trans(query), key, input_precision="ieee")
    at = ((chunk * tl.num_programs(1) + pair) * SIZE + channel)[:, None] * SIZE + channel[None]
    tl.store(partial + at, total, is_channel[:, None] & is_channel[None])


def attend_lineage(qkv: Tensor, keys: Tensor, values: Tensor, lineage: Tensor, positions: Tensor) -> Tensor:
    """See `fused.attend_lineage`."""
    rows, heads, _, size = keys.shape
    beams = lineage.shape[1]
    out = qkv.new_empty((rows, heads * size))
    _attend_lineage[(rows, heads)](
        qkv, keys, values, lineage, positions, out,
        keys.stride(0), keys.stride(1), lineage.stride(0), lineage.stride(1), size**-0.5,
        BEAMS=beams, HEADS=heads, SIZE=size, COLUMNS=triton.next_power_of_2(size), BLOCK=BLOCK,
    )  # fmt: skip
    return out


@triton.jit
def _attend_lineage(
    qkv, keys, values, lineage, positions, out, row_stride, head_stride, slot_stride, beam_stride, scale,
    BEAMS: tl.constexpr, HEADS: tl.constexpr, SIZE: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    slot, beam = row // BEAMS, row % BEAMS
    column = tl.arange(0, COLUMNS)
    is_column = column < SIZE
    new_token = qkv + row * (3 * HEADS * SIZE) + head * SIZE + column
    query = tl.load(new_token, is_column, 0.0).to(tl.float32) * scale
    key = tl.load(new_token + HEADS * SIZE, is_column, 0.0)
    value = tl.load(new_token + 2 * HEADS * SIZE, is_column, 0.0)
    position = tl.load(positions + row)
    here = row.to(tl.int64) * row_stride + head * head_stride + position * SIZE + column
    tl.store(keys + here, key, is_column)
    tl.store(values + here, value, is_column)

    # An online softmax: the new token, then blocks of earlier positions.
    highest = tl.sum(query * key.to(tl.float32), 0)
    weight = 1.0
    total = value.to(tl.float32)
    for start in range(0, position, BLOCK):
        earlier = start + tl.arange(0, BLOCK)
        real = earlier < position
        writer = slot * BEAMS + tl.load(lineage + slot * slot_stride + beam * beam_stride + earlier, real, 0)
        at = (writer.to(tl.int64) * row_stride + head * head_stride + earlier * SIZE)[:, None] + column[None]
        inside = real[:, None] & is_column[None]
        score = tl.sum(tl.load(keys + at, inside, 0.0).to(tl.float32) * query[None], 1)
        score = tl.where(real, score, float("-inf"))
        new = tl.maximum(highest, tl.max(score, 0))
        share, kept = tl.exp(score - new), tl.exp(highest - new)
        weight = weight * kept + tl.sum(share, 0)
        total = total * kept + tl.sum(share[:, None] * tl.load(values + at, inside, 0.0).to(tl.float32), 0)
        highest = new
    tl.store(out + row * (HEADS * SIZE) + head * SIZE + column, (total / weight).to(out.dtype.element_ty), is_column)


def to_float8(x: Tensor) -> tuple[Tensor, Tensor]:
    """See `fused.to_float8`."""
    rows, dim = x.shape
    rounded, scale = x.new_empty((rows, dim), dtype=torch.float8_e4m3fn), x.new_empty((rows, 1), dtype=torch.float32)
    _to_float8[(rows,)](x.contiguous(), rounded, scale, DIM=dim, COLUMNS=triton.next_power_of_2(dim))
    return rounded, scale


@triton.jit
def _to_float8(x, rounded, scale, DIM: tl.constexpr, COLUMNS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, COLUMNS)
    real = column < DIM
    number = tl.load(x + row * DIM + column, real, 0.0).to(tl.float32)
    divisor = tl.maximum(tl.max(tl.abs(number), 0), 1e-12) / 448.0
    tl.store(scale + row, divisor)
    bounded = tl.minimum(tl.maximum(number / divisor, -448.0), 448.0)
    tl.store(rounded + row * DIM + column, bounded.to(tl.float8e4nv), real)


def normalisers(scores: Tensor) -> Tensor:
    """See `fused.normalisers`."""
    rows, words = scores.shape
    partial = scores.new_empty((rows, triton.cdiv(words, WORDS)))
    _normalisers[tuple(partial.shape)](scores, partial, words, WORDS=WORDS)
    return partial.logsumexp(-1)


@triton.jit
def _normalisers(scores, partial, words, WORDS: tl.constexpr):
    row, chunk = tl.program_id(0), tl.program_id(1)
    word = chunk * WORDS + tl.arange(0, WORDS)
    score = tl.load(scores + row.to(tl.int64) * words + word, word < words, float("-inf"))
    highest = tl.max(score, 0)
    tl.store(partial + row * tl.num_programs(1) + chunk, highest + tl.log(tl.sum(tl.exp(score - highest), 0)))


def candidates(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """See `fused.candidates`."""
    rows, words = scores.shape
    shape = rows, triton.cdiv(words, WORDS), count
    best, token = scores.new_empty(shape), scores.new_empty(shape, dtype=torch.long)
    _candidates[shape[:2]](scores, best, token, words, WORDS=WORDS, COUNT=count)
    return best.flatten(1), token.flatten(1)


@triton.jit
def _candidates(scores, best, token, words, WORDS: tl.constexpr, COUNT: tl.constexpr):
    row, chunk = tl.program_id(0), tl.program_id(1)
    index = tl.arange(0, WORDS)
    word = chunk * WORDS + index
    remaining = tl.load(scores + row.to(tl.int64) * words + word, word < words, float("-inf"))
    at = (row * tl.num_programs(1) + chunk) * COUNT
    for number in tl.static_range(COUNT):
        highest = tl.argmax(remaining, 0)
        tl.store(best + at + number, tl.max(remaining, 0))
        tl.store(token + at + number, tl.minimum(chunk * WORDS + highest, words - 1).to(tl.int64))
        remaining = tl.where(index == highest, float("-inf"), remaining)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See `fused.linear_gelu`."""
    rows = x.reshape(-1, x.shape[-1])
    count, (columns, depth) = len(rows), weight.shape
    out = x.new_empty((count, columns))
    tile = (FEW, 64, 128, 4) if count <= FEW else (64, 128, 64, 4) if count <= 1024 else (128, 256, 64, 8)
    grid = (triton.cdiv(count, tile[0]) * triton.cdiv(columns, tile[1]),)
    _linear_gelu[grid](
        rows, weight, weight if bias is None else bias, out, count, columns, depth,
        ROWS=tile[0], COLUMNS=tile[1], DEPTH=tile[2], GROUP=8, BIASED=bias is not None, num_warps=tile[3], num_stages=3,
    )  # fmt: skip
    return out.view(*x.shape[:-1], columns)


@triton.jit
def _linear_gelu(
    x, weight, bias, out, rows, columns, depth,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, GROUP: tl.constexpr, BIASED: tl.constexpr,
):  # fmt: skip
    # Consecutive tiles share few rows and few columns, which then stay in the cache.
    down, across = tl.cdiv(rows, ROWS), tl.cdiv(columns, COLUMNS)
    first = tl.program_id(0) // (GROUP * across) * GROUP
    within, height = tl.program_id(0) % (GROUP * across), tl.minimum(down - first, GROUP)
    row = (first + within % height) * ROWS + tl.arange(0, ROWS)
    column = within // height * COLUMNS + tl.arange(0, COLUMNS)
    is_row, is_column = row < rows, column < columns
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, depth, DEPTH):
        inner = start + tl.arange(0, DEPTH)
        is_inner = inner < depth
        number = tl.load(x + row.to(tl.int64)[:, None] * depth + inner[None], is_row[:, None] & is_inner[None], 0.0)
        factor = tl.load(weight + column[None] * depth + inner[:, None], is_column[None] & is_inner[:, None], 0.0)
        total += tl.dot(number, factor, input_precision="ieee")
    if BIASED:
        total += tl.load(bias + column, is_column, 0.0)[None].to(tl.float32)
    total = total * 0.5 * (1.0 + tl.erf(total * 0.7071067811865476))
    at = row.to(tl.int64)[:, None] * columns + column[None]
    tl.store(out + at, total.to(out.dtype.element_ty), is_row[:, None] & is_column[None])
