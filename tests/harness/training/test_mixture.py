"""The mixture: every unit once per epoch for any number of processes, resumed runs, and worker processes."""

from __future__ import annotations

import gc
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from harness.core import Question, Sample, Size, Text
from harness.errors import DataError, ResourceError
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import Tokenizer
from harness.training import loop
from harness.training.lessons import Batch
from harness.training.mixture import Mixture, mixture_batches
from harness.training.parallel import Ranks
from harness.training.recipe import Mixing, Plan, Recipe
from harness.training.skipping import SkippedImages
from harness.training.stores import Store, write_store
from tests.harness.training.tiny import ScriptedLoss

WEIGHTS = Path(__file__).parents[3] / "baselines/weights/florence2-nano"
SIZE = Size(40, 30)


def _samples(images: int, questions: int) -> Iterator[Sample[Text]]:
    for image in range(images):
        for number in range(questions):
            question = Question(f"{image}.png", SIZE, "vqa", f"what is {image} {number}?")
            yield Sample(f"{image}-{number}", question, Text((f"answer {image} {number}",)), f"{image}.png")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(WEIGHTS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for image in range(7):
        Image.fromarray(np.full((30, 40, 3), 30 * image, np.uint8)).save(tmp_path / f"{image}.png")
    return tmp_path


def _store(tmp_path: Path, tokenizer: Tokenizer, images: int, questions: int, name: str) -> Store:
    return write_store(
        tmp_path / name, _samples(images, questions), tokenizer, tmp_path, questions=2, limits=(100, 100), name=name
    )


def _recipe(steps: int, batch: int, accumulate: int = 1) -> Recipe:
    plan = Plan(steps=steps, batch=batch, rate=1e-9, accumulate=accumulate)
    return Recipe(name="mixed", about="", plan=plan, data=Mixing(tasks={"one": 1.0, "two": 3.0}))


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_places_of_any_processes_and_parts_have_every_unit_once_per_epoch(
    world: int, accumulate: int, root: Path, tokenizer: Tokenizer
) -> None:
    stores = {"one": _store(root, tokenizer, 5, 2, "one"), "two": _store(root, tokenizer, 7, 4, "two")}
    mixture = Mixture(stores, {"one": 1.0, "two": 3.0}, seed=4)
    seen: list[tuple[int, int, int]] = []
    for step in mixture.places(0, 40, 12):
        shares = [[step[i] for i in part] for r in range(world) for part in Ranks(r, world).parts(12, accumulate)]
        flat = [place for share in shares for place in share]
        assert sorted(flat) == sorted(step)  # no place twice, none left out
        seen += step
    counts = Counter(task for task, _, _ in seen)
    assert counts[1] / len(seen) == pytest.approx(0.75, abs=0.06)  # 480 places: two standard errors are 4 %
    for task, units in ((0, 5), (1, 14)):
        for epoch in range(counts[task] // units):
            assert sorted(unit for t, unit, e in seen if (t, e) == (task, epoch)) == list(range(units))


def test_places_from_a_later_step_are_those_of_the_whole_run(root: Path, tokenizer: Tokenizer) -> None:
    mixture = Mixture({"one": _store(root, tokenizer, 5, 2, "one")}, {"one": 1.0}, seed=1)
    whole = list(mixture.places(0, 20, 3))
    assert list(mixture.places(13, 20, 3)) == whole[13:]
    assert whole != list(replace(mixture, seed=2).places(0, 20, 3))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_mixture_batches_have_the_images_with_their_questions(workers: int, root: Path, tokenizer: Tokenizer) -> None:
    stores = {"one": _store(root, tokenizer, 5, 2, "one"), "two": _store(root, tokenizer, 7, 4, "two")}
    mixture, recipe = Mixture(stores, {"one": 1.0, "two": 3.0}, seed=4), _recipe(6, 4, accumulate=2)
    batches = mixture_batches(recipe, mixture, root, Preprocess(8, 8), workers=workers)
    expected = list(mixture.places(2, 6, 4))
    for step, parts in zip(expected, batches(2), strict=True):
        assert len(parts) == 2
        for number, part in enumerate(parts):
            for place, (task, unit, epoch) in enumerate(step[number::2]):
                name = ("one", "two")[task]
                image, examples = stores[name].unit(unit, epoch)
                assert part.names[place] == image
                assert set(part.pixels[place].flatten().tolist()) == {30 * int(image[0])}
                prompts = [i for i, image_place in enumerate(part.image.tolist()) if image_place == place]
                assert [part.kinds[i] for i in prompts] == [name] * len(examples)
                assert [list(part.answers[i]) for i in prompts] == [list(answer) for _, answer in examples]


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_mixture_batches_with_missing_image_name_it(workers: int, root: Path, tokenizer: Tokenizer) -> None:
    (root / "3.png").unlink()
    mixture = Mixture({"one": _store(root, tokenizer, 7, 1, "one")}, {"one": 1.0}, seed=0)
    batches = mixture_batches(_recipe(3, 7), mixture, root, Preprocess(8, 8), workers=workers)
    with pytest.raises(DataError, match=r"3\.png") as raised:
        next(batches(0))
    assert "Traceback" not in str(raised.value)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_mixture_batches_with_bad_images_take_the_next_unit_and_count_them(
    workers: int, root: Path, tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Images 3 and 4 of 7 are bad; both have two units, which are neighbours in the store."""
    (root / "3.png").unlink()
    (root / "4.png").write_bytes((root / "4.png").read_bytes()[:40])
    store = _store(root, tokenizer, 7, 4, "one")
    mixture = Mixture({"one": store}, {"one": 1.0}, seed=0)
    skipped = SkippedImages(tmp_path / "skipped.json", 2)
    batches = mixture_batches(_recipe(2, 14), mixture, root, Preprocess(8, 8), workers=workers, skipped=skipped)
    for [batch], places in zip(batches(0), mixture.places(0, 2, 14), strict=True):  # one epoch per step: 7 x 2 units
        expected = [store.unit(unit, 0)[0] for _, unit, _ in places]
        assert batch.names == ["5.png" if name in ("3.png", "4.png") else name for name in expected]
        assert len(batch.pixels) == 14
    assert sorted(skipped.reasons) == ["3.png", "4.png"]
    assert "3.png is not there" in skipped.reasons["3.png"] and "4.png cannot be decoded" in skipped.reasons["4.png"]
    assert len([line for line in caplog.messages if line.startswith("skipped: the image ")]) == 2  # each named once
    assert SkippedImages(tmp_path / "skipped.json", 2).reasons == skipped.reasons  # a resumed run goes on counting


@pytest.mark.parametrize("most", [0, 1])
def test_mixture_batches_with_too_many_bad_images_raise(
    most: int, root: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    for name in ("3.png", "5.png"):
        (root / name).write_bytes(b"no image")
    mixture = Mixture({"one": _store(root, tokenizer, 7, 1, "one")}, {"one": 1.0}, seed=0)
    skipped = SkippedImages(tmp_path / "skipped.json", most)
    batches = mixture_batches(_recipe(3, 7), mixture, root, Preprocess(8, 8), skipped=skipped)
    with pytest.raises(DataError, match="cannot be decoded" if most == 0 else "2 training images cannot be read, and"):
        next(batches(0))


class _WorkerKiller(ScriptedLoss):
    """Kills the worker processes of the data loader in every step."""

    def __init__(self, losses: Iterable[float], others: set[int]) -> None:
        super().__init__(losses)
        self.others = others  # child processes that were there before

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        for child in psutil.Process().children():
            # multiprocessing's resource tracker is a child too
            if child.pid not in self.others and "spawn_main" in " ".join(child.cmdline()):
                child.send_signal(signal.SIGKILL)
        return super().forward(batch)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch's loader, when collected
def test_fit_with_dead_worker_reports_it(root: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    mixture = Mixture({"one": _store(root, tokenizer, 7, 2, "one")}, {"one": 1.0}, seed=0)
    recipe = _recipe(400, 4)
    batches = mixture_batches(recipe, mixture, root, Preprocess(8, 8), workers=1)
    killer = _WorkerKiller([1.0] * 400, {child.pid for child in psutil.Process().children()})
    with pytest.raises(ResourceError, match=r"a worker process that reads images died .* the same command again"):
        loop.fit(killer, batches, recipe.plan, tmp_path / "out")
    gc.collect()  # collects the loader here, and not during another test
