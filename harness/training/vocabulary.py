"""A small tokenizer of its own: byte-level BPE learned from text, with BART's first ids and the location alphabet."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from harness.florence2.locations import ADDED_TOKENS
from harness.florence2.tokenizer import BART_SPECIALS, Tokenizer


def learn(texts: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer of at most `size` ids, the 1,024 added tokens among them."""
    backend = Backend(BPE())
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=size - len(ADDED_TOKENS),
        special_tokens=list(BART_SPECIALS),
        initial_alphabet=ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return Tokenizer(backend)
