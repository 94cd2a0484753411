r"""A random checkpoint at a published size, in the files of a published layout: for a look at the whole way through.

    python -m benchmarks.full_size --size large --layout original --to FOLDER
    python -m harness run --task refcoco_res --model florence2-l --weights FOLDER --data ROOT \
        --max-new-tokens 20 --limit 5

Random weights never stop by themselves, so the answers are bounded.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from harness.florence2 import weights
from harness.florence2.config import BASE, LARGE, with_text
from harness.florence2.model import Florence2
from harness.florence2.start import initialise
from harness.training.vocabulary import learn
from tests.layouts import write_original


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("base", "large"), required=True)
    parser.add_argument("--layout", choices=("original", "native"), required=True)
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args()
    config = BASE if given.size == "base" else LARGE
    if given.layout == "native":
        config = with_text(config, vocab=51328, positions=4096 if given.size == "large" else 1024)
    model = Florence2(config).requires_grad_(False)
    initialise(model, 50269, torch.Generator().manual_seed(0))
    if given.layout == "native":
        weights.save(model, given.to)
    else:
        write_original(config, dict(weights.native_tensors(model, torch.float16)), given.to)
    published = os.environ.get("FLORENCE2_TOKENIZER")  # a folder with the published vocab.json and merges.txt
    if published:
        for name in ("vocab.json", "merges.txt"):
            (given.to / name).write_bytes((Path(published) / name).read_bytes())
    else:
        learn(["a random checkpoint says nothing"] * 3, 1500).backend.save(str(given.to / "tokenizer.json"))
    print(f"{given.size}, {given.layout} layout, in {given.to}")


if __name__ == "__main__":
    main()
