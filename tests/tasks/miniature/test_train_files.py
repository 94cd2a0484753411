"""The training root: every task's own training files, true to the scenes, and apart from every benchmark's."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.core import Boxes, Grounded, Objects, Polygons, Sample, Source
from harness.data import manifest
from harness.errors import DataError
from harness.geometry.boxes import from_xywh
from harness.geometry.masks import pixels, rasterise
from tasks import TASKS, miniature
from tasks.miniature import flickr30k, reading, train_files
from tasks.miniature.language import expressions
from tasks.miniature.render import Rendered, rendered_scene, rendered_signs
from tasks.miniature.scene import Draw
from tasks.miniature.shapes import SEEN
from tasks.miniature.train_files import COCO_SEED, FLICKR_SEED, SIGNS_SEED, VIZWIZ_SEED, Images, number_of
from tasks.miniature.training import FIRST_TRAINING_SEED, FIRST_VALIDATION_SEED

FEW = Images(coco=7, signs=6, vizwiz=5, flickr30k=4)
RESTVAL = "restval"  # of COCO's validation images; the miniature has none to train on
SPLITS = [(name, split) for name, task in TASKS.items() for split in task.train_splits if split != RESTVAL]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    train_files.write(folder, FEW)
    return folder


def load(root: Path, task: str, split: str = "train") -> list[Sample[Any]]:
    return list(TASKS[task].load(Source(root, split)))


def photos() -> dict[str, Rendered]:
    """COCO's scenes by the number of their image."""
    return {str(number_of(seed)): rendered_scene(seed) for seed in range(COCO_SEED, COCO_SEED + FEW.coco)}


def number_in(image: str) -> str:
    return str(int(Path(image).stem.rpartition("_")[2]))


def test_who_has_training_splits() -> None:
    without = {name for name, task in TASKS.items() if not task.train_splits}
    assert without == {"nocaps", "odinw13", "odinw35", "odinw_miniature"}
    assert TASKS["coco_caption"].train_splits == ("train", RESTVAL)
    assert not any(set(task.splits) & set(task.train_splits) for task in TASKS.values())


@pytest.mark.parametrize(("task", "split"), SPLITS)
def test_every_training_split_loads_with_its_images(root: Path, task: str, split: str) -> None:
    manifest.require(TASKS[task], root, split)
    samples = load(root, task, split)
    assert samples and len({sample.id for sample in samples}) == len(samples)
    images = {sample.question.image: sample.question.size for sample in samples}
    families = {"textcaps": FEW.signs, "textvqa": FEW.signs, "vizwiz": FEW.vizwiz, "flickr30k": FEW.flickr30k}
    assert len(images) == families.get(task, FEW.coco)
    for name, size in images.items():
        with Image.open(root / name) as image:
            assert image.size == (size or image.size)


def test_boxes_and_outlines_are_the_scenes(root: Path) -> None:
    """Of each expression that the scene's own language makes, and of no other."""
    scenes = photos()
    for name, style in (("refcoco", "refcoco"), ("refcoco_plus", "refcoco+"), ("refcocog", "refcocog")):
        said = {
            (number, sentence): place
            for number, scene in scenes.items()
            for place, sentences in enumerate(expressions(scene, style, Draw(int(number))))  # type: ignore[arg-type]
            for sentence in sentences
        }
        for task in (name, f"{name}_res"):
            samples = load(root, task)
            keys = [(number_in(sample.question.image), sample.question.text) for sample in samples]
            assert keys == list(said)
            for sample, (number, sentence) in zip(samples, keys, strict=True):
                scene, place = scenes[number], said[number, sentence]
                if task == name:
                    assert sample.target == Boxes((scene.boxes[place],), (sentence,))
                else:
                    assert isinstance(sample.target, Polygons)
                    filled = pixels(rasterise(sample.target, scene.scene.size))
                    assert np.array_equal(filled, scene.masks[place])


def test_objects_are_the_scenes_things(root: Path) -> None:
    scenes, samples = photos(), load(root, "coco_detection", "train2017")
    assert [sample.id for sample in samples] == list(scenes)
    for sample in samples:
        scene, target = scenes[sample.id], sample.target
        assert isinstance(target, Objects)
        every = zip(target.xywh, target.categories, target.crowd, strict=True)
        found = {(from_xywh(xywh), SEEN[category]) for xywh, category, crowd in every if not crowd}
        things = zip(scene.boxes, (thing.category for thing in scene.scene.things), strict=True)
        assert found <= set(things)
        assert len(found) == len(scene.boxes) - 2 * sum(target.crowd)  # a crowd is of two
        there = root / sample.question.image
        assert there.read_bytes() == (root / f"coco/train2014/COCO_train2014_{int(sample.id):012d}.jpg").read_bytes()


def test_captions_name_what_is_there(root: Path) -> None:
    scenes = photos()
    samples = load(root, "coco_caption")
    assert [sample.id for sample in samples] == list(scenes)
    for sample in samples:
        assert len(sample.target.texts) == 5
        assert all(thing.category[:3] in sample.target.texts[0].lower() for thing in scenes[sample.id].scene.things)


def test_up_to_eight_questions_of_an_image_each_with_ten_answers(root: Path) -> None:
    scenes, samples = photos(), load(root, "vqav2")
    asked = Counter(number_in(sample.question.image) for sample in samples)
    assert asked.keys() == scenes.keys()
    assert max(asked.values()) <= train_files.QUESTIONS and min(asked.values()) >= 6
    for sample in samples:
        assert len(sample.target.texts) == 10 and sample.id.startswith(number_in(sample.question.image))
        if sample.question.text == "How many things are there?":
            most = Counter(sample.target.texts).most_common(1)[0][0]
            assert most == str(len(scenes[number_in(sample.question.image)].boxes))


def test_signs_say_what_is_written(root: Path) -> None:
    words = []
    for seed in range(SIGNS_SEED, SIGNS_SEED + FEW.signs):
        words.append([thing.word for thing in rendered_signs(seed).scene.things if thing.word])
    told = load(root, "textcaps")
    for sample, written in zip(told, words, strict=True):
        assert all(word in sample.target.texts[0] for word in written)
    asked = load(root, "textvqa")
    assert [int(sample.id) for sample in asked] == list(range(sum(map(len, words))))  # ids that no val question has
    assert max(int(sample.id) for sample in asked) < reading.FIRST_QUESTION["val"]
    answers = [Counter(sample.target.texts).most_common(1)[0][0].upper() for sample in asked]
    assert Counter(answers) == Counter(word for written in words for word in written)


def test_vizwiz_has_a_question_an_image(root: Path) -> None:
    samples = load(root, "vizwiz")
    assert [sample.id for sample in samples] == [f"VizWiz_train_{place:08d}.jpg" for place in range(FEW.vizwiz)]
    assert all(sample.question.image == f"vizwiz/train/{sample.id}" for sample in samples)
    sizes = [rendered_scene(VIZWIZ_SEED + place).scene.size for place in range(FEW.vizwiz)]
    for sample, size in zip(samples, sizes, strict=True):
        with Image.open(root / sample.question.image) as image:
            assert image.size == size


def test_phrases_are_where_their_things_are(root: Path) -> None:
    scenes = {
        order.path: rendered_scene(order.seed)
        for order in flickr30k.orders(range(FLICKR_SEED, FLICKR_SEED + FEW.flickr30k))
    }
    samples = load(root, "flickr30k")
    assert len(samples) == 5 * FEW.flickr30k
    for sample in samples:
        assert isinstance(sample.target, Grounded)
        true = {(left + 1, top + 1, right, bottom) for left, top, right, bottom in scenes[sample.question.image].boxes}
        assert {box for boxes in sample.target.boxes for box in boxes} <= true  # the files count pixels from 1


# ---------------------------------------------------------------------------- apart from the benchmarks


def test_no_picture_is_a_benchmarks(root: Path, miniature: Path) -> None:
    def seen(folder: Path) -> set[str]:
        pictures = (np.asarray(Image.open(path)).tobytes() for path in sorted(folder.rglob("*.jpg")))
        return {hashlib.sha256(picture).hexdigest() for picture in pictures}

    assert len(seen(root)) == FEW.total
    assert not seen(root) & seen(miniature)


def test_families_have_seeds_of_their_own() -> None:
    full = train_files.FULL
    families = (
        (COCO_SEED, full.coco),
        (SIGNS_SEED, full.signs),
        (VIZWIZ_SEED, full.vizwiz),
        (FLICKR_SEED, full.flickr30k),
    )
    taken = [seed for first, count in families for seed in (first, first + count - 1)]
    assert taken == sorted(taken) and len(set(taken)) == len(taken)
    assert taken[0] >= FIRST_TRAINING_SEED and taken[-1] < 2_000_000 < FIRST_VALIDATION_SEED


@pytest.mark.parametrize(("task", "split", "file"), [
    ("coco_caption", "train", "coco/annotations/captions_train2014.json"),
    ("textcaps", "train", "textcaps/TextCaps_0.1_train.json"),
    ("coco_detection", "train2017", "coco/annotations/instances_train2017.json"),
    ("flickr30k", "train", "flickr30k/train.txt"),
    ("vqav2", "train", "vqav2/v2_OpenEnded_mscoco_train2014_questions.json"),
    ("textvqa", "train", "textvqa/TextVQA_0.5.1_train.json"),
    ("vizwiz", "train", "vizwiz/Annotations/train.json"),
])  # fmt: skip
def test_each_split_needs_its_own_files(miniature: Path, root: Path, task: str, split: str, file: str) -> None:
    """Where there are none to train on, that is said, and evaluation goes on; and the other way round."""
    with pytest.raises(DataError, match=f"needs {miniature / file}, which is not there"):
        manifest.require(TASKS[task], miniature, split)
    with pytest.raises(DataError, match=f"{miniature / file} is not there"):
        load(miniature, task, split)
    for other in TASKS[task].splits:
        manifest.require(TASKS[task], miniature, other)
        assert load(miniature, task, other)
        with pytest.raises(DataError, match="which is not there"):
            manifest.require(TASKS[task], root, other)


def test_restval_is_of_cocos_validation_images() -> None:
    needed = [need.path for need in manifest.needs(TASKS["coco_caption"], [RESTVAL])]
    assert needed == ["coco/dataset_coco.json", "coco/annotations/captions_val2014.json", "coco/val2014"]


def test_restval_is_read_as_val_is(miniature: Path, tmp_path: Path) -> None:
    """The test split's images, called restval in Karpathy's list: the same samples; BLIP's form is not looked for."""
    (tmp_path / "coco/annotations").mkdir(parents=True)
    for name, old, new in (
        ("dataset_coco.json", '"test"', '"restval"'),
        ("annotations/captions_val2014.json", "-", "-"),
    ):
        (tmp_path / "coco" / name).write_text((miniature / "coco" / name).read_text().replace(old, new))
    assert load(tmp_path, "coco_caption", RESTVAL) == load(miniature, "coco_caption", "test")
    (tmp_path / "coco/dataset_coco.json").unlink()
    with pytest.raises(DataError, match=r"dataset_coco\.json is not there"):
        load(tmp_path, "coco_caption", RESTVAL)


# ---------------------------------------------------------------------------- drawn once


def test_the_bytes_do_not_depend_on_processes(root: Path, tmp_path: Path) -> None:
    train_files.write(tmp_path, FEW, processes=2)
    assert miniature.manifest(tmp_path) == miniature.manifest(root)


def test_it_is_drawn_once_and_whole(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_files, "FULL", FEW)
    made = miniature.ensure_training(tmp_path)
    files = miniature.manifest(made)
    assert files == miniature.manifest(root)
    annotations = {path: sha for path, sha in files.items() if not path.endswith(".jpg")}
    assert (made / "complete").read_text() == miniature.digest(annotations)
    monkeypatch.setattr(train_files, "write", None)  # a second call draws nothing
    assert miniature.ensure_training(tmp_path) == made
    assert list(tmp_path.iterdir()) == [made]
    monkeypatch.setattr(train_files, "FULL", Images(coco=8))
    with pytest.raises(TypeError):
        miniature.ensure_training(tmp_path)  # another content, another folder; of what failed nothing is left
    assert list(tmp_path.iterdir()) == [made]
