"""The training root: training files of each task, which agree with the scenes and share no image with a benchmark."""

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
from tasks.miniature.training import FIRST_TRAINING_SEED

FEW = Images(coco=7, signs=6, vizwiz=5, flickr30k=4)
RESTVAL = "restval"  # of COCO's validation images; the miniature's training root has none
SPLITS = [(name, split) for name, task in TASKS.items() for split in task.train_splits if split != RESTVAL]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    train_files.write(folder, FEW)
    return folder


def load(root: Path, task: str, split: str = "train") -> list[Sample[Any]]:
    return list(TASKS[task].load(Source(root, split)))


def photos() -> dict[str, Rendered]:
    """COCO's scenes by image number."""
    return {str(number_of(seed)): rendered_scene(seed) for seed in range(COCO_SEED, COCO_SEED + FEW.coco)}


def number_in(image: str) -> str:
    return str(int(Path(image).stem.rpartition("_")[2]))


def test_all_tasks_but_those_listed_have_training_splits() -> None:
    without = {name for name, task in TASKS.items() if not task.train_splits}
    assert without == {
        "nocaps", "odinw13", "odinw35", "odinw_miniature", "grefcoco", "grefcoco_res", "flickr30k_retrieval",
        "coco_retrieval", "docvqa", "refcocog_caption", "icdar2015", "flickr30k_rerank", "coco_rerank",
        "lvis_minival", "lvis_val", "rf100_vl", "rf100_vl_miniature", "flickr30k_caption",
    }  # fmt: skip
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


def test_refcoco_has_the_boxes_and_masks_of_the_scenes(root: Path) -> None:
    """For each expression of the scene, and for no other."""
    scenes = photos()
    for name, style in (("refcoco", "refcoco"), ("refcoco_plus", "refcoco+"), ("refcocog", "refcocog")):
        places = {
            (number, sentence): place
            for number, scene in scenes.items()
            for place, sentences in enumerate(expressions(scene, style, Draw(int(number))))  # type: ignore[arg-type]
            for sentence in sentences
        }
        for task in (name, f"{name}_res"):
            samples = load(root, task)
            keys = [(number_in(sample.question.image), sample.question.text) for sample in samples]
            assert keys == list(places)
            for sample, (number, sentence) in zip(samples, keys, strict=True):
                scene, place = scenes[number], places[number, sentence]
                if task == name:
                    assert sample.target == Boxes((scene.boxes[place],), (sentence,))
                else:
                    assert isinstance(sample.target, Polygons)
                    filled = pixels(rasterise(sample.target, scene.scene.size))
                    assert np.array_equal(filled, scene.masks[place])


def test_detection_has_the_things_of_the_scenes(root: Path) -> None:
    scenes, samples = photos(), load(root, "coco_detection", "train2017")
    assert [sample.id for sample in samples] == list(scenes)
    for sample in samples:
        scene, target = scenes[sample.id], sample.target
        assert isinstance(target, Objects)
        objects = zip(target.xywh, target.categories, target.crowd, strict=True)
        single = {(from_xywh(xywh), SEEN[category]) for xywh, category, crowd in objects if not crowd}
        things = zip(scene.boxes, (thing.category for thing in scene.scene.things), strict=True)
        assert single <= set(things)
        assert len(single) == len(scene.boxes) - 2 * sum(target.crowd)  # a crowd has two things
        path = root / sample.question.image
        assert path.read_bytes() == (root / f"coco/train2014/COCO_train2014_{int(sample.id):012d}.jpg").read_bytes()


def test_captions_name_the_things_of_the_scenes(root: Path) -> None:
    scenes = photos()
    samples = load(root, "coco_caption")
    assert [sample.id for sample in samples] == list(scenes)
    for sample in samples:
        assert len(sample.target.texts) == 5
        assert all(thing.category[:3] in sample.target.texts[0].lower() for thing in scenes[sample.id].scene.things)


def test_vqa_has_up_to_eight_questions_for_an_image_with_ten_answers(root: Path) -> None:
    scenes, samples = photos(), load(root, "vqav2")
    questions = Counter(number_in(sample.question.image) for sample in samples)
    assert questions.keys() == scenes.keys()
    assert max(questions.values()) <= train_files.QUESTIONS and min(questions.values()) >= 6
    for sample in samples:
        assert len(sample.target.texts) == 10 and sample.id.startswith(number_in(sample.question.image))
        if sample.question.text == "How many things are there?":
            most = Counter(sample.target.texts).most_common(1)[0][0]
            assert most == str(len(scenes[number_in(sample.question.image)].boxes))


def test_textcaps_and_textvqa_have_the_words_of_the_signs(root: Path) -> None:
    words = []
    for seed in range(SIGNS_SEED, SIGNS_SEED + FEW.signs):
        words.append([thing.word for thing in rendered_signs(seed).scene.things if thing.word])
    for sample, written in zip(load(root, "textcaps"), words, strict=True):
        assert all(word in sample.target.texts[0] for word in written)
    questions = load(root, "textvqa")
    assert [int(sample.id) for sample in questions] == list(range(sum(map(len, words))))
    assert max(int(sample.id) for sample in questions) < reading.FIRST_QUESTION["val"]
    answers = [Counter(sample.target.texts).most_common(1)[0][0].upper() for sample in questions]
    assert Counter(answers) == Counter(word for written in words for word in written)


def test_vizwiz_has_one_question_for_each_image(root: Path) -> None:
    samples = load(root, "vizwiz")
    assert [sample.id for sample in samples] == [f"VizWiz_train_{place:08d}.jpg" for place in range(FEW.vizwiz)]
    assert all(sample.question.image == f"vizwiz/train/{sample.id}" for sample in samples)
    sizes = [rendered_scene(VIZWIZ_SEED + place).scene.size for place in range(FEW.vizwiz)]
    for sample, size in zip(samples, sizes, strict=True):
        with Image.open(root / sample.question.image) as image:
            assert image.size == size


def test_flickr30k_has_the_boxes_of_the_scenes(root: Path) -> None:
    scenes = {
        job.path: rendered_scene(job.seed) for job in flickr30k.jobs(range(FLICKR_SEED, FLICKR_SEED + FEW.flickr30k))
    }
    samples = load(root, "flickr30k")
    assert len(samples) == 5 * FEW.flickr30k
    for sample in samples:
        assert isinstance(sample.target, Grounded)
        true = {(left + 1, top + 1, right, bottom) for left, top, right, bottom in scenes[sample.question.image].boxes}
        assert {box for boxes in sample.target.boxes for box in boxes} <= true  # the files count pixels from 1


# ---------------------------------------------------------------------------- other images than the benchmarks


def test_no_image_is_in_a_benchmark(root: Path, miniature: Path) -> None:
    def digests(folder: Path) -> set[str]:
        images = (np.asarray(Image.open(path)).tobytes() for path in sorted(folder.rglob("*.jpg")))
        return {hashlib.sha256(image).hexdigest() for image in images}

    assert len(digests(root)) == FEW.total
    assert not digests(root) & digests(miniature)


def test_seeds_of_families_do_not_overlap() -> None:
    full = train_files.FULL
    families = (
        (COCO_SEED, full.coco),
        (SIGNS_SEED, full.signs),
        (VIZWIZ_SEED, full.vizwiz),
        (FLICKR_SEED, full.flickr30k),
    )
    taken = [seed for first, count in families for seed in (first, first + count - 1)]
    assert taken == sorted(taken) and len(set(taken)) == len(taken)
    assert taken[0] >= FIRST_TRAINING_SEED and taken[-1] < 2_000_000


@pytest.mark.parametrize(("task", "split", "file"), [
    ("coco_caption", "train", "coco/annotations/captions_train2014.json"),
    ("textcaps", "train", "textcaps/TextCaps_0.1_train.json"),
    ("coco_detection", "train2017", "coco/annotations/instances_train2017.json"),
    ("flickr30k", "train", "flickr30k/train.txt"),
    ("vqav2", "train", "vqav2/v2_OpenEnded_mscoco_train2014_questions.json"),
    ("textvqa", "train", "textvqa/TextVQA_0.5.1_train.json"),
    ("vizwiz", "train", "vizwiz/Annotations/train.json"),
])  # fmt: skip
def test_training_and_evaluation_need_only_their_own_files(
    miniature: Path, root: Path, task: str, split: str, file: str
) -> None:
    """Without training files, training is refused and evaluation works; without evaluation files, the reverse."""
    with pytest.raises(DataError, match=f"needs {miniature / file}, which is not there"):
        manifest.require(TASKS[task], miniature, split)
    with pytest.raises(DataError, match=f"{miniature / file} is not there"):
        load(miniature, task, split)
    for other in TASKS[task].splits:
        manifest.require(TASKS[task], miniature, other)
        assert load(miniature, task, other)
        with pytest.raises(DataError, match="which is not there"):
            manifest.require(TASKS[task], root, other)


def test_restval_needs_cocos_validation_images() -> None:
    needed = [need.path for need in manifest.needs(TASKS["coco_caption"], [RESTVAL])]
    assert needed == ["coco/dataset_coco.json", "coco/annotations/captions_val2014.json", "coco/val2014"]


def test_restval_is_read_from_karpathys_list_only(miniature: Path, tmp_path: Path) -> None:
    """With the test split renamed to restval in the list, the samples are the same; BLIP's file is not used."""
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


# ---------------------------------------------------------------------------- processes


def test_files_do_not_depend_on_the_number_of_processes(root: Path, tmp_path: Path) -> None:
    train_files.write(tmp_path, FEW, processes=2)
    assert miniature.manifest(tmp_path) == miniature.manifest(root)
