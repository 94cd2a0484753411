"""The pool of examples: of the training split alone, never of an image that is evaluated, the same for one seed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from baselines.entry import Part
from harness.core import Question, Sample, Source, Text
from harness.data import pack
from harness.errors import DataError, UsageError
from harness.evaluation import examples
from harness.evaluation.examples import described, draw, impossible
from tasks import TASKS
from tasks.miniature import train_files

VQA = TASKS["vqav2"]


@pytest.fixture(scope="module")
def drawn_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("training")
    train_files.write(root, train_files.Images(coco=5, signs=2, vizwiz=2, flickr30k=1))
    return root


@pytest.fixture
def root(drawn_root: Path, tmp_path: Path) -> Path:
    """A copy of the training root that a test may change."""
    return Path(shutil.copytree(drawn_root, tmp_path / "training"))


def evaluated(*names: str) -> list[Sample[Text]]:
    return [Sample(name, Question(name, None, "vqa", text="what?"), Text(("yes",)), name) for name in names]


def part(root: Path, samples: Sequence[Sample[Any]] = (), task: Any = VQA) -> Part:
    return Part(task=task, split=task.splits[0], data_hash="", samples=samples, training_root=lambda: root)


def images_of(root: Path) -> list[str]:
    return sorted({sample.question.image_name for sample in VQA.load(Source(root, "train"))})


def drawn_images(root: Path, samples: Sequence[Sample[Any]], image_root: Path) -> set[str]:
    return {sample.question.image_name for sample in draw(part(root, samples), 4, 0, image_root).pool}


def test_pool_is_the_training_split(root: Path, tmp_path: Path) -> None:
    pool = draw(part(root), 4, 0, tmp_path)
    expected = {sample.id: sample for sample in VQA.load(Source(root, "train"))}
    assert {sample.id: sample for sample in pool.pool} == expected
    assert (pool.count, pool.seed, pool.root) == (4, 0, root)


def test_pool_is_the_same_for_one_seed_and_another_for_another(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "POOL", 9)
    some = evaluated("coco/val2014/COCO_val2014_000000000009.jpg", "coco/val2014/COCO_val2014_000000000008.jpg")
    first, again, other = (
        draw(part(root, samples), 4, seed, tmp_path) for samples, seed in ((some, 0), (some[::-1], 0), (some, 1))
    )
    assert first == again and len(first.pool) == 9
    assert {sample.id for sample in first.pool} != {sample.id for sample in other.pool}
    assert first.identity != other.identity
    assert described(first, VQA)["ids"] == [sample.id for sample in first.pool]


def test_image_of_the_same_number_in_coco_is_not_drawn(root: Path, tmp_path: Path) -> None:
    """COCO's val2014 and train2017 share images."""
    first, *others = images_of(root)
    number = first.rpartition("_")[2]
    assert drawn_images(root, evaluated(f"coco/val2014/COCO_val2014_{number}"), tmp_path) == set(others)


def test_image_with_the_same_bytes_under_another_name_is_not_drawn(root: Path, tmp_path: Path) -> None:
    first, *others = images_of(root)
    images = tmp_path / "evaluated"
    images.mkdir()
    shutil.copyfile(root / first, images / "mine.jpg")
    shutil.copyfile(root / first, images / "unlike.jpg")
    with (images / "unlike.jpg").open("r+b") as file:  # as many bytes, but others
        file.seek(-1, 2)
        file.write(b"x")
    assert drawn_images(root, evaluated("mine.jpg", "absent.jpg"), images) == set(others)
    assert drawn_images(root, evaluated("unlike.jpg"), images) == {first, *others}


def test_image_with_the_same_bytes_in_a_store_is_not_drawn(root: Path, tmp_path: Path) -> None:
    first, *others = images_of(root)
    images = tmp_path / "evaluated"
    (images / "folder").mkdir(parents=True)
    shutil.copyfile(root / first, images / "folder/mine.jpg")
    pack.pack(images, ["folder/mine.jpg"], folder="folder")
    shutil.rmtree(images / "folder")
    assert drawn_images(root, evaluated("folder/mine.jpg"), images) == set(others)


def test_training_split_that_is_evaluated_has_no_examples(root: Path) -> None:
    whole = list(VQA.load(Source(root, "train")))
    with pytest.raises(DataError, match=r"--shots 4 needs 4 samples of vqav2 train .* not evaluated; .* has 0$"):
        draw(part(root, whole), 4, 0, root)


def test_samples_without_answers_are_not_drawn(root: Path, tmp_path: Path) -> None:
    """Excluded ones, ones whose answers are not published, and empty answers."""

    def load(source: Source) -> Any:
        changes: list[dict[str, Any]] = [{"target": None}, {"target": Text(("", " "))}, {"excluded": "are not asked"}]
        for number, sample in enumerate(VQA.load(source)):
            yield replace(sample, **changes[number]) if number < 3 else sample

    samples = list(VQA.load(Source(root, "train")))
    pool = draw(part(root, task=replace(VQA, load=load)), 4, 0, tmp_path)
    assert {sample.id for sample in pool.pool} == {sample.id for sample in samples[3:]}


def changed_answer(root: Path) -> None:
    [path] = root.rglob("v2_mscoco_train2014_annotations.json")
    content = json.loads(path.read_text())
    content["annotations"][0]["answers"][0]["answer"] = "something else"
    path.write_text(json.dumps(content))


def changed_image(root: Path) -> None:
    Image.new("RGB", (30, 30), "red").save(root / images_of(root)[0])


@pytest.mark.parametrize("change", [changed_answer, changed_image])
def test_identity_names_the_answers_and_the_images(root: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    before = draw(part(root), 4, 0, tmp_path).identity
    assert draw(part(root), 4, 0, tmp_path).identity == before
    change(root)
    assert draw(part(root), 4, 0, tmp_path).identity != before
    assert draw(part(root), 8, 0, tmp_path).identity.startswith("8 examples of vqav2 train, seed 0, ")


def test_missing_training_files_are_one_line(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "vqav2")
    with pytest.raises(DataError, match=r"--shots 4 takes examples from split train: vqav2 needs .*train2014"):
        draw(part(root), 4, 0, tmp_path)


def test_missing_training_image_is_one_line(root: Path, tmp_path: Path) -> None:
    (root / images_of(root)[0]).unlink()
    with pytest.raises(DataError, match=r"COCO_train2014_\d+\.jpg"):
        draw(part(root), 4, 0, tmp_path)


def test_own_annotations_without_a_data_root_need_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--shots 4 takes examples from vqav2 train: give its data root, --data ROOT"):
        draw(part(Path()), 4, 0, Path())
    monkeypatch.chdir(root)  # `--data .`
    assert draw(part(Path()), 4, 0, tmp_path).identity == draw(part(root), 4, 0, tmp_path).identity


def test_task_without_a_training_split_cannot_have_examples() -> None:
    assert impossible(TASKS["nocaps"], 4) == "needs 4 examples of a training split, and nocaps has none"
    assert impossible(TASKS["nocaps"], 0) == impossible(VQA, 4) == ""
