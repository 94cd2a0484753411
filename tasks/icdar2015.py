"""ICDAR 2015, incidental scene text: a model finds and reads the words in a photograph.

End-to-end recognition, detection and word spotting are counted by the official rules (`metrics/spotting.py`) over all
images.  Hmean is the harmonic mean of precision and recall.  No lexicon is used: the strong, weak and generic settings
of other methods choose from given words, so their numbers are higher.

Regions are scored as a result file holds them: in whole pixels.  An unparsable answer, or one of another type, has no
words.  Words are annotated one by one, so a model that answers with lines of text finds few.  Intervals resample
images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.core import Answer, FileNeed, Metric, Quads, Question, Sample, Score, Source, Task
from harness.data import icdar
from harness.metrics import spotting
from harness.metrics.reduce import hmean, ratio

ORIGIN = "https://rrc.cvc.uab.es/?ch=4&com=downloads"
IMAGES = "icdar2015/ch4_test_images"
TRUTH, SAME_TRUTH = "icdar2015/Challenge4_Test_Task4_GT", "icdar2015/Challenge4_Test_Task1_GT"


def load(source: Source) -> Iterator[Sample[Quads]]:
    """One sample for each image, with its words; `source.annotations` is a folder of gt_img_*.txt.

    The archives of tasks 1 and 4 have the same files, so either is read.
    """
    folder = source.root / TRUTH
    if not folder.is_dir() and (source.root / SAME_TRUTH).is_dir():
        folder = source.root / SAME_TRUTH
    for photograph in icdar.read(source.annotations or folder, source.origin(ORIGIN)):
        image = f"{IMAGES}/{photograph.file_name}"
        yield Sample(photograph.id, Question(image, None, "ocr_regions"), photograph.words, image)


def score(sample: Sample[Quads], answer: Answer) -> Score:
    """The counts of an image: `words`, `regions`, `found` and `read`, and those of word spotting.

    ValueError where the sample has no target.
    """
    if sample.target is None:
        raise ValueError(f"image {sample.id} has no words to compare with")
    value = answer.value if isinstance(answer.value, Quads) else None
    words = icdar.as_written(value or Quads(()))
    whole, spotted = spotting.end_to_end(sample.target, words), spotting.word_spotting(sample.target, words)
    values = {
        "read": whole.right,
        "found": whole.matched,
        "words": whole.words,
        "regions": whole.detections,
        "spotted": spotted.right,
        "words to spot": spotted.words,
        "regions to spot": spotted.detections,
    }
    return Score({name: float(count) for name, count in values.items()}, readable=value is not None)


def _metrics(name: str, right: str, words: str, regions: str) -> dict[str, Metric]:
    return {
        f"{name} Hmean": hmean(right, words, regions),
        f"{name} precision": ratio(right, regions),
        f"{name} recall": ratio(right, words),
    }


METRICS: Mapping[str, Metric] = {
    **_metrics("end-to-end", "read", "words", "regions"),
    **_metrics("detection", "found", "words", "regions"),
    **_metrics("word spotting", "spotted", "words to spot", "regions to spot"),
}
TASKS: tuple[Task[Any], ...] = (
    Task(
        name="icdar2015",
        version=1,
        about="ICDAR 2015 incidental scene text: find and read the words in a photograph",
        kind="ocr_regions",
        splits=("test",),
        load=load,
        score=score,
        metrics=METRICS,
        headline="end-to-end Hmean",
        predictions=icdar.WORDS,
        files=(
            FileNeed(TRUTH, f"{ORIGIN}, Challenge4_Test_Task4_GT.zip", instead=SAME_TRUTH, annotations=True),
            FileNeed(IMAGES, f"{ORIGIN}, ch4_test_images.zip"),
        ),
        seen_in_training="The images are not in the data sets that the paper lists as sources of FLD-5B, Florence-2's "
        "training data.",
        published={"test": {"images": 500, "samples": 500}},
    ),
)
