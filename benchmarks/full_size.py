r"""Writes a random checkpoint at a published size, in a published layout, to try a run from files to a result.

    python -m benchmarks.full_size --size large --layout original --to FOLDER
    python -m harness run --task refcoco_res --model florence2-l --weights FOLDER --data ROOT \
        --max-new-tokens 20 --limit 5

Answers from random weights do not end by themselves, so --max-new-tokens bounds them.
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
    """Writes the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("base", "large"), required=True, help="published size")
    parser.add_argument("--layout", choices=("original", "native"), required=True, help="file layout")
    parser.add_argument("--to", type=Path, required=True, help="folder of the checkpoint")
    options = parser.parse_args()
    config = BASE if options.size == "base" else LARGE
    if options.layout == "native":
        config = with_text(config, vocab=51328, positions=4096 if options.size == "large" else 1024)
    model = Florence2(config).requires_grad_(False)
    initialise(model, 50269, torch.Generator().manual_seed(0))
    if options.layout == "native":
        weights.save(model, options.to)
    else:
        write_original(config, dict(weights.native_tensors(model, torch.float16)), options.to)
    tokenizer = os.environ.get("FLORENCE2_TOKENIZER")  # a folder with the published vocab.json and merges.txt
    if tokenizer:
        for name in ("vocab.json", "merges.txt"):
            (options.to / name).write_bytes((Path(tokenizer) / name).read_bytes())
    else:
        learn(["a random checkpoint says nothing"] * 3, 1500).backend.save(str(options.to / "tokenizer.json"))
    print(f"{options.size}, {options.layout} layout, in {options.to}")


if __name__ == "__main__":
    main()
