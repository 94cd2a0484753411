"""Trains clip-nano: `python benchmarks/clip_nano.py ROOT`, minutes on one core.

ROOT is the miniature's training root (`tasks.miniature.ensure_training()`): 5,000 drawn images with five captions each,
none of which is in a benchmark.  Writes baselines/weights/clip-nano/model.safetensors in float16.

UniCL's loss on batches of 256 images with one caption each; AdamW, one cycle of the rate up to 2e-3, weight decay 0.05,
300 steps, seed 0.  florence2-nano-ft's vision tower is frozen, so the images are seen once.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from baselines.clip_nano import BASE, FOLDER, LENGTH, WIDTH, ClipNano, features_of, heads
from baselines.florence2 import load_parts
from harness.data import karpathy
from harness.training.contrastive import labels_of, pair_loss
from harness.training.lessons import pad

STEPS, BATCH, RATE, DECAY = 300, 256, 2e-3, 0.05


def train(features: Tensor, captions: list[list[list[int]]], trained: nn.ModuleDict, steps: int, batch: int) -> float:
    """Trains the layers in place on pooled features (N, F) and the ids of each image's captions; the last loss."""
    draw = torch.Generator().manual_seed(0)
    scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    weights = [*trained.parameters(), scale]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    loss = torch.tensor(0.0)
    for _ in tqdm(range(steps), "training", disable=None):
        chosen = torch.randperm(len(features), generator=draw)[:batch].tolist()
        rows = [captions[image] for image in chosen]
        texts = [row[int(torch.randint(len(row), (1,), generator=draw))] for row in rows]
        tokens = pad([ids[:LENGTH] for ids in texts])
        images = F.normalize(trained["image"](features[chosen]), dim=-1)
        read = F.normalize(trained["project"](trained["text"](tokens)), dim=-1)
        loss = pair_loss(scale.exp().clamp(max=100) * images @ read.T, labels_of(tokens))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return float(loss.detach())


def main(root: Path) -> None:
    """Trains on the images and captions of a root, and writes the weights."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    parts = load_parts(BASE)
    parts.model.float().eval()
    trained = heads(features_of(parts))
    nn.init.normal_(trained["text"].embedding.weight, std=WIDTH**-0.5)  # type: ignore[arg-type]
    towers = ClipNano(parts, trained, "cpu")
    images = karpathy.read(root / "coco/dataset_coco.json", "train", "")
    paths = [root / "coco" / image.filepath / image.filename for image in images]
    with torch.no_grad():
        chunks = [paths[start : start + 32] for start in range(0, len(paths), 32)]
        seen = [towers.pooled([Image.open(path).convert("RGB") for path in chunk]) for chunk in tqdm(chunks, "images")]
    captions = [towers.ids([sentence.raw for sentence in image.sentences]) for image in images]
    print("loss", train(torch.cat(seen), captions, trained, STEPS, BATCH))
    FOLDER.mkdir(exist_ok=True)
    halves = {name: tensor.half().contiguous() for name, tensor in trained.state_dict().items()}
    save_file(halves, FOLDER / "model.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
