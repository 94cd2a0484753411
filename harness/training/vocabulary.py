"""Small tokenizers: byte-level BPE learned from text, with BART's special tokens and Florence-2's added tokens."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from harness.florence2.locations import ADDED_TOKENS, items
from harness.florence2.prompts import prompts_of
from harness.florence2.reading import write_answer
from harness.florence2.tokenizer import BART_SPECIALS, Tokenizer
from harness.training.data import SceneSource

SCENES = 400  # from each source


def learn(texts: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer learned from `texts`, with at most `size` ids, including the 1,024 added tokens."""
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


def tokenizer_of(
    size: int, sources: Sequence[SceneSource], first_seed: int, out: Path, start: Path | None
) -> Tokenizer:
    """The tokenizer of the checkpoint `start`; without `start`, a tokenizer learned from the first scenes.

    A learned tokenizer has at most `size` - 1 ids.  The file `out/tokenizer.json` keeps it.
    """
    path, partial = out / "tokenizer.json", out / f"tokenizer.{os.getpid()}.partial"
    if start is not None:
        return Tokenizer.load(start)
    if not path.is_file():
        texts: list[str] = []
        for seed in range(first_seed, first_seed + SCENES):
            for sample in (sample for source in sources for sample in source(seed).samples):
                for prompt in prompts_of(sample.question):
                    texts.append("".join(piece.text for piece in items(prompt) if piece.bin is None))
                if sample.question.size is not None and sample.target is not None and sample.question.kind != "segment":
                    texts.append(write_answer(sample.question, sample.target, sample.question.size).partition("<")[0])
        learn(texts, size - 1).backend.save(str(partial))
        partial.replace(path)
    return Tokenizer.load(out)
