"""The miniature world as COCO captions, COCO detection and VQA v2, in the published file formats.

    coco/val2014/                          the images of captions and questions
    coco/annotations/captions_val2014.json
    coco/dataset_coco.json                 Karpathy's splits of these images
    coco/val2017/                          the same images under COCO's later file names
    coco/annotations/instances_val2017.json
    coco/test2015/, vqav2/                 questions and annotations; test-dev has no annotations

`train_files` writes the same for train2014 and train2017.

Category ids have gaps, as in COCO.  In half of the scenes where three or more things share a category, two of these are
annotated as one crowd.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.geometry.outlines import area, refill
from harness.geometry.polygons import to_flat
from tasks.miniature.drawing import Job, drawn, save
from tasks.miniature.render import Rendered
from tasks.miniature.scene import Draw
from tasks.miniature.shapes import SEEN
from tasks.miniature.telling import Query, noisy, queries, references

FIRST_SEED = 100_000
SPLITS = (("train", 20), ("val", 40), ("test", 90))  # Karpathy's splits with their numbers of images
TEST_DEV = 10  # images
QUESTIONS = 4  # for each image
CATEGORY_IDS = tuple(1 + place + place // 3 for place in range(len(SEEN)))
INFO = {"description": "miniature: an embedded world in COCO's format", "version": "1", "year": 2026}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Photo:
    """A scene with its image id and Karpathy's split."""

    number: int
    split: str
    rendered: Rendered


def write(root: Path) -> None:
    """Writes images and annotations under `root`."""
    splits = [split for split, count in (*SPLITS, ("test-dev", TEST_DEV)) for _ in range(count)]
    numbers = [200_000 + 13 * place for place in range(len(splits))]
    jobs = [
        Job(FIRST_SEED + place, file_of(number, "test2015" if split == "test-dev" else "val2014"), outlines=True)
        for place, (number, split) in enumerate(zip(numbers, splits, strict=True))
    ]
    scenes = drawn(root, jobs, "drawing COCO")
    photos = [Photo(*photo) for photo in zip(numbers, splits, scenes, strict=True)]
    known, hidden = [p for p in photos if p.split != "test-dev"], [p for p in photos if p.split == "test-dev"]
    for photo in known:
        save(root / file_of(photo.number, "val2017"), (root / file_of(photo.number, "val2014")).read_bytes())
    annotate_captions(root, "val2014", known)
    annotate_objects(root, "val2017", known)
    annotate_questions(root, "val2014", known)
    annotate_questions(root, "test-dev2015", hidden, answered=False)


def file_of(number: int, year: str) -> str:
    """The path below the root of an image; COCO's file names of 2017 do not contain the year."""
    return f"coco/{year}/{number:012d}.jpg" if "2017" in year else f"coco/{year}/COCO_{year}_{number:012d}.jpg"


def annotate_captions(root: Path, year: str, photos: Sequence[Photo]) -> None:
    """Writes COCO's captions and Karpathy's splits of them."""
    save_json(root / f"coco/annotations/captions_{year}.json", _captions(photos, year))
    save_json(root / "coco/dataset_coco.json", _karpathy(photos, year))


def annotate_objects(root: Path, year: str, photos: Sequence[Photo]) -> None:
    """Writes COCO's instances."""
    save_json(root / f"coco/annotations/instances_{year}.json", _instances(photos, year))


def annotate_questions(
    root: Path, year: str, photos: Sequence[Photo], most: int = QUESTIONS, *, answered: bool = True
) -> None:
    """Writes VQA's questions, at most `most` for each photo, and people's answers unless `answered` is false."""
    entries, annotations = _questions(photos, most)
    common = {"info": INFO, "license": {}, "data_type": "mscoco", "data_subtype": year}
    questions = {**common, "task_type": "Open-Ended", "questions": entries}
    save_json(root / f"vqav2/v2_OpenEnded_mscoco_{year}_questions.json", questions)
    if answered:
        save_json(root / f"vqav2/v2_mscoco_{year}_annotations.json", {**common, "annotations": annotations})


def save_json(path: Path, value: Any) -> None:
    """Writes a JSON file and the folders above it."""
    save(path, json.dumps(value).encode())


def image_entry(number: int | str, file_name: str, rendered: Rendered) -> Json:
    """COCO's entry of an image."""
    size = rendered.scene.size
    return {"id": number, "file_name": file_name, "width": size.width, "height": size.height, "license": 1}


def _captions(photos: Sequence[Photo], year: str) -> Json:
    images = [image_entry(p.number, Path(file_of(p.number, year)).name, p.rendered) for p in photos]
    texts = [(p.number, text) for p in photos for text in references(p.rendered, Draw(p.number))]
    annotations = [{"image_id": number, "id": place + 1, "caption": text} for place, (number, text) in enumerate(texts)]
    return {"info": INFO, "images": images, "licenses": [], "type": "captions", "annotations": annotations}


def _karpathy(photos: Sequence[Photo], year: str) -> Json:
    images = []
    for place, photo in enumerate(photos):
        sentences: list[Json] = []
        for text in references(photo.rendered, Draw(photo.number)):
            tokens = text.lower().replace(",", "").replace(".", "").split()
            sentences.append({"tokens": tokens, "raw": text, "imgid": place, "sentid": len(sentences) + 5 * place})
        images.append(
            {
                "filepath": year,
                "filename": Path(file_of(photo.number, year)).name,
                "cocoid": photo.number,
                "imgid": place,
                "split": photo.split,
                "sentids": [sentence["sentid"] for sentence in sentences],
                "sentences": sentences,
            }
        )
    return {"images": images, "dataset": "coco"}


# ---------------------------------------------------------------------------- detection


def _instances(photos: Sequence[Photo], year: str) -> Json:
    images = [image_entry(p.number, Path(file_of(p.number, year)).name, p.rendered) for p in photos]
    annotations: list[Json] = []
    for photo in photos:
        rendered = photo.rendered
        names = [thing.category for thing in rendered.scene.things]
        crowd = _crowd(names, Draw(photo.number + 7))
        alone = [place for place in range(len(names)) if place not in crowd]
        for place in alone:
            annotations.append({**thing_entry(rendered, place), "image_id": photo.number})
        if crowd:
            annotations.append({**_crowd_entry(rendered, crowd), "image_id": photo.number})
        for entry in annotations[-len(alone) - bool(crowd) :]:
            entry["category_id"] = CATEGORY_IDS[SEEN.index(names[entry.pop("place")])]
    for number, entry in enumerate(annotations):
        entry["id"] = number + 1
    categories = [
        {"id": number, "name": name, "supercategory": "miniature"}
        for number, name in zip(CATEGORY_IDS, SEEN, strict=True)
    ]
    return {"info": INFO, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def thing_entry(rendered: Rendered, place: int) -> Json:
    """COCO's annotation of a thing, with its `place` in the scene."""
    left, top, right, bottom = rendered.boxes[place]
    rings = rendered.rings[place]
    return {
        "place": place,
        "bbox": [left, top, right - left, bottom - top],
        "segmentation": [to_flat(ring) for ring in rings],
        "area": sum(area(ring) for ring in rings),
        "iscrowd": 0,
    }


def _crowd(names: Sequence[str], draw: Draw) -> tuple[int, ...]:
    """Two things of a category that three or more things have, in half of such scenes."""
    many = [place for place, name in enumerate(names) if names.count(name) >= 3]
    return tuple(many[:2]) if many and draw.random() < 0.5 else ()


def _crowd_entry(rendered: Rendered, places: tuple[int, ...]) -> Json:
    mask: NDArray[np.bool_] = np.logical_or.reduce([refill(rendered.rings[i], rendered.scene.size) for i in places])
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return {
        "place": places[0],
        "bbox": [
            float(columns[0]),
            float(rows[0]),
            float(columns[-1] + 1 - columns[0]),
            float(rows[-1] + 1 - rows[0]),
        ],
        "segmentation": {"counts": _runs(mask), "size": list(mask.shape)},
        "area": float(mask.sum()),
        "iscrowd": 1,
    }


def _runs(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed run-length code: lengths of runs down the columns, of zeros first."""
    column_major = mask.T.reshape(-1)
    ends = np.flatnonzero(column_major[1:] != column_major[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], ends, [column_major.size]])).tolist()
    return [0, *lengths] if column_major[0] else list(lengths)


# ---------------------------------------------------------------------------- questions


def _questions(photos: Sequence[Photo], most: int) -> tuple[list[Json], list[Json]]:
    """Questions and their annotations, at most `most` for each image."""
    questions: list[Json] = []
    annotations: list[Json] = []
    for photo in photos:
        draw = Draw(photo.number + 3)
        for place, query in enumerate(draw.shuffled(queries(photo.rendered, draw))[:most]):
            number = 1000 * photo.number + place
            questions.append({"image_id": photo.number, "question": query.question, "question_id": number})
            annotations.append({"image_id": photo.number, "question_id": number, **_annotation(query, draw)})
    return questions, annotations


def _annotation(query: Query, draw: Draw) -> Json:
    answers = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": place + 1}
        for place, answer in enumerate(noisy(query, draw))
    ]
    return {
        "question_type": query.question_type,
        "answer_type": query.answer_type,
        "multiple_choice_answer": query.answer,
        "answers": answers,
    }
