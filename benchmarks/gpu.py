"""Florence-2 on a GPU: correctness first, then speed beside transformers, then the record.

    python benchmarks/gpu.py --out OUT [--size base|large]

Correctness: float32 tokens on the GPU equal those on the CPU; float16 tokens equal transformers' float16 tokens (shares
are printed, as near ties may fall either way).  Speed: ours and transformers by turns in one process, the same weights,
images and tokens, after warm-up, with the device synchronised before every clock.  Everything is printed and written to
OUT/gpu.json; where there is no GPU it says so, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.florence2.config import BASE, LARGE, with_text
from harness.florence2.generate import generate, padded
from harness.florence2.search import Decoding
from tests.twins import Twins, twins, with_image_tokens

ROUNDS = 7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--size", choices=("base", "large"), default="base")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no GPU here: not measured")
        return 0
    config = with_text(BASE if given.size == "base" else LARGE, vocab=51328)
    twin = twins(config, seed=0, spread=0.15)
    record: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "size": given.size,
        "float32 tokens equal the CPU's": equal_to_cpu(twin),
    }
    twin.theirs.to("cuda", torch.float16)
    twin.ours.to("cuda", torch.float16)
    record["rows"] = [row(twin, batch, tokens) for batch in (1, 8, 32) for tokens in (20, 100)]
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "gpu.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))
    return 0


def inputs(batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 768, 768, generator=draw), torch.randint(4, 50000, (batch, 10), generator=draw)


def ours(twin: Twins, pixels: torch.Tensor, prompt: torch.Tensor, tokens: int) -> torch.Tensor:
    with torch.inference_mode():
        memory = twin.ours.read(twin.ours.look(pixels), prompt)
        decoding = Decoding(beams=3, max_new_tokens=tokens)
        return padded(generate(twin.ours, memory, decoding), decoding)


def theirs(twin: Twins, pixels: torch.Tensor, prompt: torch.Tensor, tokens: int) -> torch.Tensor:
    real = torch.ones_like(prompt, dtype=torch.bool)
    places, mask = with_image_tokens(twin, prompt.cpu(), real.cpu(), twin.ours.config.image_tokens)
    found: torch.Tensor = twin.theirs.generate(
        input_ids=places.to(pixels.device), attention_mask=mask.to(pixels.device), pixel_values=pixels, num_beams=3,
        max_new_tokens=tokens, do_sample=False, early_stopping=True, no_repeat_ngram_size=3, forced_bos_token_id=0,
        forced_eos_token_id=2, decoder_start_token_id=2, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    return found


def equal_to_cpu(twin: Twins) -> float:
    """The share of rows whose float32 tokens are the same on both devices."""
    pixels, prompt = inputs(4)
    on_cpu = ours(twin, pixels, prompt, 20)
    twin.ours.to("cuda")
    on_gpu = ours(twin, pixels.cuda(), prompt.cuda(), 20).cpu()
    return float((on_cpu == on_gpu).all(1).float().mean())


def row(twin: Twins, batch: int, tokens: int) -> dict[str, Any]:
    """One line of the table: the share of equal rows, both medians and the median ratio."""
    pixels, prompt = inputs(batch, seed=batch)
    pixels, prompt = pixels.to("cuda", torch.float16), prompt.cuda()
    same = ours(twin, pixels, prompt, tokens) == theirs(twin, pixels, prompt, tokens)
    times: tuple[list[float], list[float]] = ([], [])
    calls: tuple[Callable[[], Any], ...] = (
        lambda: ours(twin, pixels, prompt, tokens),
        lambda: theirs(twin, pixels, prompt, tokens),
    )
    for number in range(-2, ROUNDS):
        for place in (0, 1) if number % 2 else (1, 0):
            torch.cuda.synchronize()
            start = time.perf_counter()
            calls[place]()
            torch.cuda.synchronize()
            if number >= 0:
                times[place].append(time.perf_counter() - start)
    mine, other = (statistics.median(one) for one in times)
    return {
        "batch": batch,
        "tokens": tokens,
        "equal rows": float(same.all(1).float().mean()),
        "ours s": mine,
        "transformers s": other,
        "ratio": statistics.median(b / a for a, b in zip(*times, strict=True)),
        "images/s": batch / mine,
        "peak GiB": torch.cuda.max_memory_allocated() / 2**30,
    }


if __name__ == "__main__":
    sys.exit(main())
