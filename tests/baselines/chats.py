"""What the tests of chat models share: transformers' own processors, and the comparison with them.

The processors of these families refuse to be made without torchvision, for their video processors alone.  Here they are
made without calling `__init__`, from the parts that images need; `__call__` is transformers' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from baselines.chat import Chat
from tests.baselines import rivals


def tokenizer(special: Sequence[str], *, pad: str, eos: str, **more: str) -> PreTrainedTokenizerFast:
    """A tokenizer of words, which pads on the right until something sets its side, as published tokenizers may."""
    words = rivals.word_tokenizer(special, rivals.WORDS + " system user assistant User Assistant { } [ ] bbox_2d label")
    named = {"pad_token": pad, "eos_token": eos, "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, padding_side="right", **named, **more)


def official(kind: type[Any], image_processor: Any, tokenizer: Any, **parts: Any) -> Any:
    """transformers' processor of this class, without a video processor."""
    processor = object.__new__(kind)
    tokenizer.padding_side = "left"
    for name, part in {"image_processor": image_processor, "tokenizer": tokenizer, **parts}.items():
        setattr(processor, name, part)
    for name in ("video_processor", "feature_extractor", "chat_template"):
        setattr(processor, name, None)
    return processor


def check_inputs(family: Chat, processor: Any, folder: Path, placeholder: str) -> None:
    """Our inputs equal the processor's, for images of every shape alone and in one batch with texts of any length."""
    images = [Image.open(folder / name).convert("RGB") for name in rivals.images(folder)]
    texts = ["what color", "the small blue square on the left of a large red circle ?", "", "red", "a { } ,"]
    for chosen in [*(slice(place, place + 1) for place in range(len(images))), slice(None)]:
        turns = [family.form.replace("{}", text) for text in texts[chosen]]
        assert all(turn.count(placeholder) == 1 for turn in turns)
        theirs = processor(images=images[chosen], text=turns, padding=True, return_tensors="pt")
        ours = family.inputs(images[chosen], texts[chosen])
        assert ours.keys() == {name for name in theirs if name not in ("rows", "cols", "token_type_ids")}
        for name, tensor in ours.items():
            assert tensor.dtype == theirs[name].dtype, name
            torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0)
