"""The training splits of the miniature world, in the published file formats, for fine-tuning.

    refer/refcoco/, refcoco+/, refcocog/             only the split "train"
    coco/dataset_coco.json, coco/annotations/captions_train2014.json, coco/train2014/
    vqav2/v2_OpenEnded_mscoco_train2014_questions.json, vqav2/v2_mscoco_train2014_annotations.json
    coco/annotations/instances_train2017.json, coco/train2017/        the same images
    textcaps/TextCaps_0.1_train.json, textvqa/TextVQA_0.5.1_train.json, textvqa/train_images/
    vizwiz/Annotations/train.json, vizwiz/train/
    flickr30k/train.txt, Sentences/, Annotations/, flickr30k-images/

As in the real data sets, expressions, captions, questions and boxes are about the same COCO images.  Training has its
own seeds, so no scene is in a benchmark.  nocaps and ODinW have no training split.  Raise VERSION for every change of
the files that the benchmark's manifest does not show.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import astuple, dataclass
from pathlib import Path

from tasks.miniature import coco, flickr30k, reading, refcoco
from tasks.miniature.drawing import Job, drawn
from tasks.miniature.training import FIRST_TRAINING_SEED

VERSION = 1
COCO_SEED = FIRST_TRAINING_SEED
SIGNS_SEED, VIZWIZ_SEED, FLICKR_SEED = (FIRST_TRAINING_SEED + more for more in (300_000, 400_000, 500_000))
QUESTIONS = 8  # at most, for each image


@dataclass(frozen=True, slots=True)
class Images:
    """The number of scenes of each family."""

    coco: int = 5_000
    signs: int = 2_500
    vizwiz: int = 1_500
    flickr30k: int = 1_500

    @property
    def total(self) -> int:
        """The number of all scenes."""
        return sum(astuple(self))


FULL = Images()


def write(root: Path, images: Images = FULL, processes: int = 1) -> None:
    """Writes images and annotations under `root`; the bytes do not depend on the number of processes."""
    photos = range(COCO_SEED, COCO_SEED + images.coco)
    signs = range(SIGNS_SEED, SIGNS_SEED + images.signs)
    vizwiz = range(VIZWIZ_SEED, VIZWIZ_SEED + images.vizwiz)
    flickr = range(FLICKR_SEED, FLICKR_SEED + images.flickr30k)
    jobs = [
        *(Job(seed, coco.file_of(number_of(seed), "train2014"), outlines=True) for seed in photos),
        *reading.sign_jobs(signs),
        *reading.vizwiz_jobs(vizwiz, "train"),
        *flickr30k.jobs(flickr),
    ]
    scenes = drawn(root, jobs, "drawing training scenes", processes)
    rendered = {job.seed: scene for job, scene in zip(jobs, scenes, strict=True)}

    shown = [refcoco.Picture(number_of(seed), "train", rendered[seed]) for seed in photos]
    refcoco.annotate(root, shown)
    known = [coco.Photo(picture.image_id, "train", picture.rendered) for picture in shown]
    for photo in known:
        _link(root / coco.file_of(photo.number, "train2014"), root / coco.file_of(photo.number, "train2017"))
    coco.annotate_captions(root, "train2014", known)
    coco.annotate_objects(root, "train2017", known)
    coco.annotate_questions(root, "train2014", known, QUESTIONS)
    reading.annotate_signs(root, "train", [(seed, rendered[seed]) for seed in signs])
    reading.annotate_vizwiz(root, "train", [(seed, rendered[seed]) for seed in vizwiz])
    flickr30k.annotate(root, "train", [(seed, rendered[seed]) for seed in flickr])


def number_of(seed: int) -> int:
    """COCO's image id for a seed; no image of a benchmark has this id."""
    return 1000 + 7 * seed


def _link(source: Path, target: Path) -> None:
    """Links `target` to the file `source`, or copies the file where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
