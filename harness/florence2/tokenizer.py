"""Prompt text to token ids, and ids to items, with a checkpoint's own tokenizer files.

The tokenizer is byte-level BPE with BART's first four ids and 1,024 added tokens: 1,000 `<loc_*>` and 24 markup
tokens.  The `tokenizer.json` of the original checkpoints lacks the added tokens; there, the processor adds them.
This module adds the missing ones, in the published order.

A fine-tune may add tokens of its own.  Answers keep them as text, special or not: only `<s>`, `</s>` and `<pad>` are
dropped, as in the published processor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from harness.errors import CheckpointError
from harness.florence2.config import read_config
from harness.florence2.files import has_tokenizer
from harness.florence2.locations import ADDED_TOKENS, CONTROLS, MARKS, Item

BOS, PAD, EOS, UNK = 0, 1, 2, 3
BART_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
PUBLISHED_TOKENS = frozenset({*BART_SPECIALS, "<mask>", "<image>", *ADDED_TOKENS})


class Tokenizer:
    """A checkpoint's tokenizer: `encode` for prompts, `items` for answers.

    CheckpointError if the ids of BART's special tokens or of the location tokens are not Florence-2's.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        backend.add_special_tokens([AddedToken(token, normalized=False) for token in ADDED_TOKENS])
        for number, token in enumerate(BART_SPECIALS):
            if backend.token_to_id(token) != number:
                raise CheckpointError(
                    f"the tokenizer gives {token} the id {backend.token_to_id(token)}; BART's id is {number}"
                )
        self.first_bin = self._id("<loc_0>")
        if self._id("<loc_999>") != self.first_bin + 999:
            raise CheckpointError("the tokenizer's location tokens do not have consecutive ids")
        self.marks = {self._id(token): token for token in MARKS}
        self.controls = {self._id(token) for token in CONTROLS}
        self.added = {number: token.content for number, token in backend.get_added_tokens_decoder().items()}
        self.size = max(backend.get_vocab(with_added_tokens=True).values()) + 1

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a folder's `tokenizer.json`, else of `vocab.json` with `merges.txt` and `added_tokens.json`.

        CheckpointError if neither is there, or if a file is malformed.
        """
        whole, vocab, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
        added = folder / "added_tokens.json"
        try:
            if whole.is_file():
                return cls(Backend.from_file(str(whole)))
            if vocab.is_file() and merges.is_file():
                return cls(_from_bart_files(vocab, merges, json.loads(added.read_text()) if added.is_file() else {}))
        except CheckpointError:
            raise
        except Exception as error:  # the backend raises a bare Exception for a malformed file
            raise CheckpointError(f"the tokenizer files in {folder} cannot be read: {error}") from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of the backend, which exports no such class
                raise
            raise CheckpointError(f"the tokenizer files in {folder} cannot be read: {error}") from error
        raise CheckpointError(f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt")

    @property
    def own_tokens(self) -> list[str]:
        """The added tokens that no published checkpoint has, by id."""
        return [token for _, token in sorted(self.added.items()) if token not in PUBLISHED_TOKENS]

    def encode(self, text: str) -> list[int]:
        """The ids of `<s>`, the text, and `</s>`."""
        return [BOS, *self.backend.encode(text, add_special_tokens=False).ids, EOS]

    def items(self, ids: Sequence[int], log_probs: Sequence[float] = ()) -> list[Item]:
        """Generated ids as items, each with the log-probabilities of its tokens; without `<s>`, `</s>` and `<pad>`."""
        pieces: list[Item] = []
        words: list[int] = []
        start = 0
        for index, token in enumerate([*ids, EOS]):
            number = token - self.first_bin
            special = 0 <= number < 1000 or token in self.marks or token in self.controls
            if not special:
                if not words:
                    start = index
                words.append(token)
                continue
            if words:
                pieces.append(Item(self._text(words), log_probs=tuple(log_probs[start:index])))
                words = []
            if 0 <= number < 1000:
                pieces.append(Item(f"<loc_{number}>", bin=number, log_probs=tuple(log_probs[index : index + 1])))
            elif token in self.marks:
                pieces.append(Item(self.marks[token], mark=True))
        return pieces

    def texts(self, ids: Sequence[int]) -> list[str]:
        """The text of each id; without `<s>`, `</s>` and `<pad>`, together they are the text of `items`.

        Where several tokens make one letter, the last has the letter and the others have "".
        """
        texts: list[str] = []
        for special, run in groupby(ids, key=lambda token: token in self.added or token in self.controls):
            numbers = list(run)
            if special:
                texts += [self.added.get(token) or self.backend.id_to_token(token) or "" for token in numbers]
                continue
            start = 0
            for end in range(1, len(numbers) + 1):
                text = self.backend.decode(numbers[start:end])
                whole = not text.endswith("\ufffd") or end == len(numbers)
                texts.append(text if whole else "")
                start = end if whole else start
        return texts

    def _text(self, ids: Sequence[int]) -> str:
        """The text of ids; an added token is its own text, which is not byte-level and must not be decoded as such."""
        parts = []
        for added, run in groupby(ids, key=self.added.__contains__):
            numbers = list(run)
            parts.append("".join(map(self.added.__getitem__, numbers)) if added else self.backend.decode(numbers))
        return "".join(parts)

    def _id(self, token: str) -> int:
        number = self.backend.token_to_id(token)
        if number is None:
            raise CheckpointError(f"the tokenizer has no token {token}")
        return int(number)


def find_tokenizer(folder: Path, rows: int, base: Path | None = None) -> tuple[Tokenizer, tuple[str, ...]]:
    """The tokenizer of a folder, else of `base`, and a note for the record in the second case.

    `rows` are those of the folder's embedding.  CheckpointError if neither folder has a tokenizer, if it has more ids
    than there are rows, and if the embedding has other rows than the base's: tokens were added that are not known.
    """
    notes: tuple[str, ...] = ()
    if has_tokenizer(folder) or base is None:
        tokenizer = Tokenizer.load(folder)
    else:
        tokenizer = Tokenizer.load(base)
        padded = -(-tokenizer.size // 64) * 64  # as transformers pads
        if rows not in (tokenizer.size, padded, read_config(base / "config.json").text.vocab):
            raise CheckpointError(
                f"{folder} has no tokenizer and an embedding of {rows} rows, but that of {base} has {tokenizer.size} "
                "ids: add the tokenizer of the training"
            )
        notes = (f"{folder} has no tokenizer: that of {base} is used",)
    if tokenizer.size > rows:
        raise CheckpointError(f"{folder}: the tokenizer has {tokenizer.size} ids, the embedding only {rows} rows")
    return tokenizer, notes


def _from_bart_files(vocab: Path, merges: Path, added: Mapping[str, int]) -> Backend:
    """A tokenizer of BART's `vocab.json` and `merges.txt`, with BART's five special tokens.

    `added` is the `added_tokens.json`, tokens and their ids, which transformers writes beside the two files.
    CheckpointError if a token cannot have the id that it states.
    """
    backend = Backend(BPE.from_file(str(vocab), str(merges)))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevelDecoder()
    specials = [AddedToken(token, normalized=False) for token in BART_SPECIALS]
    backend.add_special_tokens([*specials, AddedToken("<mask>", lstrip=True, normalized=False)])
    for token, number in sorted(added.items(), key=lambda item: item[1]):
        backend.add_special_tokens([AddedToken(token, normalized=False)])
        if backend.token_to_id(token) != number:
            raise CheckpointError(
                f"{vocab.with_name('added_tokens.json')} gives {token} the id {number}; after the tokens before it, "
                f"its id would be {backend.token_to_id(token)}"
            )
    return backend
