"""The floating-point operations of one Florence-2 query, by arithmetic from the sizes of its plain network.

torch cannot count the network as it runs: kernels of oneDNN and Triton, CUDA graphs and quantised products hide their
operations.  So the query runs once, which gives the lengths of its prompts and of its answers, and the operations
follow from these and from the configuration.  They do not depend on the device or the precision; fast forms may need
fewer.

As in `cost`, matrix products, convolutions and attention are counted, and a multiply-add is two operations.  An image
is encoded once for all prompts of the question.  Each prompt has an encoder pass, the prefill of one row, and for each
generated token a pass of one row per beam.  The steps by which a beam search goes on after the returned sequence has
ended are not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.core import Answer, Failure, Question, Size
from harness.florence2.config import Config, TextConfig, VisionConfig
from harness.florence2.prompts import prompts_of
from harness.images import open_rgb

if TYPE_CHECKING:
    from harness.florence2.decoding.search import Decoding
    from harness.florence2.predictor import Predictor


class Lengths(NamedTuple):
    """The number of tokens of a prompt, and of its answer (without the start token)."""

    prompt: int
    answer: int


def of_query(predictor: Predictor, question: Question) -> tuple[int, Answer | Failure]:
    """The operations of a question that is asked alone, and its result; 0 operations for a Failure."""
    answers: dict[int, int] = {}
    watched = predictor.watch
    predictor.watch = lambda _, number, generated: answers.__setitem__(number, len(generated.tokens))
    try:
        [(_, result)] = predictor.answer([(0, question)])
    finally:
        predictor.watch = watched
    if isinstance(result, Failure):
        return 0, result
    size = Size(*open_rgb(predictor.root, question.image).size)
    texts = prompts_of(question, predictor.forms[question.kind], size)
    config, decoding, resized = predictor.model.config, predictor.decoding, predictor.preprocess
    total, cells = of_vision(config.vision, resized.height, resized.width)
    total += _product(cells + 1, config.vision.dims[-1], config.text.width)  # the projection; the mean is a token too
    for number, text in enumerate(texts):
        lengths = Lengths(len(predictor.tokenizer.encode(text)), answers[number])
        total += of_text(config, decoding, cells + 1, lengths)
    return total, result


def of_vision(config: VisionConfig, height: int, width: int) -> tuple[int, int]:
    """The operations of the vision tower for one image, and the number of cells of its last map."""
    total, channels = 0, 3
    for stage, dim in enumerate(config.dims):
        kernel, stride, padding = config.patch_size[stage], config.stride[stage], config.padding[stage]
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
        cells = height * width
        padded = -(-height // config.window) * -(-width // config.window) * config.window**2  # in whole windows
        convolutions = 2 * 2 * cells * dim * 9  # two of 3 x 3, each over one channel
        mlp = 2 * _product(cells, dim, config.mlp_ratio * dim)
        by_window = _product(padded, dim, 4 * dim) + 2 * _product(padded, dim, config.window**2)
        by_channel = _product(cells, dim, 4 * dim) + 2 * _product(cells, dim, dim // config.groups[stage])
        total += _product(cells, channels * kernel**2, dim)
        total += config.depths[stage] * (2 * (convolutions + mlp) + by_window + by_channel)
        channels = dim
    return total, cells


def of_text(config: Config, decoding: Decoding, image: int, lengths: Lengths) -> int:
    """The operations of one prompt behind `image` image tokens: encoder, prefill, and the decoding of its answer."""
    text = config.text
    read = image + lengths.prompt
    attention = _product(read, text.width, 4 * text.width) + 2 * _product(read, text.width, read)
    encoder = text.encoder_layers * (attention + 2 * _product(read, text.width, text.ffn))
    encoder += _product(read, text.width, 2 * text.width * text.decoder_layers)  # keys and values of cross-attention
    first = len(decoding.prefix)
    chosen = max(0, lengths.answer + 1 - first)  # tokens that the search chooses; the last is not decoded
    total = encoder + _decoded(text, read, rows=1, tokens=first, seen=first)
    total += chosen * _product(decoding.beams, text.width, text.vocab)
    for step in range(1, chosen):
        total += _decoded(text, read, rows=decoding.beams, tokens=1, seen=first + step)
    return total


def _decoded(text: TextConfig, read: int, *, rows: int, tokens: int, seen: int) -> int:
    """The operations of the decoder for `tokens` tokens of each row, which attend to `seen` tokens and to the image."""
    new = rows * tokens
    own = _product(new, text.width, 4 * text.width) + 2 * _product(new, text.width, seen)
    cross = _product(new, text.width, 2 * text.width) + 2 * _product(new, text.width, read)
    return text.decoder_layers * (own + cross + 2 * _product(new, text.width, text.ffn))


def _product(rows: int, inner: int, columns: int) -> int:
    """The operations of a product of matrices (rows, inner) and (inner, columns)."""
    return 2 * rows * inner * columns
