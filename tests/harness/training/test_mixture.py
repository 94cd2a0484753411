"""The mixture: every unit once an epoch whatever the processes, targets as they are written, stores as flat files."""

from __future__ import annotations

import gc
import pickle
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.core import Boxes, Objects, Phrase, Polygons, Question, Sample, Size, Text
from harness.errors import DataError, ResourceError
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import Tokenizer
from harness.geometry.masks import rasterise
from harness.training import loop, mixture
from harness.training.mixture import Mixture
from harness.training.parallel import Ranks
from harness.training.recipe import Mixing, Plan, Recipe
from harness.training.stores import Store, examples_of, most_said, open_store, values_of, write_store
from tests.harness.training.test_loop import _Broken

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


def test_a_store_holds_every_sample_once_and_reads_as_it_was_written(root: Path, tokenizer: Tokenizer) -> None:
    store = _store(root, tokenizer, 7, 5, "one")
    assert (store.units, store.samples) == (7 * 3, 7 * 5)  # five questions in units of at most two: 2, 2, 1
    again = open_store(root / "one")
    assert again is not None
    told = []
    for unit in range(again.units):
        image, examples = again.unit(unit, epoch=0)
        assert len(examples) <= 2
        for prompt, answer in examples:
            texts = [tokenizer.backend.decode(list(ids), skip_special_tokens=True).strip() for ids in (prompt, answer)]
            told.append((image, *texts))
    assert sorted(told) == sorted(
        (f"{i}.png", f"what is {i} {n}?", f"answer {i} {n}") for i in range(7) for n in range(5)
    )


def test_of_several_references_each_epoch_takes_another(root: Path, tokenizer: Tokenizer) -> None:
    question = Question("0.png", SIZE, "caption")
    samples = [Sample("0", question, Text(("a cat", "a dog", "a cow")), "0.png")]
    store = write_store(root / "s", samples, tokenizer, root, questions=1, limits=(50, 50), name="s")
    said = [
        tokenizer.backend.decode(list(store.unit(0, epoch)[1][0][1]), skip_special_tokens=True) for epoch in range(6)
    ]
    assert sorted(said[:3]) == ["a cat", "a cow", "a dog"]
    assert said[:3] == said[3:]


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_every_unit_comes_once_an_epoch_whatever_the_processes_and_parts(
    world: int, accumulate: int, root: Path, tokenizer: Tokenizer
) -> None:
    stores = {"one": _store(root, tokenizer, 5, 2, "one"), "two": _store(root, tokenizer, 7, 4, "two")}
    mixed = Mixture(stores, {"one": 1.0, "two": 3.0}, seed=4)
    seen: list[tuple[int, int, int]] = []
    for step in mixed.places(0, 40, 12):
        shares = [[step[i] for i in part] for r in range(world) for part in Ranks(r, world).parts(12, accumulate)]
        flat = [place for share in shares for place in share]
        assert sorted(flat) == sorted(step)  # nothing twice, nothing left out
        seen += step
    counts = Counter(task for task, _, _ in seen)
    assert counts[1] / len(seen) == pytest.approx(0.75, abs=0.06)  # 480 draws: two standard errors are 4 %
    for task, units in ((0, 5), (1, 14)):
        for epoch in range(counts[task] // units):
            assert sorted(unit for t, unit, e in seen if (t, e) == (task, epoch)) == list(range(units))


def test_going_on_gives_the_places_that_were_to_come(root: Path, tokenizer: Tokenizer) -> None:
    mixed = Mixture({"one": _store(root, tokenizer, 5, 2, "one")}, {"one": 1.0}, seed=1)
    whole = list(mixed.places(0, 20, 3))
    assert list(mixed.places(13, 20, 3)) == whole[13:]
    assert whole != list(replace(mixed, seed=2).places(0, 20, 3))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_are_the_images_with_their_questions(workers: int, root: Path, tokenizer: Tokenizer) -> None:
    stores = {"one": _store(root, tokenizer, 5, 2, "one"), "two": _store(root, tokenizer, 7, 4, "two")}
    mixed, recipe = Mixture(stores, {"one": 1.0, "two": 3.0}, seed=4), _recipe(6, 4, accumulate=2)
    batches = mixture.mixed(recipe, mixed, root, Preprocess(8, 8), workers=workers)
    expected = list(mixed.places(2, 6, 4))
    for step, parts in zip(expected, batches(2), strict=True):
        assert len(parts) == 2
        for number, part in enumerate(parts):
            for place, (task, unit, epoch) in enumerate(step[number::2]):
                name = ("one", "two")[task]
                image, examples = stores[name].unit(unit, epoch)
                assert part.names[place] == image
                assert set(part.pixels[place].flatten().tolist()) == {30 * int(image[0])}
                mine = [i for i, of in enumerate(part.image.tolist()) if of == place]
                assert [part.kinds[i] for i in mine] == [name] * len(examples)
                assert [list(part.answers[i]) for i in mine] == [list(answer) for _, answer in examples]


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_missing_image_is_named(workers: int, root: Path, tokenizer: Tokenizer) -> None:
    (root / "3.png").unlink()
    mixed = Mixture({"one": _store(root, tokenizer, 7, 1, "one")}, {"one": 1.0}, seed=0)
    batches = mixture.mixed(_recipe(3, 7), mixed, root, Preprocess(8, 8), workers=workers)
    with pytest.raises(DataError, match=r"3\.png") as complaint:
        next(batches(0))
    assert "Traceback" not in str(complaint.value)


def test_another_process_maps_a_store_itself(root: Path, tokenizer: Tokenizer) -> None:
    store = _store(root, tokenizer, 7, 5, "one")
    sent = pickle.dumps(store)
    assert len(sent) < 500
    assert pickle.loads(sent).unit(3, 0)[0] == store.unit(3, 0)[0]


def test_a_store_that_cannot_be_written_is_said(
    root: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, array: object) -> None:
        raise OSError("28 requested and 0 written")  # numpy's own words, without a file's name

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ResourceError, match="one cannot be written: 28 requested and 0 written; is the disk full"):
        _store(root, tokenizer, 2, 2, "one")
    assert not list(root.glob("one*"))


class _Deadly(_Broken):
    """Kills a worker of its own process in the second step."""

    def forward(self, batch: object) -> tuple[torch.Tensor, dict[str, float]]:
        import psutil

        for child in psutil.Process().children():
            if "spawn_main" in " ".join(child.cmdline()):  # not the tracker of shared resources
                child.send_signal(signal.SIGKILL)
        return super().forward(batch)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch's loader, as it is collected
def test_a_worker_that_dies_is_said_in_a_line(root: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    mixed = Mixture({"one": _store(root, tokenizer, 7, 2, "one")}, {"one": 1.0}, seed=0)
    recipe = _recipe(400, 4)
    batches = mixture.mixed(recipe, mixed, root, Preprocess(8, 8), workers=1)
    with pytest.raises(ResourceError, match=r"a worker that reads images died .* the same command goes on"):
        loop.fit(_Deadly([1.0] * 400), batches, recipe.plan, tmp_path / "out")
    gc.collect()  # here, and not in the middle of another test


def test_an_empty_training_split_is_said(root: Path, tokenizer: Tokenizer) -> None:
    hidden = [Sample("0", Question("0.png", SIZE, "vqa", "what?"), None, "0.png")]
    with pytest.raises(DataError, match=r"vqa: .* no sample that can be taught \(1 without an answer"):
        write_store(root / "s", hidden, tokenizer, root, questions=2, limits=(50, 50), name="vqa")


def test_targets_are_written_as_the_model_would_answer() -> None:
    detect = Question("0.png", SIZE, "detect", phrases=(Phrase("cat"), Phrase("dog")))
    objects = Objects(
        xywh=((20, 0, 5, 5), (1, 2, 3, 4), (0, 0, 9, 9)), categories=(0, 1, 0), areas=(25, 12, 81),
        crowd=(False, False, True), ids=(7, 9),
    )  # fmt: skip
    assert values_of(detect, objects, SIZE) == [Boxes(((1, 2, 4, 6), (20, 0, 25, 5)), ("dog", "cat"))]
    vqa = Question("0.png", SIZE, "vqa", "what?")
    assert values_of(vqa, Text(("no", "yes", "yes", "no", "yes")), SIZE) == [Text(("yes",))]
    assert most_said(("b", "a", "a", "b")) == "b"
    caption = Question("0.png", SIZE, "caption")
    assert values_of(caption, Text(("one", "two")), SIZE) == [Text(("one",)), Text(("two",))]


def test_region_is_taught_in_the_size_of_its_image(root: Path, tokenizer: Tokenizer) -> None:
    # The images are 40x30, so a bin is 0.04 wide and 0.03 high: 4.01 and 3.01 are in bin 100, 20.01 and 15.01 in 500.
    region, tokens = (4.01, 3.01, 20.01, 15.01), "<loc_100><loc_100><loc_500><loc_500>"
    name: Sample[Text] = Sample("0", Question("0.png", None, "name", region=region), Text(("dog",)), "0.png")
    [(prompt, answer)] = examples_of(name, tokenizer, root)
    assert prompt == tokenizer.encode(f"What is the region {tokens}?")
    assert answer == tokenizer.encode(f"dog{tokens}")
    with pytest.raises(DataError, match=r"sample 0: the region .* is outside the image, which is 40x30"):
        examples_of(replace(name, question=replace(name.question, region=(40.0, 0.0, 50.0, 9.0))), tokenizer, root)


def test_region_proposals_are_taught_without_categories() -> None:
    propose = Question("0.png", SIZE, "propose")
    objects = Objects(xywh=((1, 2, 3, 4),), categories=(3,), areas=(12,), crowd=(False,), ids=())
    assert values_of(propose, objects, SIZE) == [Boxes(((1, 2, 4, 6),))]


def test_a_mask_is_taught_as_its_outline() -> None:
    mask = rasterise(Polygons((((3.0, 5.0), (10.0, 5.0), (10.0, 12.0), (3.0, 12.0)),)), SIZE)
    [outline] = values_of(Question("0.png", SIZE, "segment", "it"), mask, SIZE)
    assert isinstance(outline, Polygons)
    assert rasterise(outline, SIZE) == mask
    assert all(len(ring) <= 16 for ring in outline.rings)
