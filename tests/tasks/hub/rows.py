"""A row of each form of copies."""

from __future__ import annotations

from typing import Any

from harness.core import Size


def look() -> Size:
    return Size(4, 3)


ROWS: dict[str, dict[str, Any]] = {
    "refer": {"answer": ["a"], "bbox": [1.0, 2.0, 3.0, 4.0], "file_name": "COCO_train2014_000000581857_16.jpg"},
    "refer_with_ids": {
        "ref_id": 1,
        "ann_id": 2,
        "image_id": 3,
        "sentences": [{"sent_id": 4, "sent": "a"}],
        "bbox": [1.0, 2.0, 3.0, 4.0],
        "raw_image_info": '{"file_name": "x.jpg", "width": 4, "height": 3, "id": 3}',
    },
    "karpathy": {"filepath": "val2014", "filename": "x.jpg", "cocoid": 1, "sentences": {"raw": "a", "sentid": 1}},
    "nocaps": {
        "image_id": 1,
        "image_file_name": "x.jpg",
        "image_width": 4,
        "image_height": 3,
        "annotations_captions": ["a"],
    },
    "textcaps": {"image_id": "x", "image_width": 4, "image_height": 3, "reference_strs": ["a"]},
    "textvqa": {
        "image_id": "x",
        "question_id": 1,
        "question": "a?",
        "answers": ["a"] * 10,
        "image_width": 4,
        "image_height": 3,
    },
    "vizwiz": {"question_id": "VizWiz_val_00000001", "question": "a?", "answers": ["a"] * 10},
    "vqav2": {
        "question_id": 1,
        "image_id": 2,
        "question": "a?",
        "question_type": "what",
        "answer_type": "other",
        "answers": {"answer": ["a"], "answer_id": [1]},
    },
    "detection": {
        "image_id": 1,
        "width": 4,
        "height": 3,
        "objects": {"category": [0], "bbox": [[0.0, 0.0, 2.0, 2.0]], "area": [4]},
    },
    "images_only": {"file_name": "x.jpg"},
}
