"""SigLIP, SigLIP 2 and NaFlex at tiny size: their vectors are those of transformers' own use by the authors' rules."""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from baselines import siglip
from baselines.entry import Entry, Setting
from harness.core import Embedding, Question
from harness.errors import CheckpointError
from tests.baselines import rivals

ENTRIES = {entry.name: entry for entry in siglip.ENTRIES}
TEXTS = ("red circle", "the small blue square on the left of a large red circle", "a " * 100)
COMMON: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
}  # fmt: skip


def tokenizer(name: str) -> Any:
    """Of words, padding on the left; for NaFlex the class that AutoTokenizer takes for it, of letters."""
    if "naflex" in name:
        letters = {
            token: place for place, token in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", *"▁", *ascii_lowercase])
        }
        return Siglip2Tokenizer(vocab=letters, merges=[])
    words = rivals.word_tokenizer(("<pad>", "</s>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", padding_side="left"
    )


@pytest.fixture(scope="module", params=["siglip-b-16-224", "siglip2-b-16-naflex"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, Path]:
    """An entry with a checkpoint of its kind.  NaFlex has patches of 8 and at most 20, unlike Siglip2Processor's."""
    folder = tmp_path_factory.mktemp(request.param)
    texts = {
        **COMMON,
        "vocab_size": len(tokenizer(request.param)),
        "max_position_embeddings": 64,
        "projection_size": 32,
    }
    torch.manual_seed(0)
    pixels: Any
    if "naflex" in request.param:
        vision = {**COMMON, "num_patches": 16, "patch_size": 8}
        Siglip2Model(Siglip2Config(text_config=texts, vision_config=vision)).save_pretrained(folder)
        pixels = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=20)
    else:
        vision = {**COMMON, "image_size": 32, "patch_size": 8}
        SiglipModel(SiglipConfig(text_config=texts, vision_config=vision)).save_pretrained(folder)
        pixels = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    pixels.save_pretrained(folder)
    tokenizer(request.param).save_pretrained(folder)
    return ENTRIES[request.param], folder


def vectors(entry: Entry, folder: Path, root: Path, questions: list[Question], size: int = 4) -> Any:
    model = entry.load(Setting(root=root, weights=str(folder), device="cpu", batch_size=size))
    answers = rivals.answers(model, list(enumerate(questions)))
    values = [answers[ticket].value for ticket in range(len(questions))]
    return np.concatenate([value.array for value in values if isinstance(value, Embedding)])


def test_vectors_equal_those_of_transformers_by_the_authors_rules(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    """Texts: 64 ids with padding on the right and no attention mask.  Images: the checkpoint's own patches."""
    entry, folder = tiny
    names = rivals.images(tmp_path)
    naflex = "naflex" in entry.name
    theirs: Any = (Siglip2Model if naflex else SiglipModel).from_pretrained(folder)
    pictures = [Image.open(tmp_path / name) for name in names]
    settings = {"patch_size": 8, "max_num_patches": 20} if naflex else {}
    kind: Any = Siglip2ImageProcessorPil if naflex else SiglipImageProcessorPil
    pixels = kind.from_pretrained(folder)(pictures, return_tensors="pt", **settings)
    ids = torch.zeros(len(TEXTS), 64, dtype=torch.long)  # <pad> is 0
    for place, text in enumerate(TEXTS):
        tokens = tokenizer(entry.name)(text)["input_ids"][:64]
        ids[place, : len(tokens)] = torch.tensor(tokens)
    with torch.no_grad():
        output = theirs(input_ids=ids, **pixels)  # normalises
    questions = [Question(name, None, "embed") for name in names]
    questions += [Question("", None, "embed", text=text) for text in TEXTS]
    expected = torch.cat([output.image_embeds, output.text_embeds]).numpy()
    np.testing.assert_allclose(vectors(entry, folder, tmp_path, questions), expected, atol=1e-3)


def test_vectors_do_not_depend_on_the_batch(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    questions = [Question(name, None, "embed") for name in rivals.images(tmp_path)]
    questions += [Question("", None, "embed", text=text) for text in TEXTS]
    alone = vectors(entry, folder, tmp_path, questions, 1)
    np.testing.assert_allclose(vectors(entry, folder, tmp_path, questions[::-1], 5)[::-1], alone, atol=1e-3)


def test_captions_are_in_lower_case_as_in_training(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    questions = [Question("", None, "embed", text=text) for text in ("Red CIRCLE", "red circle")]
    upper, lower = vectors(entry, folder, tmp_path, questions)
    assert upper.tolist() == lower.tolist()


def test_checkpoint_of_the_other_kind_is_refused(tiny: tuple[Entry, Path]) -> None:
    entry, folder = tiny
    other = ENTRIES["siglip-b-16-224" if "naflex" in entry.name else "siglip2-b-16-naflex"]
    with pytest.raises(CheckpointError, match="this entry needs 'siglip"):
        other.load(Setting(weights=str(folder), device="cpu"))


def test_checkpoint_of_the_hub_is_downloaded_once(
    tiny: tuple[Entry, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, folder = tiny
    rivals.check_hub(entry, folder, tmp_path / "cache", monkeypatch)
