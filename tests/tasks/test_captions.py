"""Caption tasks: files and splits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness import runner
from harness.core import Answer, Question, Source, Text
from tasks import TASKS

# ---------------------------------------------------------------------------- files


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def coco_file(caption: str) -> dict[str, Any]:
    images = [{"id": 9, "file_name": "COCO_val2014_000000000009.jpg", "width": 4, "height": 3}]
    return {"images": images, "annotations": [{"image_id": 9, "id": 0, "caption": caption}]}


def test_coco_prefers_karpathys_list_with_cocos_captions(tmp_path: Path) -> None:
    """The single file of a split, as BLIP publishes it, is read where one of the two files is missing."""
    write(tmp_path / "coco/coco_karpathy_test_gt.json", coco_file("single"))
    write(tmp_path / "coco/dataset_coco.json", {"images": [{"cocoid": 9, "split": "test"}]})
    [sample] = TASKS["coco_caption"].load(Source(tmp_path, "test"))
    assert sample.target == Text(("single",))
    write(tmp_path / "coco/annotations/captions_val2014.json", coco_file("captions"))
    [sample] = TASKS["coco_caption"].load(Source(tmp_path, "test"))
    assert sample.target == Text(("captions",))
    write(tmp_path / "other.json", coco_file("given"))
    [sample] = TASKS["coco_caption"].load(Source(tmp_path, "test", tmp_path / "other.json"))
    assert sample.target == Text(("given",))


def test_flickr30k_reads_karpathys_split_and_writes_coco_results(tmp_path: Path) -> None:
    """The tokens of his file are ignored, and the id of an image is the number in its file's name."""
    images = [
        {"filename": f"{number}.jpg", "split": split, "imgid": place, "sentids": [place],
         "sentences": [{"raw": f"A dog, {split} .", "tokens": ["x"], "sentid": place, "imgid": place}]}
        for place, (number, split) in enumerate([(1000092795, "train"), (36979, "test"), (1007129816, "test")])
    ]  # fmt: skip
    write(tmp_path / "flickr30k/dataset_flickr30k.json", {"images": images, "dataset": "flickr30k"})
    task = TASKS["flickr30k_caption"]
    samples = list(task.load(Source(tmp_path, "test")))
    assert [sample.id for sample in samples] == ["36979", "1007129816"]
    assert samples[0].question == Question("flickr30k/flickr30k-images/36979.jpg", None, "caption")
    assert samples[0].target == Text(("A dog, test .",))
    write(tmp_path / "mine.json", {"images": images[1:2]})
    assert list(task.load(Source(tmp_path, "test", tmp_path / "mine.json"))) == samples[:1]
    answers = {sample.id: Answer(("a dog",), Text(("a dog",))) for sample in samples}
    task.predictions.write(tmp_path / "p.json", runner.mark(task, samples, answers))
    assert json.loads((tmp_path / "p.json").read_bytes()) == [
        {"image_id": 36979, "caption": "a dog"}, {"image_id": 1007129816, "caption": "a dog"},
    ]  # fmt: skip
    assert task.predictions.read(tmp_path / "p.json", samples) == answers
