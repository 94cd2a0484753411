"""Micro-benchmarks of single parts, milliseconds each, to find parts that a change makes slower (`make bench-base`).

python -m pytest benchmarks/test_micro.py -o addopts= -p benchmark --benchmark-only
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import baselines
from harness.core import Answer, Boxes, Estimate, Question, Run, Size
from harness.florence2 import locations
from harness.florence2.decoding.generate import generate
from harness.florence2.decoding.search import Decoding
from harness.florence2.preprocess import Preprocess
from harness.geometry.masks import from_coco, overlap, rasterise
from harness.metrics import captions, coco_eval
from harness.metrics.average_precision import Detections, Truth
from harness.store import Kept, RunFolder
from harness.store import runs as every_run
from tests import toy

Benchmark = Callable[..., Any]
WORDS = ["a", "red", "cup", "on", "the", "table", "beside", "two", "blue", "cars", "under", "an", "old", "tree"]


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """florence2-nano over images of noise."""
    root = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for place in range(8):
        Image.fromarray(draw.integers(0, 255, (240, 320, 3), dtype=np.uint8)).save(root / f"{place}.png")
    torch.set_num_threads(1)
    return baselines.find("florence2-nano").load(baselines.Setting(root=root, device="cpu", batch_size=16))


def questions() -> list[tuple[int, Question]]:
    return [
        (place, Question(f"{place % 8}.png", Size(320, 240), "refer", f"the red cup {place}")) for place in range(32)
    ]


def test_answers(benchmark: Benchmark, nano: Any) -> None:
    assert len(benchmark(lambda: list(nano.answer(questions())))) == 32


def test_look(benchmark: Benchmark, nano: Any) -> None:
    pixels = torch.zeros(8, 3, 128, 128)
    with torch.inference_mode():
        assert len(benchmark(nano.model.encode_image, pixels)) == 8


def test_read(benchmark: Benchmark, nano: Any) -> None:
    with torch.inference_mode():
        image = nano.model.encode_image(torch.zeros(1, 3, 128, 128)).expand(16, -1, -1)
        prompts = torch.full((16, 12), 5)
        assert benchmark(nano.model.encode, image, prompts).keys.shape[1] == 16


@pytest.mark.parametrize("beams", [1, 3])
def test_write(benchmark: Benchmark, nano: Any, beams: int) -> None:
    decoding = Decoding(beams=beams, max_new_tokens=12, min_new_tokens=12)
    with torch.inference_mode():
        memory = nano.model.encode(nano.model.encode_image(torch.zeros(16, 3, 128, 128)), torch.full((16, 12), 5))
        assert len(benchmark(generate, nano.model, memory, decoding)) == 16


def test_resize(benchmark: Benchmark) -> None:
    image = Image.effect_noise((640, 480), 90).convert("RGB")
    assert benchmark(Preprocess(768, 768).resize, image).shape == (768, 768, 3)


def test_tokenise(benchmark: Benchmark, nano: Any) -> None:
    texts = [" ".join(WORDS[: 1 + place % 14]) for place in range(200)]
    assert len(benchmark(lambda: [nano.tokenizer.encode(text) for text in texts])) == 200


def test_read_boxes(benchmark: Benchmark) -> None:
    items = locations.items("cup<loc_10><loc_20><loc_300><loc_400>" * 50)
    assert len(benchmark(locations.read_boxes, items, Size(640, 480)).boxes) == 50


def test_masks(benchmark: Benchmark) -> None:
    draw, size = np.random.default_rng(0), Size(640, 480)
    outlines = [from_coco([(draw.random(60) * 400).tolist()], size) for _ in range(20)]

    def overlaps() -> list[tuple[int, int]]:
        masks = [rasterise(outline, size) for outline in outlines]
        return [overlap(first, second) for first, second in pairwise(masks)]

    assert len(benchmark(overlaps)) == 19


def test_cider(benchmark: Benchmark) -> None:
    draw = np.random.default_rng(0)
    candidates = [" ".join(draw.choice(WORDS, 9)) for _ in range(200)]
    references = [[" ".join(draw.choice(WORDS, 10)) for _ in range(5)] for _ in candidates]
    assert len(benchmark(captions.mark, candidates, references).cider) == 200


def test_average_precision(benchmark: Benchmark) -> None:
    draw = np.random.default_rng(0)
    image, category = draw.integers(0, 100, 700), draw.integers(0, 20, 700)
    boxes = np.concatenate([draw.uniform(0, 400, (700, 2)), draw.uniform(10, 90, (700, 2))], axis=1)
    truth = Truth(image, category, boxes, boxes[:, 2] * boxes[:, 3], np.zeros(700, np.bool_))
    detections = Detections(image, category, boxes + draw.uniform(0, 5, boxes.shape), draw.random(700))
    assert benchmark(lambda: coco_eval.match(truth, detections, 100, 20).average_precision(np.ones(100))) > 0


def test_keep_answers(benchmark: Benchmark, tmp_path: Path) -> None:
    answer = Answer(("x<loc_1><loc_2><loc_3><loc_4>",), Boxes(((1.0, 2.0, 3.0, 4.0),), ("x",), (0.5,), (0.5,)), 6)
    folder = RunFolder(tmp_path)

    def keep() -> int:
        with folder.appending() as appender:
            for place in range(300):
                appender.write(Kept(str(place), "digest", answer))
        return len(folder.answers())

    assert benchmark.pedantic(keep, rounds=20, setup=folder.forget) == 300  # type: ignore[attr-defined]


def test_list_runs(benchmark: Benchmark, tmp_path: Path) -> None:
    for place in range(200):
        run = Run(
            schema=1, id=str(place), spec=toy.spec(toy.task()), status="complete", headline="a",
            metrics={name: Estimate(1.0, 0.0, 2.0, 9) for name in "abcdef"},
        )  # fmt: skip
        RunFolder(tmp_path / str(place)).write_run(run)
    assert len(benchmark(lambda: list(every_run(tmp_path)))) == 200
