"""SAM (arXiv:2304.02643) as the second half of a cascade: another model finds the box of an expression, SAM its mask.

`--boxes-from MODEL` names the other model; `oracle` gives the box of the target's mask, which is the highest score
that a perfect box could reach.  The usual baseline of referring segmentation is Grounding DINO and SAM.

SAM draws three masks for a box, and the answer is the mask of the highest predicted IoU, at the size of the image.
Where the other model finds no box, the mask is empty.  An answer that the other model could not give is not given.

`sam2` has the second version behind the same boxes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from baselines import florence2, grounding_dino
from baselines.batched import Batched
from baselines.detectors import load_exact
from baselines.entry import Entry, Setting
from baselines.pretrained import Checkpoint, LoadOptions, Pretrained
from baselines.pretrained import refuse as refuse_loading
from harness.core import Answer, Box, Boxes, Failure, Kind, Mask, Model, Polygons, Question, Size, Ticket
from harness.errors import UsageError
from harness.geometry.masks import from_runs, rasterise

if TYPE_CHECKING:
    from PIL import Image

    from baselines.batched import Reply

ANSWERS_VERSION = 1  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset({"segment"})
ORACLE = "oracle"


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeOptions:
    """The options of a cascade whose model of boxes is fixed."""

    attention: str | None = None
    "Attention of transformers for SAM: eager or sdpa [default: transformers' choice]"
    boxes_weights: str | None = None
    "Weights of the model that finds the boxes: a folder or owner/name[@revision] [default: its own]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(CascadeOptions):
    """The options of SAM."""

    boxes_from: str = ORACLE
    "Model that finds the box of an expression, such as grounding-dino-b; oracle: the box of the target"


class Masks(Protocol):
    """A model that draws the mask of a box."""

    def masks(self, images: Sequence[Image.Image], boxes: Sequence[Box]) -> list[NDArray[np.bool_]]:
        """For each image the (height, width) pixels of the object in its box, in pixels of the original image."""
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """A version of SAM: the class of transformers, the name and version in fingerprints, and how it is asked."""

    model: str
    name: str
    of: Callable[[Pretrained], Masks]


class Sam:
    """How SAM is asked; a `Masks`."""

    def __init__(self, loaded: Pretrained) -> None:
        import transformers

        self._loaded = loaded
        self._processor = transformers.SamProcessor(loaded.image_processor("SamImageProcessorPil"))

    def masks(self, images: Sequence[Image.Image], boxes: Sequence[Box]) -> list[NDArray[np.bool_]]:
        """For each image the (height, width) pixels of the object in its box."""
        import torch

        inputs = self._processor(list(images), input_boxes=[[list(box)] for box in boxes], return_tensors="pt")
        device, dtype = self._loaded.device, self._loaded.dtype
        with torch.inference_mode():
            output = self._loaded.model(
                pixel_values=inputs["pixel_values"].to(device, dtype),
                input_boxes=inputs["input_boxes"].to(device, dtype),
                multimask_output=True,
            )
        best = output.iou_scores[:, 0].argmax(dim=-1).tolist()
        chosen = [masks[:, [place]].float().cpu() for masks, place in zip(output.pred_masks, best, strict=True)]
        sizes, inner = inputs["original_sizes"], inputs["reshaped_input_sizes"]
        drawn = self._processor.image_processor.post_process_masks(chosen, sizes, inner)
        return [mask[0, 0].numpy() for mask in drawn]


class Cascade:
    """Answers a batch of `segment` questions by the boxes of another model; see `Batched`."""

    def __init__(self, sam: Masks, boxes_of: Model, oracle: bool) -> None:
        self._sam = sam
        self._boxes_of = boxes_of
        self._oracle = oracle

    def asked(self, question: Question) -> Question:
        """The question to the model of the boxes."""
        return replace(question, kind="segment" if self._oracle else "refer")

    def after(self, result: Answer | Failure) -> Cascade:
        """The cascade in which the model of the boxes has given this result already."""
        return Cascade(self._sam, _Given(result), self._oracle)

    def __call__(self, images: Sequence[Image.Image], questions: Sequence[Question]) -> list[Reply]:
        """A Mask for each question; the other model's Failure, or None where it could not be understood."""
        start = time.perf_counter()
        found = dict(self._boxes_of.answer(enumerate(map(self.asked, questions))))
        replies: list[Reply] = [None] * len(questions)
        boxes: dict[int, Box] = {}
        for place, image in enumerate(images):
            result, size = found[place], Size(*image.size)
            if isinstance(result, Failure):
                replies[place] = result
                continue
            box = first_box(result, size)
            if box is not None and has_area(box):
                boxes[place] = box
            elif result.value is not None:
                replies[place] = Answer(("no box",), from_runs([size.width * size.height], size))
        if boxes:
            drawn = self._sam.masks([images[place] for place in boxes], list(boxes.values()))
            for (place, box), mask in zip(boxes.items(), drawn, strict=True):
                where = ", ".join(f"{edge:.1f}" for edge in box)
                replies[place] = Answer((f"the mask of the box {where}",), encoded(mask), batch=len(boxes))
        seconds = time.perf_counter() - start  # of both models
        return [replace(reply, seconds=seconds) if isinstance(reply, Answer) else reply for reply in replies]


class _Given:
    """A Model that repeats one result."""

    fingerprint = "given"
    provenance: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, result: Answer | Failure) -> None:
        self._result = result

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """The result for each question."""
        return ((ticket, self._result) for ticket, _ in questions)


class Cascaded(Batched):
    """The Model of a cascade, whose halves can be counted apart (see `harness.speed.cost`)."""

    def __init__(self, fingerprint: str, cascade: Cascade, boxes_of: Model, setting: Setting) -> None:
        super().__init__(fingerprint, cascade, setting)
        self.asks = boxes_of
        self.asked = cascade.asked
        self.after = lambda result: Batched(fingerprint, cascade.after(result), setting)


def first_box(answer: Answer, size: Size) -> Box | None:
    """The first box of an answer, or the box around its outline; None where there is none."""
    value = answer.value
    if isinstance(value, Boxes):
        return value.boxes[0] if value.boxes else None
    if isinstance(value, Polygons | Mask):
        mask = rasterise(value, size)
        x, y, width, height = coco.toBbox({"size": [size.height, size.width], "counts": mask.counts}).tolist()
        return (x, y, x + width, y + height)
    return None


def has_area(box: Box) -> bool:
    """Whether a box is finite and not empty."""
    return bool(np.isfinite(box).all()) and box[0] < box[2] and box[1] < box[3]


def encoded(pixels: NDArray[np.bool_]) -> Mask:
    """The (height, width) pixels as a Mask."""
    height, width = pixels.shape
    code = coco.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return Mask(Size(width, height), bytes(code["counts"]))


def _build(
    setting: Setting, options: CascadeOptions, checkpoint: Checkpoint, boxes: Entry | None, family: Family
) -> Cascaded:
    other = _other(options, boxes)
    boxes_of = other.load(_setting_of(other, setting, options))
    loaded = load_exact(family.model, checkpoint, setting, LoadOptions(attention=options.attention))
    cascade = Cascade(family.of(loaded), boxes_of, other.sees_targets)
    size = setting.batch_size or (8 if str(loaded.device).startswith("cuda") else 1)
    fingerprint = f"{family.name}:{loaded.identity}:boxes of {boxes_of.fingerprint}"
    model = Cascaded(fingerprint, cascade, boxes_of, replace(setting, batch_size=size))
    of_boxes = {"boxes from": other.name, "model of the boxes": dict(boxes_of.provenance)}
    parameters = loaded.provenance["parameters"] + boxes_of.provenance.get("parameters", 0)  # of both
    model.provenance = {**loaded.provenance, "parameters": parameters, "batch size": size, **of_boxes}
    return model


def _refuse(setting: Setting, options: CascadeOptions, boxes: Entry | None) -> None:
    """UsageError or ResourceError for a setting that cannot work, of SAM or of the model of the boxes."""
    refuse_loading(setting, LoadOptions(attention=options.attention))
    other = _other(options, boxes)
    if other.kinds is not None and "refer" not in other.kinds:
        kinds = ", ".join(sorted(other.kinds))
        raise UsageError(f"--boxes-from {other.name}: it answers no refer questions, only {kinds}")
    other.check(_setting_of(other, setting, options), other.options())


def _other(options: CascadeOptions, boxes: Entry | None) -> Entry:
    """The model of the boxes: the entry's own, else the one that the option names."""
    from baselines import find

    return boxes if boxes is not None else find(getattr(options, "boxes_from", ORACLE))


def _setting_of(other: Entry, setting: Setting, options: CascadeOptions) -> Setting:
    """The setting of the model of the boxes: what it takes of SAM's, and its own weights."""
    return Setting(
        root=setting.root,
        samples=setting.samples if other.sees_targets else (),
        weights=options.boxes_weights,
        device=setting.device if "device" in other.uses else None,
        dtype=setting.dtype if "dtype" in other.uses else None,
        batch_size=setting.batch_size if "batch_size" in other.uses else None,
    )


def entry_of(checkpoint: Checkpoint, family: Family, about: str, parameters: str, boxes: Entry | None = None) -> Entry:
    """The Entry of a checkpoint behind the boxes of `boxes`, or of the model that `--boxes-from` names."""
    whose = boxes.name if boxes else "the model of --boxes-from, by default the target's"
    return checkpoint.entry(
        f"{about}: the mask of a box, here of {whose}",
        partial(_build, boxes=boxes, family=family),
        name=f"{boxes.name}+{checkpoint.name}" if boxes else checkpoint.name,
        options=CascadeOptions if boxes else Options,
        kinds=KINDS,
        refuse=partial(_refuse, boxes=boxes),
        parameters=parameters,
        sees_targets=boxes is None,
    )


SAM = Family("SamModel", f"Sam v{ANSWERS_VERSION}", Sam)


def _sam(size: str, parameters: str, boxes: Entry | None = None) -> Entry:
    checkpoint = Checkpoint(f"sam-{size[0]}", f"facebook/sam-vit-{size}")
    return entry_of(checkpoint, SAM, f"SAM with ViT-{size[0].upper()}", parameters, boxes)


_DETECTORS = {entry.name: entry for entry in (*grounding_dino.ENTRIES, *florence2.ENTRIES)}
ENTRIES = (
    _sam("base", "94 M"),
    _sam("large", "312 M"),
    _sam("huge", "641 M"),
    _sam("huge", "0.9 B", _DETECTORS["grounding-dino-b"]),
    _sam("huge", "1.4 B", _DETECTORS["florence2-l"]),
)
