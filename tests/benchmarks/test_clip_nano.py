"""The training of clip-nano on features that tell the captions apart."""

from __future__ import annotations

import torch

from baselines.clip_nano import heads
from benchmarks.clip_nano import train


def test_training_learns_which_caption_belongs_to_which_features() -> None:
    """Eight images with captions of their own; by chance, the loss is ln 8 = 2.08."""
    torch.manual_seed(0)
    features = torch.randn(8, 24)
    captions = [[[0, 10 + image, 2], [0, 40 + image, 2]] for image in range(8)]
    trained = heads(24)
    assert train(features, captions, trained, steps=60, batch=8) < 0.3
    again = heads(24)
    again.load_state_dict(trained.state_dict())
    tokens = torch.tensor([captions[image][1] for image in range(8)])
    for module in (trained, again):
        module.eval()
    read = again["project"](again["text"](tokens))
    assert (again["image"](features) @ read.T).argmax(1).tolist() == list(range(8))
