"""What is lost in fewer bits: how often the likeliest next token is float32's, when both are given the same text.

    python benchmarks/agreement.py [--model florence2-nano-ft] [--questions 40]

The text is the model's own float32 answer (3 beams) to questions of seven of the embedded benchmark's tasks, and every
token of it is one place.  Location tokens are told apart from words: bins beside one another are nearly alike.
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
from harness.images import open_rgb
from tasks.miniature import ensure

TASKS = ("coco_caption", "coco_detection", "flickr30k", "refcoco", "refcoco_res", "vqav2", "textcaps")
PRECISIONS = (torch.float16, torch.bfloat16, torch.int8, FLOAT8)
BATCH = 20
Given = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]  # uint8 pixels, prompt, which are real, answer


def main() -> None:
    """Prints a line a precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="florence2-nano-ft")
    parser.add_argument("--questions", type=int, default=40, help="of each task")
    given = parser.parse_args()
    folder, root = baselines.find(given.model).checkpoint(None), ensure()
    parts = load_parts(folder)
    accelerated(parts.model, torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        batches = []
        for name in TASKS:
            [task] = tasks.select(name)
            samples = runner.choose(load(task, root, task.splits[0]), given.questions, 0)[: given.questions]
            batches += [
                asked(parts, samples[first : first + BATCH], root) for first in range(0, len(samples), BATCH)
            ]  # fmt: skip
        exact = [likeliest(parts, batch, torch.float32) for batch in batches]
        for precision in PRECISIONS:
            less = load_parts(folder)
            accelerated(less.model, torch.device("cpu"), precision)
            print(json.dumps({"precision": str(precision), **compared(less, batches, exact)}), flush=True)


def asked(parts: Parts, samples: list[Sample[object]], root: Path) -> Given:
    """A batch, and what the model answers in float32."""
    forms = prompts.choose()
    texts = [prompts.prompts_of(sample.question, forms[sample.question.kind])[0] for sample in samples]
    ids = [parts.tokenizer.encode(text) for text in texts]
    longest = max(map(len, ids))
    prompt = torch.tensor([[*one, *[1] * (longest - len(one))] for one in ids])
    real = torch.arange(longest) < torch.tensor([len(one) for one in ids])[:, None]
    pixels = torch.stack([parts.preprocess.resize(open_rgb(root, sample.question.image)) for sample in samples])
    memory = parts.model.read(parts.model.look(parts.preprocess.normalise(pixels)), prompt, real)
    decoding = Decoding(max_new_tokens=parts.model.config.text.positions)
    return pixels, prompt, real, padded(generate(parts.model, memory, decoding), decoding)


def likeliest(parts: Parts, batch: Given, precision: torch.dtype) -> torch.Tensor:
    """(B, T): the likeliest token after each of the answer's."""
    pixels, prompt, real, answer = batch
    logits: torch.Tensor = parts.model(parts.preprocess.normalise(pixels, precision), prompt, real, answer[:, :-1])
    return logits.argmax(-1)


def compared(parts: Parts, batches: list[Given], exact: list[torch.Tensor]) -> dict[str, float]:
    """Percent of places, and of those that are words and locations."""
    first_bin = parts.tokenizer.first_bin
    same: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for batch, expected in zip(batches, exact, strict=True):
        found = likeliest(parts, batch, parts.model.vision.dtype)
        after = batch[3][:, 1:]
        for kind, of_it in (("words", after < first_bin), ("locations", after >= first_bin)):
            counted = of_it & (after != 1)
            places[kind] += int(counted.sum())
            same[kind] += int((counted & (found == expected)).sum())
    percent = {kind: 100 * same[kind] / places[kind] for kind in places}
    return {"all": 100 * sum(same.values()) / sum(places.values()), **percent, "places": sum(places.values())}


if __name__ == "__main__":
    main()
