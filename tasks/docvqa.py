"""DocVQA: a model answers a question about a page of a document.

The score is the official evaluator's ANLS against the accepted answers (`metrics/anls.py`); an unparsable answer scores
0.  ANLS is also reported for each type of question, where the file names the types.  Intervals resample pages.  A
server has the answers of test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.core import Answer, FileNeed, Metric, Question, Sample, Score, Source, Task, Text
from harness.data import docvqa as files
from harness.metrics.anls import anls
from harness.metrics.reduce import mean

ORIGIN = "https://www.docvqa.org/datasets/docvqa (Robust Reading Competition, https://rrc.cvc.uab.es/?ch=17)"
ANNOTATIONS = {"val": "val_v1.0_withQT.json", "test": "test_v1.0.json"}
ANLS: Mapping[str, Metric] = {"ANLS": mean("anls", in_order=True)}


def load(source: Source) -> Iterator[Sample[Text]]:
    """A split, without targets for test.

    The questions and pages are those of spdocvqa_qas.zip and spdocvqa_images.tar.gz.  Where the questions are absent,
    they are read as in the archive of the split (val.tar.gz), with its pages.
    """
    folder, split = source.root / "docvqa", source.split
    older = folder / split / f"{split}_v1.0.json"
    path = source.annotations or folder / "spdocvqa_qas" / ANNOTATIONS[split]
    pages = "docvqa/spdocvqa_images"
    if source.annotations is None and not path.is_file() and older.is_file():
        path, pages = older, f"docvqa/{split}/documents"
    for asked in files.read(path, source.origin(ORIGIN)):
        image = f"{pages}/{asked.image.rpartition('/')[2]}"  # the file has documents/xnbl0037_1.png
        target = Text(asked.answers) if asked.answers is not None else None
        yield Sample(asked.id, Question(image, asked.size, "vqa", asked.question), target, image, asked.groups)


def score(sample: Sample[Text], answer: Answer) -> Score:
    """`anls`, 0 to 1; ValueError where the answers are not published."""
    if sample.target is None:
        raise ValueError(f"the answers to question {sample.id} are not published")
    value = answer.value if isinstance(answer.value, Text) else None
    return Score({"anls": anls(value.texts[0], sample.target.texts) if value else 0.0}, readable=value is not None)


def _needs(split: str) -> tuple[FileNeed, FileNeed]:
    return (
        FileNeed(
            f"docvqa/spdocvqa_qas/{ANNOTATIONS[split]}", ORIGIN, (split,), instead=f"docvqa/{split}/{split}_v1.0.json"
        ),
        FileNeed("docvqa/spdocvqa_images", ORIGIN, (split,), instead=f"docvqa/{split}/documents"),
    )


TASKS: tuple[Task[Any], ...] = (
    Task(
        name="docvqa",
        version=1,
        about="DocVQA: answer a question about a page of a document (a server has the answers of test)",
        kind="vqa",
        splits=("val",),
        hidden_splits=("test",),
        load=load,
        score=score,
        metrics=ANLS,
        headline="ANLS",
        predictions=files.PREDICTIONS,
        files=(*_needs("val"), *_needs("test")),
        seen_in_training="Florence-2's zero-shot checkpoints were not trained on questions.  DocVQA is not among the "
        "data sets that the paper lists for the fine-tuned ones (Table 14).",
        by_group=ANLS,
        published={"val": {"images": 1286, "samples": 5349}, "test": {"images": 1287, "samples": 5188}},
    ),
)
