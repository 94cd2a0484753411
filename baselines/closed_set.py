"""Closed-set detectors; COCO's 80 categories: DETR, RT-DETR, D-FINE and LW-DETR.

They are a reference for accuracy and speed, and answer `detect` only: they cannot be given names to look for.  A box
has the class name of the checkpoint (`id2label`), never its number: DETR numbers 91 classes with gaps, the others 80.
Names such as "sofa" for COCO's "couch", which RT-DETR's checkpoints have, are among the synonyms of `coco_detection`.
A task with a category that the checkpoint does not have is left out.

- DETR: softmax; each query has its best class that is not "no object" (the authors' PostProcess).
- The others: sigmoid; as many of the highest (query, class) pairs as there are queries, so that a query may give
  several boxes.

There is no threshold.  Boxes are not clipped, as in the authors' evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from baselines.detectors import (
    Detecting,
    Found,
    Numbers,
    Prepared,
    as_boxes,
    corners,
    load_exact,
    numbers,
    resized,
    top_pairs,
)
from baselines.entry import Entry, Setting
from baselines.pretrained import Checkpoint, LoadOptions, Pretrained
from harness.core import Boxes, Kind, Question, Size
from harness.florence2.files import read_json

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset({"detect"})
NO_CLASS = "N/A"  # the name of the gaps among DETR's 91 classes
COCO = (  # in the order of the annotation files
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator",
    "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
OLDER = {  # names of RT-DETR's checkpoints
    "motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch", "pottedplant": "potted plant",
    "diningtable": "dining table", "tvmonitor": "tv",
}  # fmt: skip


class Forms(NamedTuple):
    """The classes of transformers of a family, and whether one of its logits is "no object"."""

    model: str
    processor: str
    softmax: bool = False


DETR = Forms("DetrForObjectDetection", "DetrImageProcessorPil", softmax=True)
RT_DETR = Forms("RTDetrForObjectDetection", "RTDetrImageProcessorPil")
RT_DETR_V2 = Forms("RTDetrV2ForObjectDetection", "RTDetrImageProcessorPil")
D_FINE = Forms("DFineForObjectDetection", "RTDetrImageProcessorPil")
LW_DETR = Forms("LwDetrForObjectDetection", "DeformableDetrImageProcessorPil")


class ClosedSet:
    """How a closed-set detector is asked and read; the two functions of `detectors.Detecting`."""

    def __init__(self, loaded: Pretrained, forms: Forms) -> None:
        self._loaded = loaded
        self._softmax = forms.softmax
        self._processor = loaded.image_processor(forms.processor)
        self._names: dict[int, str] = {int(key): name for key, name in loaded.model.config.id2label.items()}
        self.settings = str(dict(self._processor.size))

    def prepare(self, image: Image.Image, question: Question) -> Prepared[Any]:
        """The resized image, (3, H, W); the key is its size."""
        pixels = resized(self._processor, image)
        return Prepared(pixels.shape, Size(*image.size), question, pixels)

    def find(self, batch: Sequence[Prepared[Any]]) -> list[Found]:
        """The boxes of a batch of images of one size."""
        import torch

        pixels = torch.stack([prepared.content for prepared in batch])
        output = self._loaded.model(pixel_values=pixels.to(self._loaded.device, self._loaded.dtype))
        logits = output.logits.float()
        scores = numbers(logits.softmax(dim=-1)[..., :-1] if self._softmax else logits.sigmoid())
        return [
            Found(self._value(of_image, corners(shares, *prepared.size)))
            for prepared, of_image, shares in zip(batch, scores, output.pred_boxes, strict=True)
        ]

    def _value(self, scores: Numbers, boxes: Numbers) -> Boxes:
        """The boxes of an image from (Q, C) scores and (Q, 4) boxes in pixels."""
        if self._softmax:
            best = scores.argmax(axis=1)
            rows, _ = top_pairs(scores.max(axis=1, keepdims=True), len(scores))
            columns = best[rows]
        else:
            rows, columns = top_pairs(scores, len(scores))
        named = np.array([self._names[int(column)] != NO_CLASS for column in columns], np.bool_)
        rows, columns = rows[named], columns[named]
        return as_boxes(boxes[rows], [self._names[int(column)] for column in columns], scores[rows, columns])


def _build(setting: Setting, options: LoadOptions, checkpoint: Checkpoint, forms: Forms) -> Detecting[Any]:
    loaded = load_exact(forms.model, checkpoint, setting, options)
    family = ClosedSet(loaded, forms)
    named = f"ClosedSet v{ANSWERS_VERSION}:{family.settings}"
    return Detecting(named, family.prepare, family.find, loaded, setting)


def categories(weights: str | None, checkpoint: Checkpoint) -> frozenset[str]:
    """The class names of a checkpoint, with COCO's for older ones; COCO's for the entry's own weights.

    Errors are those of `Checkpoint.folder`; CheckpointError for a damaged `config.json`.
    """
    if weights is None:
        return frozenset(COCO)
    folder = checkpoint.folder(weights)
    named = read_json((checkpoint.base(folder) or folder) / "config.json").get("id2label")
    names = {str(name) for name in named.values()} if isinstance(named, dict) else set()
    return frozenset(names | {OLDER[name] for name in names & OLDER.keys()}) - {NO_CLASS}


def _entry(name: str, forms: Forms, repo: str, about: str, parameters: str, revision: str = "main") -> Entry:
    checkpoint = Checkpoint(name, repo, revision)
    return checkpoint.entry(
        about,
        partial(_build, forms=forms),
        kinds=KINDS,
        categories=partial(categories, checkpoint=checkpoint),
        parameters=parameters,
        protocol="fine_tuned",
        checkpoint=checkpoint.folder if forms is DETR else None,
        recipe="detector" if forms is DETR else "",
        teach=partial(_teach, checkpoint=checkpoint) if forms is DETR else None,
    )


def _teach(weights: str | None, recipe: Any, device: str, checkpoint: Checkpoint) -> Any:
    from baselines.detector_training import teach

    return teach(weights, recipe, device, checkpoint=checkpoint)


ENTRIES = (  # DETR's revision `no_timm` is the same model without the package timm
    _entry("detr-r50", DETR, "facebook/detr-resnet-50", "DETR with ResNet-50; COCO", "41 M", "no_timm"),
    _entry("detr-r101", DETR, "facebook/detr-resnet-101", "DETR with ResNet-101; COCO", "60 M", "no_timm"),
    _entry("rt-detr-r18", RT_DETR, "PekingU/rtdetr_r18vd", "RT-DETR with ResNet-18; COCO", "20 M"),
    _entry("rt-detr-r50", RT_DETR, "PekingU/rtdetr_r50vd", "RT-DETR with ResNet-50; COCO", "43 M"),
    _entry("rt-detr-r101", RT_DETR, "PekingU/rtdetr_r101vd", "RT-DETR with ResNet-101; COCO", "77 M"),
    _entry(
        "rt-detr-r50-o365",
        RT_DETR,
        "PekingU/rtdetr_r50vd_coco_o365",
        "RT-DETR with ResNet-50; Objects365 and COCO",
        "43 M",
    ),
    _entry(
        "rt-detr-r101-o365",
        RT_DETR,
        "PekingU/rtdetr_r101vd_coco_o365",
        "RT-DETR with ResNet-101; Objects365 and COCO",
        "77 M",
    ),
    _entry("rt-detr-v2-r18", RT_DETR_V2, "PekingU/rtdetr_v2_r18vd", "RT-DETRv2 with ResNet-18; COCO", "20 M"),
    _entry("rt-detr-v2-r34", RT_DETR_V2, "PekingU/rtdetr_v2_r34vd", "RT-DETRv2 with ResNet-34; COCO", "31 M"),
    _entry("rt-detr-v2-r50", RT_DETR_V2, "PekingU/rtdetr_v2_r50vd", "RT-DETRv2 with ResNet-50; COCO", "43 M"),
    _entry("d-fine-n", D_FINE, "ustc-community/dfine-nano-coco", "D-FINE-N; COCO", "4 M"),
    _entry("d-fine-s", D_FINE, "ustc-community/dfine-small-coco", "D-FINE-S; COCO", "10 M"),
    _entry("d-fine-m", D_FINE, "ustc-community/dfine-medium-coco", "D-FINE-M; COCO", "19 M"),
    _entry("d-fine-l", D_FINE, "ustc-community/dfine-large-coco", "D-FINE-L; COCO", "31 M"),
    _entry("d-fine-x", D_FINE, "ustc-community/dfine-xlarge-coco", "D-FINE-X; COCO", "62 M"),
    *(
        _entry(
            f"lw-detr-{size[0] if size != 'xlarge' else 'x'}",
            LW_DETR,
            f"AnnaZhang/lwdetr_{size}_60e_coco",
            f"LW-DETR {size}; COCO",
            parameters,
        )
        for size, parameters in (
            ("tiny", "12 M"),
            ("small", "15 M"),
            ("medium", "28 M"),
            ("large", "47 M"),
            ("xlarge", "118 M"),
        )
    ),
)
