"""The miniature as the hub's copies of data sets: parquet files with the columns of their data set cards."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXTS = pa.list_(pa.string())
FLOATS = pa.list_(pa.float32())
Rows = list[dict[str, Any]]

REFER = {
    "question_id": pa.string(), "image": IMAGE, "question": pa.string(), "answer": TEXTS, "segmentation": FLOATS,
    "bbox": FLOATS, "iscrowd": pa.int8(), "file_name": pa.string(),
}  # fmt: skip
REFER_WITH_IDS = {
    "sent_ids": pa.list_(pa.int64()), "file_name": pa.string(), "ann_id": pa.int64(), "ref_id": pa.int64(),
    "image_id": pa.int64(), "split": pa.string(),
    "sentences": pa.list_(pa.struct([("raw", pa.string()), ("sent", pa.string()), ("sent_id", pa.int64()),
                                     ("tokens", TEXTS)])),
    "category_id": pa.int64(), "raw_anns": pa.string(), "raw_image_info": pa.string(), "raw_sentences": pa.string(),
    "image_path": pa.string(), "bbox": pa.list_(pa.float64()), "captions": TEXTS, "global_image_id": pa.string(),
    "anns_id": pa.string(),
}  # fmt: skip
KARPATHY = {
    "image": IMAGE, "filepath": pa.string(), "sentids": pa.list_(pa.int32()), "filename": pa.string(),
    "imgid": pa.int32(), "split": pa.string(),
    "sentences": pa.struct([("tokens", TEXTS), ("raw", pa.string()), ("imgid", pa.int32()), ("sentid", pa.int32())]),
    "cocoid": pa.int32(),
}  # fmt: skip
COCO_CAPTION = {
    "question_id": pa.string(), "image": IMAGE, "question": pa.string(), "answer": TEXTS, "id": pa.int64(),
    "license": pa.int8(), "file_name": pa.string(), "coco_url": pa.string(), "height": pa.int32(),
    "width": pa.int32(), "date_captured": pa.string(),
}  # fmt: skip
NOCAPS = {
    "image": IMAGE, "image_coco_url": pa.string(), "image_date_captured": pa.string(), "image_file_name": pa.string(),
    "image_height": pa.int32(), "image_width": pa.int32(), "image_id": pa.int32(), "image_license": pa.int8(),
    "image_open_images_id": pa.string(), "annotations_ids": pa.list_(pa.int32()), "annotations_captions": TEXTS,
}  # fmt: skip
TEXTCAPS = {
    "question_id": pa.string(), "question": pa.string(), "image": IMAGE, "image_id": pa.string(),
    "image_classes": TEXTS, "flickr_original_url": pa.string(), "flickr_300k_url": pa.string(),
    "image_width": pa.int64(), "image_height": pa.int64(), "set_name": pa.string(), "image_name": pa.string(),
    "image_path": pa.string(), "caption_id": pa.list_(pa.int64()), "caption_str": TEXTS, "reference_strs": TEXTS,
}  # fmt: skip
TEXTVQA = {
    "image_id": pa.string(), "question_id": pa.int32(), "question": pa.string(), "question_tokens": TEXTS,
    "image": IMAGE, "image_width": pa.int32(), "image_height": pa.int32(), "flickr_original_url": pa.string(),
    "flickr_300k_url": pa.string(), "answers": TEXTS, "image_classes": TEXTS, "set_name": pa.string(),
    "ocr_tokens": TEXTS,
}  # fmt: skip
VIZWIZ = {
    "question_id": pa.string(), "image": IMAGE, "question": pa.string(), "answers": TEXTS, "category": pa.string(),
}  # fmt: skip
VQAV2 = {
    "question_type": pa.string(), "multiple_choice_answer": pa.string(),
    "answers": pa.list_(pa.struct([("answer", pa.string()), ("answer_confidence", pa.string()),
                                   ("answer_id", pa.int64())])),
    "image_id": pa.int64(), "answer_type": pa.string(), "question_id": pa.int64(), "question": pa.string(),
    "image": IMAGE,
}  # fmt: skip
FLICKR30K = {
    "image": IMAGE, "caption": TEXTS, "sentids": TEXTS, "img_id": pa.string(), "filename": pa.string(),
}  # fmt: skip
DETECTION = {
    "image_id": pa.int64(), "image": IMAGE, "width": pa.int64(), "height": pa.int64(),
    "objects": pa.struct([("bbox_id", pa.list_(pa.int64())), ("category", pa.list_(pa.int64())),
                          ("bbox", pa.list_(pa.list_(pa.float64(), 4))), ("area", pa.list_(pa.float64()))]),
}  # fmt: skip


def _json(root: Path, name: str) -> Any:
    return json.loads((root / name).read_text())


def image(root: Path, reference: str) -> dict[str, Any]:
    """The cell of an image."""
    return {"bytes": (root / reference).read_bytes(), "path": reference.rpartition("/")[2]}


def refer(root: Path, folder: str, by: str, split: str) -> Rows:
    """The rows of lmms-lab/RefCOCO and its siblings."""
    refs = pickle.loads((root / f"refer/{folder}/refs({by}).p").read_bytes())
    instances = _json(root, f"refer/{folder}/instances.json")
    annotations = {each["id"]: each for each in instances["annotations"]}
    names = {each["id"]: each["file_name"] for each in instances["images"]}
    return [
        {
            "question_id": str(ref["ann_id"]),
            "image": image(root, f"coco/train2014/{names[ref['image_id']]}"),
            "question": "Provide a short description for this region.",
            "answer": [sentence["sent"] for sentence in ref["sentences"]],
            "segmentation": [1.0, 1.0, 2.0, 2.0, 3.0, 1.0],
            "bbox": annotations[ref["ann_id"]]["bbox"],
            "iscrowd": 0,
            "file_name": ref["file_name"],
        }
        for ref in refs
        if ref["split"] == split
    ]


def refer_with_ids(root: Path, folder: str, by: str, split: str) -> Rows:
    """The rows of jxu124/refcoco and its siblings."""
    refs = pickle.loads((root / f"refer/{folder}/refs({by}).p").read_bytes())
    instances = _json(root, f"refer/{folder}/instances.json")
    annotations = {each["id"]: each for each in instances["annotations"]}
    images = {each["id"]: each for each in instances["images"]}
    rows = []
    for ref in refs:
        if ref["split"] == split:
            left, top, width, height = annotations[ref["ann_id"]]["bbox"]
            given = {name: ref[name] for name in REFER_WITH_IDS if name in ref}
            info = json.dumps(images[ref["image_id"]])
            rows.append({**given, "raw_image_info": info, "bbox": [left, top, left + width, top + height]})
    return rows


def karpathy(root: Path, split: str) -> Rows:
    """The rows of bitmind/MS-COCO: one for each caption."""
    rows = []
    for place, entry in enumerate(_json(root, "coco/dataset_coco.json")["images"]):
        if entry["split"] == split:
            cell = image(root, f"coco/{entry['filepath']}/{entry['filename']}")
            names = {name: entry[name] for name in ("filepath", "filename", "cocoid", "split")}
            for sentence in entry["sentences"]:
                rows.append({"image": cell, "imgid": place, "sentences": sentence, **names})
    return rows


def coco_caption(root: Path) -> Rows:
    """The rows of lmms-lab/COCO-Caption, val."""
    entries = _json(root, "coco/annotations/captions_val2014.json")["images"]
    return [
        {"image": image(root, f"coco/val2014/{each['file_name']}"), **{n: each[n] for n in ("id", "file_name")}}
        for each in entries
    ]


def nocaps(root: Path) -> Rows:
    """The rows of lmms-lab/NoCaps."""
    content = _json(root, "nocaps/nocaps_val_4500_captions.json")
    rows = []
    for each in content["images"]:
        captions = [entry["caption"] for entry in content["annotations"] if entry["image_id"] == each["id"]]
        given = {f"image_{name}": each[name] for name in ("id", "file_name", "width", "height")}
        cell = image(root, f"nocaps/val/{each['file_name']}")
        rows.append({"image": cell, **given, "annotations_captions": captions})
    return rows


def textcaps(root: Path) -> Rows:
    """The rows of lmms-lab/TextCaps, val: one for each image."""
    rows: dict[str, dict[str, Any]] = {}
    for entry in _json(root, "textcaps/TextCaps_0.1_val.json")["data"]:
        given = {name: entry[name] for name in TEXTCAPS if name in entry and name not in ("caption_id", "caption_str")}
        rows[entry["image_id"]] = {"image": image(root, f"textvqa/train_images/{entry['image_id']}.jpg"), **given}
    return list(rows.values())


def textvqa(root: Path) -> Rows:
    """The rows of lmms-lab/textvqa, validation."""
    return [
        {"image": image(root, f"textvqa/train_images/{each['image_id']}.jpg"),
         **{name: each[name] for name in TEXTVQA if name in each}}
        for each in _json(root, "textvqa/TextVQA_0.5.1_val.json")["data"]
    ]  # fmt: skip


def vizwiz(root: Path) -> Rows:
    """The rows of lmms-lab/VizWiz-VQA, val."""
    return [
        {
            "question_id": each["image"].removesuffix(".jpg"),
            "image": image(root, f"vizwiz/val/{each['image']}"),
            "question": each["question"],
            "answers": [answer["answer"] for answer in each["answers"]],
        }
        for each in _json(root, "vizwiz/Annotations/val.json")
    ]


def vqav2(root: Path) -> Rows:
    """The rows of lmms-lab/VQAv2, validation."""
    questions = _json(root, "vqav2/v2_OpenEnded_mscoco_val2014_questions.json")["questions"]
    annotations = _json(root, "vqav2/v2_mscoco_val2014_annotations.json")["annotations"]
    by_id = {each["question_id"]: each for each in annotations}
    return [
        {**each, **by_id[each["question_id"]],
         "image": image(root, f"coco/val2014/COCO_val2014_{each['image_id']:012d}.jpg")}
        for each in questions
    ]  # fmt: skip


def flickr30k(root: Path) -> Rows:
    """The rows of lmms-lab/flickr30k, which has all images as one split."""
    names = sorted(path.name for path in (root / "flickr30k/flickr30k-images").iterdir())
    return [{"image": image(root, f"flickr30k/flickr30k-images/{name}"), "filename": name} for name in names]


def detection(root: Path) -> Rows:
    """The rows of detection-datasets/coco, val: corners, category numbers, no crowds, images with objects only."""
    content = _json(root, "coco/annotations/instances_val2017.json")
    number = {each["id"]: place for place, each in enumerate(content["categories"])}
    rows = []
    for each in content["images"]:
        own = [entry for entry in content["annotations"] if entry["image_id"] == each["id"]]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (entry["bbox"] for entry in own)]
        objects = {
            "bbox_id": [entry["id"] for entry in own],
            "category": [number[entry["category_id"]] for entry in own],
            "bbox": corners,
            "area": [entry["area"] for entry in own],
        }
        cell = image(root, f"coco/val2017/{each['file_name']}")
        size = {"width": each["width"], "height": each["height"]}
        if own:
            rows.append({"image_id": each["id"], "image": cell, **size, "objects": objects})
    return rows


def write(
    folder: Path, split: str, columns: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, parts: int = 2,
    group: int = 7,
) -> list[Path]:  # fmt: skip
    """Writes rows as `datasets` uploads them: data/<split>-00000-of-00002.parquet, with row groups of a few rows."""
    schema = pa.schema(list(columns.items()))
    (folder / "data").mkdir(parents=True, exist_ok=True)
    paths = []
    for part in range(parts):
        chosen = rows[part * len(rows) // parts : (part + 1) * len(rows) // parts]
        own = [{name: row.get(name) for name in columns} for row in chosen]
        paths.append(folder / f"data/{split}-{part:05d}-of-{parts:05d}.parquet")
        pq.write_table(pa.Table.from_pylist(own, schema), paths[-1], row_group_size=group)
    return paths


COPIES: Mapping[str, tuple[str, str, str, Mapping[str, Any], Callable[[Path], Rows]]] = {
    # task: the repository, its split, the task's split, the columns and the rows
    "refcoco": ("lmms-lab/RefCOCO", "testA", "testA", REFER, lambda root: refer(root, "refcoco", "unc", "testA")),
    "refcoco_plus": ("lmms-lab/RefCOCOplus", "val", "val", REFER, lambda root: refer(root, "refcoco+", "unc", "val")),
    "refcocog": ("lmms-lab/RefCOCOg", "test", "test", REFER, lambda root: refer(root, "refcocog", "umd", "test")),
    "coco_caption": ("bitmind/MS-COCO", "test", "test", KARPATHY, lambda root: karpathy(root, "test")),
    "coco_retrieval": ("bitmind/MS-COCO", "validation", "val", KARPATHY, lambda root: karpathy(root, "val")),
    "nocaps": ("lmms-lab/NoCaps", "validation", "val", NOCAPS, nocaps),
    "textcaps": ("lmms-lab/TextCaps", "val", "val", TEXTCAPS, textcaps),
    "textvqa": ("lmms-lab/textvqa", "validation", "val", TEXTVQA, textvqa),
    "vizwiz": ("lmms-lab/VizWiz-VQA", "val", "val", VIZWIZ, vizwiz),
    "vqav2": ("lmms-lab/VQAv2", "validation", "val", VQAV2, vqav2),
    "coco_detection": ("detection-datasets/coco", "val", "val2017", DETECTION, detection),
}  # fmt: skip


def copy_of(task: str, root: Path, to: Path) -> tuple[Path, str]:
    """Writes the copy of a task's split below `to`; returns its folder and the task's split."""
    repo, split, ours, columns, rows = COPIES[task]
    folder = to / repo.replace("/", "--")
    write(folder, split, columns, rows(root))
    return folder, ours
