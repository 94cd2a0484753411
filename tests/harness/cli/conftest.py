"""What tests of commands stand on: a small data root, a tiny checkpoint, and a way to call `main`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.cli import main
from harness.florence2.config import with_text
from harness.training.vocabulary import learn
from tests import refer_files
from tests.harness.cli.calling import Call, Outcome
from tests.layouts import write_original
from tests.twins import TINY, twins


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """`main` in this process, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def call_here(*arguments: str | Path) -> Outcome:
        status = main([str(argument) for argument in arguments])
        outcome = capsys.readouterr()
        return Outcome(status, outcome.out, outcome.err)

    return call_here


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RefCOCO root of two images, in the published files."""
    folder = tmp_path_factory.mktemp("data")
    refer_files.write(folder)
    images = folder / "coco/train2014"
    images.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for number in (7, 8):
        pixels = draw.integers(0, 256, (10, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"COCO_train2014_{number:012d}.jpg")
    return folder


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint in Microsoft's layout, float16, with a tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    twin = twins(with_text(TINY, vocab=1400), ending=10.0)
    state = {k: v for k, v in twin.reference.state_dict().items() if "embed_tokens" not in k and "lm_head" not in k}
    write_original(with_text(TINY, vocab=1400), state, folder)
    learn(["the left one the red car in the image"] * 3, 1399).backend.save(str(folder / "tokenizer.json"))
    return folder
