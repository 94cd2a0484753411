"""Stores: samples as they are written and read, units per image, and targets as values."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.core import Boxes, Objects, Phrase, Polygons, Question, Sample, Size, Text
from harness.data import pack
from harness.errors import DataError, ResourceError
from harness.florence2.tokenizer import Tokenizer
from harness.geometry.masks import rasterise
from harness.images import BadImage
from harness.training.stores import Store, examples_of, most_frequent, open_store, values_of, with_finding, write_store

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


def test_store_holds_every_sample_once_as_written(root: Path, tokenizer: Tokenizer) -> None:
    store = _store(root, tokenizer, 7, 5, "one")
    assert (store.units, store.samples) == (7 * 3, 7 * 5)  # five questions in units of at most two: 2, 2, 1
    again = open_store(root / "one")
    assert again is not None
    written = []
    for unit in range(again.units):
        image, examples = again.unit(unit, epoch=0)
        assert len(examples) <= 2
        for prompt, answer in examples:
            texts = [tokenizer.backend.decode(list(ids), skip_special_tokens=True).strip() for ids in (prompt, answer)]
            written.append((image, *texts))
    assert sorted(written) == sorted(
        (f"{i}.png", f"what is {i} {n}?", f"answer {i} {n}") for i in range(7) for n in range(5)
    )


def test_unit_with_several_references_takes_another_each_epoch(root: Path, tokenizer: Tokenizer) -> None:
    question = Question("0.png", SIZE, "caption")
    samples = [Sample("0", question, Text(("a cat", "a dog", "a cow")), "0.png")]
    store = write_store(root / "s", samples, tokenizer, root, questions=1, limits=(50, 50), name="s")
    answers = [
        tokenizer.backend.decode(list(store.unit(0, epoch)[1][0][1]), skip_special_tokens=True) for epoch in range(6)
    ]
    assert sorted(answers[:3]) == ["a cat", "a cow", "a dog"]
    assert answers[:3] == answers[3:]


def test_pickled_store_is_its_folder_alone(root: Path, tokenizer: Tokenizer) -> None:
    store = _store(root, tokenizer, 7, 5, "one")
    sent = pickle.dumps(store)
    assert len(sent) < 500 + len(str(store.folder))  # the arrays alone have more than 1,000 bytes
    assert pickle.loads(sent).unit(3, 0)[0] == store.unit(3, 0)[0]


def test_write_store_on_full_disk_raises_and_leaves_no_file(
    root: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, array: object) -> None:
        raise OSError("28 requested and 0 written")  # numpy's own message, without the path

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ResourceError, match="one cannot be written: 28 requested and 0 written; is the disk full"):
        _store(root, tokenizer, 2, 2, "one")
    assert not list(root.glob("one*"))


def test_write_store_leaves_out_long_samples(root: Path, tokenizer: Tokenizer) -> None:
    question = Question("0.png", SIZE, "vqa", "what?")
    texts = ("yes", "yes " * 50)
    samples = [Sample(text, question, Text((text,)), "0.png") for text in texts]
    store = write_store(root / "s", samples, tokenizer, root, questions=2, limits=(50, 40), name="s")
    assert (store.units, store.samples, store.left_out) == (1, 1, 1)


def test_open_store_of_missing_or_damaged_store_is_none(root: Path, tokenizer: Tokenizer) -> None:
    assert open_store(root / "none") is None
    _store(root, tokenizer, 2, 2, "one")
    np.save(root / "one/answers.npy", np.zeros(3, np.int16))
    assert open_store(root / "one") is None
    (root / "one/store.json").write_text("{")
    assert open_store(root / "one") is None


def test_write_store_without_usable_sample_raises(root: Path, tokenizer: Tokenizer) -> None:
    hidden = [Sample("0", Question("0.png", SIZE, "vqa", "what?"), None, "0.png")]
    with pytest.raises(DataError, match=r"vqa: .* no sample to train on \(1 without an answer"):
        write_store(root / "s", hidden, tokenizer, root, questions=2, limits=(50, 50), name="vqa")


def test_write_store_keeps_bad_images_whose_size_is_needed_as_skipped(root: Path, tokenizer: Tokenizer) -> None:
    (root / "1.png").write_bytes(b"no image")
    box = Boxes(((4.0, 3.0, 20.0, 15.0),), ("dog",))
    samples = [
        Sample(f"{image}-{number}", Question(f"{image}.png", None, "refer", "the dog"), box, f"{image}.png")
        for image in range(3)
        for number in range(2)
    ]
    how: dict[str, Any] = {"questions": 2, "limits": (50, 50), "name": "refer"}
    with pytest.raises(BadImage, match=r"1\.png cannot be decoded"):
        write_store(root / "s", samples, tokenizer, root, **how)
    store = write_store(root / "s", samples, tokenizer, root, **how, skip=True)
    assert (list(store.references), store.samples, store.left_out) == (["0.png", "2.png"], 4, 0)
    assert list(store.skipped) == ["1.png"] and "1.png cannot be decoded" in store.skipped["1.png"]
    again = open_store(root / "s")
    assert again is not None and again.skipped == store.skipped
    with pytest.raises(DataError, match=r"refer: no training image can be read; the last: .*1\.png"):
        write_store(root / "t", samples[2:4], tokenizer, root, **how, skip=True)
    description = json.loads((root / "s/store.json").read_text())
    for damage in ([], ["1.png"], {"1.png": 3}, 3):
        (root / "s/store.json").write_text(json.dumps({**description, "skipped": damage}))
        assert open_store(root / "s") is None or not damage


def test_values_of_target_are_what_the_model_learns_to_write() -> None:
    detect = Question("0.png", SIZE, "detect", phrases=(Phrase("cat"), Phrase("dog")))
    objects = Objects(
        xywh=((20, 0, 5, 5), (1, 2, 3, 4), (0, 0, 9, 9)), categories=(0, 1, 0), areas=(25, 12, 81),
        crowd=(False, False, True), ids=(7, 9),
    )  # fmt: skip
    assert values_of(detect, objects, SIZE) == [Boxes(((1, 2, 4, 6), (20, 0, 25, 5)), ("dog", "cat"))]
    vqa = Question("0.png", SIZE, "vqa", "what?")
    assert values_of(vqa, Text(("no", "yes", "yes", "no", "yes")), SIZE) == [Text(("yes",))]
    assert most_frequent(("b", "a", "a", "b")) == "b"
    caption = Question("0.png", SIZE, "caption")
    assert values_of(caption, Text(("one", "two")), SIZE) == [Text(("one",)), Text(("two",))]


def test_examples_of_region_use_the_size_of_the_image(root: Path, tokenizer: Tokenizer) -> None:
    # The images are 40x30, so a bin is 0.04 wide and 0.03 high: 4.01 and 3.01 are in bin 100, 20.01 and 15.01 in 500.
    region, tokens = (4.01, 3.01, 20.01, 15.01), "<loc_100><loc_100><loc_500><loc_500>"
    name: Sample[Text] = Sample("0", Question("0.png", None, "name", region=region), Text(("dog",)), "0.png")
    [(prompt, answer)] = examples_of(name, tokenizer, root)
    assert prompt == tokenizer.encode(f"What is the region {tokens}?")
    assert answer == tokenizer.encode(f"dog{tokens}")
    with pytest.raises(DataError, match=r"sample 0: the region .* is outside the image, which is 40x30"):
        examples_of(replace(name, question=replace(name.question, region=(40.0, 0.0, 50.0, 9.0))), tokenizer, root)


def test_examples_of_region_take_the_size_from_a_packed_image(root: Path, tokenizer: Tokenizer) -> None:
    (root / "folder").mkdir()
    (root / "0.png").rename(root / "folder/0.png")
    question = Question("folder/0.png", None, "name", region=(10.0, 0.0, 20.0, 30.0))
    sample = Sample("1", question, Text(("cat",)), "folder/0.png")
    from_file = examples_of(sample, tokenizer, root)
    pack.pack(root, ["folder/0.png"], folder="folder")
    (root / "folder/0.png").unlink()
    assert examples_of(sample, tokenizer, root) == from_file


def test_examples_of_sample_without_published_answer_are_none(root: Path, tokenizer: Tokenizer) -> None:
    hidden: Sample[Text] = Sample("0", Question("0.png", SIZE, "vqa", "what?"), None, "0.png")
    assert examples_of(hidden, tokenizer, root) == []


def test_examples_of_sample_with_several_prompts_raise(root: Path, tokenizer: Tokenizer) -> None:
    question = Question("0.png", SIZE, "find", phrases=(Phrase("cat"), Phrase("dog")))
    sample = Sample("7", question, Boxes(((1.0, 2.0, 4.0, 6.0),), ("cat",)), "0.png")
    with pytest.raises(DataError, match="sample 7 needs 2 prompts; training takes samples with one prompt"):
        examples_of(sample, tokenizer, root)


def test_values_of_region_proposals_have_no_labels() -> None:
    propose = Question("0.png", SIZE, "propose")
    objects = Objects(xywh=((1, 2, 3, 4),), categories=(3,), areas=(12,), crowd=(False,), ids=())
    assert values_of(propose, objects, SIZE) == [Boxes(((1, 2, 4, 6),))]


def test_values_of_target_without_shape_are_none() -> None:
    detect = Question("0.png", SIZE, "detect", phrases=(Phrase("cat"),))
    crowd = Objects(xywh=((0, 0, 9, 9),), categories=(0,), areas=(81,), crowd=(True,), ids=(7,))
    assert values_of(detect, crowd, SIZE) == []
    segment = Question("0.png", SIZE, "segment", "it")
    assert values_of(segment, Polygons((((1.0, 1.0), (2.0, 2.0)),)), SIZE) == []  # a ring of two points


def test_values_of_mask_are_its_outline() -> None:
    mask = rasterise(Polygons((((3.0, 5.0), (10.0, 5.0), (10.0, 12.0), (3.0, 12.0)),)), SIZE)
    [outline] = values_of(Question("0.png", SIZE, "segment", "it"), mask, SIZE)
    assert isinstance(outline, Polygons)
    assert rasterise(outline, SIZE) == mask
    assert all(len(ring) <= 16 for ring in outline.rings)


def test_detection_is_followed_by_a_question_for_each_category_without_crowds() -> None:
    xywh = ((50.0, 5.0, 10.0, 10.0), (0.0, 0.0, 9.0, 9.0), (20.0, 2.0, 10.0, 10.0), (1.0, 1.0, 90.0, 90.0))
    target = Objects(xywh, (1, 0, 1, 2), (100.0, 81.0, 100.0, 8100.0), (False, False, False, True), (7, 8, 9))
    phrases = (Phrase("car"), Phrase("fish"), Phrase("crowd"))
    sample = Sample("3", Question("a.jpg", Size(100, 100), "detect", phrases=phrases), target, "a.jpg")
    first, fish, car = with_finding(sample)
    assert first is sample
    assert (fish.question.kind, fish.question.phrases) == ("find", (Phrase("fish"),))
    assert fish.target == Boxes(((20, 2, 30, 12), (50, 5, 60, 15)), ("fish", "fish"))
    assert car.target == Boxes(((0, 0, 9, 9),), ("car",))
    assert len({each.id for each in (first, fish, car)}) == 3
