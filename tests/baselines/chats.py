"""What the tests of chat models share: transformers' own processors, the comparison with them, and loading by a hub.

The processors of these families refuse to be made without torchvision, for their video processors alone.  Here they are
made without calling `__init__`, from the parts that images need; `__call__` is transformers' own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

from baselines.chat import Chat
from baselines.entry import Entry, Setting
from harness.core import Question
from harness.errors import CheckpointError
from tests.baselines import rivals
from tests.hub import serving


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


def check_hub(entry: Entry, folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of several shards is downloaded once and then loaded without the hub; a gated one is explained."""
    repository = path / "repository"
    shutil.copytree(folder, repository, ignore=shutil.ignore_patterns("*.safetensors"))
    AutoModelForImageTextToText.from_pretrained(folder).save_pretrained(repository, max_shard_size="100KB")
    assert len(list(repository.glob("*.safetensors"))) > 1
    [name, *_] = rivals.images(path)
    asked = [(0, Question(name, None, "vqa", text="what color is the circle"))]

    def raw(weights: str | None) -> tuple[str, ...]:
        model = entry.load(Setting(root=path, weights=weights, device="cpu"), max_new_tokens=8)
        return rivals.answers(model, asked)[0].raw

    url = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with serving({(entry.repo, "main"): repository}) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + url)
        hub.gated.add(entry.repo)
        with pytest.raises(CheckpointError, match=f"(?s){entry.repo}.*(gated|licence|token)"):
            raw(None)
        hub.gated.clear()
        assert entry.at_hand() == ""
        expected = raw(str(folder))
        assert raw(None) == expected
        asked_before = len(hub.asked)
        assert raw(None) == expected
        assert len(hub.asked) == asked_before
    assert raw(None) == expected  # the hub is gone
    assert entry.at_hand()
