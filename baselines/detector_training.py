"""Fine-tuning of DETR by the loss that transformers computes for it, with the authors' auxiliary losses.

An example has no prompt; its answer is five numbers for each object: the class, and the box's centre and sides as
millionths of the image's.  Images of a batch are padded at the right and bottom to a common size, and masked there;
boxes are shares of the image without its padding, as the authors' are and as the evaluation reads them.

The classes are the checkpoint's, if each category of the tasks is one of them by name.  Otherwise the classifier is
replaced by a new one for the tasks' categories.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from baselines import rival_training
from baselines.closed_set import DETR, NO_CLASS
from baselines.detectors import resized
from baselines.pretrained import Checkpoint, Pretrained, pixel_settings
from baselines.rival_training import RivalLesson
from harness import images
from harness.core import Kind, Objects, Phrase, Question, Sample, Size
from harness.errors import DataError, UsageError
from harness.metrics.labels import category_of
from harness.training import network
from harness.training.history import TrainingRun, history_of
from harness.training.lessons import Batch, Ids, Loss
from harness.training.loop import Batches
from harness.training.recipe import RivalRecipe
from harness.training.stores import Examples

MILLION = 1_000_000
FIELDS = 5  # numbers of an object
WRITER_VERSION = 1  # raise it whenever an example could change


class DetectorLesson(RivalLesson):
    """The loss of transformers' class: the mean over the objects of each part of a step, weighted by its images."""

    def loss(self, batch: Batch, device: torch.device) -> Loss:
        """The weighted sum of all losses, and the parts of the last layer."""
        pixels, mask = padded([batch.pixels[place] for place in batch.image.tolist()])
        labels = [labels_of(answer, device) for answer in batch.answers]
        output = self.model(pixel_values=pixels.to(device), pixel_mask=mask.to(device), labels=labels)
        loss: Tensor = batch.share * output.loss
        parts = {name: float(value.detach()) for name, value in output.loss_dict.items() if name in LOGGED}
        return loss, {name.removeprefix("loss_"): batch.share * value for name, value in parts.items()}


LOGGED = ("loss_ce", "loss_bbox", "loss_giou")  # of the last layer


def padded(pixels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Images (3, h, w) as (N, 3, H, W), and the mask (N, H, W) with 1 for their own pixels."""
    height, width = (max(image.shape[side] for image in pixels) for side in (1, 2))
    whole = pixels[0].new_zeros(len(pixels), 3, height, width)
    mask = torch.zeros(len(pixels), height, width, dtype=torch.long)
    for row, image in enumerate(pixels):
        whole[row, :, : image.shape[1], : image.shape[2]] = image
        mask[row, : image.shape[1], : image.shape[2]] = 1
    return whole, mask


def labels_of(answer: Ids, device: torch.device) -> dict[str, Tensor]:
    """The answer of an example as transformers' labels: classes (K,), and boxes (K, 4) as shares of the image."""
    rows = torch.from_numpy(answer.astype("int64")).view(-1, FIELDS)
    return {"class_labels": rows[:, 0].to(device), "boxes": (rows[:, 1:].double() / MILLION).float().to(device)}


def written(target: Objects, classes: Sequence[int], size: Size) -> list[int]:
    """The answer of an example: class, centre and sides of each object that is no crowd; boxes are clipped."""
    answer: list[int] = []
    for (left, top, right, bottom), category, crowd in zip(target.boxes, target.categories, target.crowd, strict=True):
        x1, x2 = (min(max(x / size.width, 0.0), 1.0) for x in (left, right))
        y1, y2 = (min(max(y / size.height, 0.0), 1.0) for y in (top, bottom))
        if not crowd and x1 < x2 and y1 < y2:
            shares = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
            answer += [classes[category], *(round(share * MILLION) for share in shares)]
    return answer


class DetectorLearner:
    """A closed-set detector, as a `harness.training.learner.Learner`."""

    notes: Sequence[str] = ()
    kinds: frozenset[Kind] = frozenset({"detect"})
    ids = MILLION + 1
    limits = (0, FIELDS * 100_000)

    def __init__(self, recipe: RivalRecipe, loaded: Pretrained) -> None:
        if recipe.lora:
            raise UsageError(f"lora={recipe.lora}: a detector is trained without adapters: --set lora=0")
        if recipe.checkpointing:
            raise UsageError("checkpointing: DETR has none in transformers: --set checkpointing=false")
        self.recipe, self.loaded = recipe, loaded
        self.model: Any = loaded.model
        self._processor = loaded.image_processor(DETR.processor)
        self.names: dict[int, str] = {int(key): name for key, name in self.model.config.id2label.items()}
        self.sha256 = str(loaded.provenance["weights sha256"])
        self.before = history_of(loaded.folder)
        self._classes_of = lru_cache(maxsize=64)(self._classes)
        self.origin = (WRITER_VERSION, pixel_settings(self._processor))

    def check(self, finished: Path) -> None:
        """CheckpointError for a damaged checkpoint."""
        rival_training.check(finished)

    def begin(self, questions: Mapping[str, Question]) -> None:
        """Freezes the recipe's parts, and replaces the classifier where the categories are not the checkpoint's."""
        categories = list(dict.fromkeys(phrase.text for question in questions.values() for phrase in question.phrases))
        if any(self._class_of(name) is None for name in categories):
            self.names = dict(enumerate(categories))
            self._replace_classifier()
        self.model.config.auxiliary_loss = True
        network.freeze(self.model, self.recipe.freeze)
        self.model.train()

    def _class_of(self, category: str) -> int | None:
        """The class of a category by its name, as evaluation reads names; None if there is none."""
        named = (number for number, name in self.names.items() if name != NO_CLASS)
        return next((number for number in named if category_of(self.names[number], (Phrase(category),), {}) == 0), None)

    def _classes(self, phrases: tuple[Phrase, ...]) -> list[int | None]:
        return [self._class_of(phrase.text) for phrase in phrases]

    def _replace_classifier(self) -> None:
        """A new classifier with a logit for each class and one for "no object", drawn from the recipe's seed."""
        config, old = self.model.config, self.model.class_labels_classifier
        config.id2label = dict(self.names)
        config.label2id = {name: number for number, name in self.names.items()}
        with torch.random.fork_rng([]):
            torch.manual_seed(self.recipe.plan.seed)
            new = nn.Linear(old.in_features, len(self.names) + 1)
        self.model.class_labels_classifier = new.to(old.weight.device, old.weight.dtype)

    @property
    def language(self) -> str:
        """The version of this writer, and a digest of the classes."""
        names = hashlib.sha256(repr(sorted(self.names.items())).encode()).hexdigest()
        return f"detector {WRITER_VERSION}:{names}"

    def examples(self, sample: Sample[Any], root: Path) -> Examples:
        """One example; none for an image whose objects are all crowds.  DataError for a category without a class."""
        question, target = sample.question, sample.target
        if target is None:
            return []
        if not isinstance(target, Objects):
            raise DataError(f"sample {sample.id} is a {question.kind!r} question, which a detector cannot be taught")
        classes = self._classes_of(question.phrases)
        known = [number for number in classes if number is not None]
        if len(known) < len(classes):
            lacking = question.phrases[classes.index(None)].text
            raise DataError(f"sample {sample.id} has a category that the first sample lacks: {lacking!r}")
        size = question.size or images.size_of(root, question.image_name)
        answer = written(target, known, size)
        return [([], answer)] if answer or not target.boxes else []

    @property
    def resizing(self) -> DetectorPixels:
        """The image processor, without padding."""
        return DetectorPixels(self._processor)

    def joined(self, pixels: list[Any]) -> list[Any]:
        """The images one by one; they are padded with the examples."""
        return pixels

    def train(self, batches: Batches, out: Path, identity: str, device: str) -> None:
        """Trains the weights that are not frozen."""
        lesson = DetectorLesson(self.model, self.recipe.plan.seed)
        rival_training.trained(lesson, batches, self.recipe.plan, out, identity)

    def save(self, folder: Path, run: TrainingRun) -> Path:
        """Writes the whole checkpoint."""
        self.model.config.auxiliary_loss = False  # as released: predictions need no losses of the other layers
        state = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
        start = self.loaded.folder
        return rival_training.save(
            folder, state, lambda to: rival_training.save_whole(self.model, start, to), self.before, run
        )


class DetectorPixels:
    """The pixels of an image, (3, h, w), as the evaluation makes them; a `mixture.Resizing`."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def resize(self, image: Image.Image) -> Any:
        """(3, h, w)."""
        return resized(self.processor, image)


def teach(weights: str | None, recipe: RivalRecipe, device: str, *, checkpoint: Checkpoint) -> DetectorLearner:
    """The learner of a checkpoint of DETR."""
    return DetectorLearner(recipe, rival_training.start_of(checkpoint, weights, DETR.model, recipe, device))
