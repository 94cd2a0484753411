"""clip-nano: two small towers on florence2-nano-ft's vision tower, so that retrieval runs offline.

The image tower is florence2-nano-ft's DaViT, unchanged, and two layers on its pooled map.  The text tower is one layer
of BART's encoder on the same tokenizer.  Both end in 64 numbers.  `benchmarks/clip_nano.py` trains them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from baselines.entry import Entry, NoOptions, Setting
from baselines.florence2 import WEIGHTS, choose_device, load_parts
from baselines.licences import PROJECT
from baselines.pretrained import Pretrained
from baselines.towers import KINDS, model_of
from harness.florence2.files import file_digest

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor, nn

    from baselines.batched import Batched
    from harness.florence2.predictor import Parts

ANSWERS_VERSION = 1  # raise it whenever an answer could change
FOLDER = WEIGHTS / "clip-nano"
BASE = WEIGHTS / "florence2-nano-ft"
GRID = 3  # cells of the pooled map on each side
WIDTH, HIDDEN, DIMENSIONS, LENGTH = 96, 192, 64, 62


def heads(features: int) -> nn.ModuleDict:
    """The trained layers: `image` maps pooled features (B, features) to (B, 64), and `text` with `project` ids."""
    from torch import nn

    from harness.florence2.bart import Encoder
    from harness.florence2.config import NANO, TextConfig
    from harness.training.contrastive import TextTower

    vocabulary = NANO.text.vocab
    config = TextConfig(
        width=WIDTH, heads=4, encoder_layers=1, decoder_layers=1, ffn=HIDDEN, positions=LENGTH + 2, vocab=vocabulary
    )
    first, last = nn.Linear(features, HIDDEN), nn.Linear(HIDDEN, DIMENSIONS)
    return nn.ModuleDict({
        "image": nn.Sequential(nn.LayerNorm(features), nn.Dropout(0.2), first, nn.GELU(), last),
        "text": TextTower(nn.Embedding(vocabulary, WIDTH), Encoder(config)),
        "project": nn.Linear(WIDTH, DIMENSIONS, bias=False),
    })  # fmt: skip


class ClipNano:
    """The two towers; a `towers.Towers`.  `trained` has the layers of `heads`."""

    identity = f"clip-nano:v{ANSWERS_VERSION}"

    def __init__(self, parts: Parts, trained: nn.ModuleDict, device: str) -> None:
        self._parts, self._trained, self._device = parts, trained, device

    def pooled(self, images: Sequence[Image.Image]) -> Tensor:
        """The mean, the maximum and a grid of 3 x 3 means of the vision tower's last map, as features (B, F)."""
        import torch
        import torch.nn.functional as F

        pixels = torch.stack([self._parts.preprocess.resize(image) for image in images]).to(self._device)
        seen = self._parts.model.vision(self._parts.preprocess.normalise(pixels))  # (B, H, W, C)
        grid = F.adaptive_avg_pool2d(seen.permute(0, 3, 1, 2), GRID).flatten(1)
        return torch.cat([seen.mean((1, 2)), seen.amax((1, 2)), grid], dim=1)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, uncut."""
        return [self._parts.tokenizer.encode(text) for text in texts]

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Images to vectors (B, 64)."""
        vectors: Tensor = self._trained["image"](self.pooled(images))
        return vectors

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Sequence[bool]]:
        """Texts to vectors (B, 64), and whether each was cut at 62 tokens."""
        from harness.training.lessons import pad

        whole = self.ids(texts)
        tokens = pad([np.asarray(ids[:LENGTH], np.int64) for ids in whole]).to(self._device)
        return self._trained["project"](self._trained["text"](tokens)), [len(ids) > LENGTH for ids in whole]


def features_of(parts: Parts) -> int:
    """The number of pooled features of an image."""
    return parts.model.config.vision.dims[-1] * (2 + GRID**2)


def build(setting: Setting, _: NoOptions) -> Batched:
    """The model with the weights of the project."""
    from safetensors.torch import load_file

    device = choose_device(setting.device)
    parts = load_parts(BASE)
    parts.model.float().eval().to(device)
    trained = heads(features_of(parts))
    path = FOLDER / "model.safetensors"
    trained.load_state_dict(load_file(path))
    trained.float().eval().to(device)
    digest = f"{file_digest([path])[:12]}+{parts.sha256[:12]}"
    used = [*parts.model.vision.parameters(), *trained.parameters()]
    facts = {
        "device": device, "weights sha256": digest, "precision": "float32",
        "parameters": sum(parameter.numel() for parameter in used),
    }  # fmt: skip
    loaded = Pretrained(parts.model, FOLDER, f"{digest}:float32", facts)
    return model_of(ClipNano(parts, trained, device), loaded, setting)


def _at_hand() -> str:
    return str(FOLDER) if (FOLDER / "model.safetensors").is_file() else ""


ENTRIES = (
    Entry(
        name="clip-nano",
        about="two small towers for retrieval on the embedded benchmark; it knows only its drawings",
        build=build,
        uses=frozenset({"device", "batch_size"}),
        kinds=KINDS,
        at_hand=_at_hand,
        parameters="2.4 M",
        repo="(with the project)",
        licence=PROJECT,
        embedded=True,
        protocol="fine_tuned",
    ),
)
