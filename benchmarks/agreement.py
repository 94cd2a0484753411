"""Agreement of lower precisions with float32: the share of positions with the same most likely next token.

    python benchmarks/agreement.py [--model florence2-nano-ft] [--questions 40]

Teacher-forced: both precisions receive the same text, the model's own float32 answer (3 beams) to questions of seven
tasks of the embedded benchmark.  Every token of an answer is a position.  Location tokens and words are reported
separately, since neighbouring location bins are nearly alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

import baselines
import tasks
from baselines.florence2 import load_parts
from harness import runner
from harness.core import Sample
from harness.evaluation.plan import load
from harness.florence2 import prompts
from harness.florence2.decoding.generate import generate, padded
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast.choose import accelerated
from harness.florence2.fast.quantised import FLOAT8
from harness.florence2.predictor import Parts
from harness.florence2.tokenizer import PAD
from harness.images import open_rgb
from tasks.miniature import ensure

TASKS = ("coco_caption", "coco_detection", "flickr30k", "refcoco", "refcoco_res", "vqav2", "textcaps")
PRECISIONS = (torch.float16, torch.bfloat16, torch.int8, FLOAT8)
BATCH = 20
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]  # uint8 pixels, prompt, its mask, answer


def main() -> None:
    """Prints one line per precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="florence2-nano-ft", help="model name (florence2-nano-ft)")
    parser.add_argument("--questions", type=int, default=40, help="number of questions per task (40)")
    options = parser.parse_args()
    folder, root = baselines.find(options.model).checkpoint(None), ensure()
    parts = load_parts(folder)
    accelerated(parts.model, torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        batches = []
        for name in TASKS:
            [task] = tasks.select(name)
            samples = runner.choose(load(task, root, task.splits[0]), options.questions, 0)[: options.questions]
            batches += [
                batch_of(parts, samples[first : first + BATCH], root) for first in range(0, len(samples), BATCH)
            ]  # fmt: skip
        exact = [most_likely(parts, batch, torch.float32) for batch in batches]
        for precision in PRECISIONS:
            rounded = load_parts(folder)
            accelerated(rounded.model, torch.device("cpu"), precision)
            print(json.dumps({"precision": str(precision), **agreement(rounded, batches, exact)}), flush=True)


def batch_of(parts: Parts, samples: list[Sample[object]], root: Path) -> Batch:
    """Returns the questions of the samples as a batch, with the answers of the model in float32."""
    forms = prompts.choose()
    texts = [prompts.prompts_of(sample.question, forms[sample.question.kind])[0] for sample in samples]
    ids = [parts.tokenizer.encode(text) for text in texts]
    longest = max(map(len, ids))
    prompt = torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in ids])
    real = torch.arange(longest) < torch.tensor([len(row) for row in ids])[:, None]
    pixels = torch.stack([parts.preprocess.resize(open_rgb(root, sample.question.image)) for sample in samples])
    memory = parts.model.encode(parts.model.encode_image(parts.preprocess.normalise(pixels)), prompt, real)
    decoding = Decoding(max_new_tokens=parts.model.config.text.positions)
    return pixels, prompt, real, padded(generate(parts.model, memory, decoding), decoding)


def most_likely(parts: Parts, batch: Batch, precision: torch.dtype) -> torch.Tensor:
    """Returns (B, T): the most likely next token after each token of the answers but the last."""
    pixels, prompt, real, answer = batch
    logits: torch.Tensor = parts.model(parts.preprocess.normalise(pixels, precision), prompt, real, answer[:, :-1])
    return logits.argmax(-1)


def agreement(parts: Parts, batches: list[Batch], exact: list[torch.Tensor]) -> dict[str, float]:
    """Returns the percentage of positions with float32's most likely token: of all, of words and of locations."""
    first_bin = parts.tokenizer.first_bin
    same: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for batch, expected in zip(batches, exact, strict=True):
        tokens = most_likely(parts, batch, parts.model.vision.dtype)
        following = batch[3][:, 1:]
        for kind, members in (("words", following < first_bin), ("locations", following >= first_bin)):
            counted = members & (following != PAD)
            places[kind] += int(counted.sum())
            same[kind] += int((counted & (tokens == expected)).sum())
    percent = {kind: 100 * same[kind] / places[kind] for kind in places}
    return {"all": 100 * sum(same.values()) / sum(places.values()), **percent, "places": sum(places.values())}


if __name__ == "__main__":
    main()
