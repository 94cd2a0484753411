"""The samples of a run as chunks: parts of an index for the grid, and the details of each sample.

The grid needs little of each sample, and a sample page needs much of one.  So a run of 100,000 samples is read in parts
of a few hundred kilobytes, and no part takes a browser long to parse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.core import Row
from harness.errors import DataError
from harness.images import size_of
from harness.report.breakdown import Breakdown
from harness.report.gallery import OUTCOMES, images_of
from harness.report.page import Shown
from harness.viewer import prompts
from harness.viewer.given import Library
from harness.viewer.shapes import shapes_of, texts_of
from harness.viewer.tokens import linked, probable

INDEXED = 2000  # samples in a part of the index
DETAILED = 50  # samples in a part of the details
LONGEST = 240  # characters of each text in the index
TEXTS = 20  # references of a target that a page lists
COLUMNS = ("id", "question", "score", "outcome", "size", "mistakes", "groups", "target", "output", "image", "truncated")


def head(shown: Shown, problem: str, parts: Breakdown) -> dict[str, Any]:
    """What a page needs before the index: the number of samples and parts, or the reason why there are none."""
    count = len(shown.rows)
    return {
        "problem": problem, "count": count, "indexed": INDEXED, "detailed": DETAILED, "columns": COLUMNS,
        "outcomes": OUTCOMES, "scores": list(shown.rows[0].score.values) if count else [],
        "kind": shown.rows[0].sample.question.kind if count else "", "analysed": bool(parts.mistakes),
        "prompts": prompts.examples(shown.run, shown.rows),
    }  # fmt: skip


def index(shown: Shown, parts: Breakdown, number: int, library: Library) -> list[list[Any]]:
    """Part `number` of the index: one list for each sample, in the order of `COLUMNS`."""
    rows = shown.rows[number * INDEXED : (number + 1) * INDEXED]
    entries = []
    for row, image in zip(rows, images_of(rows, parts.mistakes), strict=True):
        entries.append(
            [
                row.sample.id, image.question[:LONGEST], image.value, OUTCOMES.index(image.outcome), image.size,
                image.mistakes.split(), list(row.sample.groups), image.target[:LONGEST], image.output[:LONGEST],
                _picture(row, shown, library), row.answer.truncated,
            ]
        )  # fmt: skip
    return entries


def details(shown: Shown, parts: Breakdown, number: int, library: Library) -> list[dict[str, Any]]:
    """Part `number` of the details."""
    rows = shown.rows[number * DETAILED : (number + 1) * DETAILED]
    return list(_details(rows, shown, parts, library))


def _details(rows: Sequence[Row[Any]], shown: Shown, parts: Breakdown, library: Library) -> Iterator[dict[str, Any]]:
    for row in rows:
        sample, answer = row.sample, row.answer
        question = sample.question
        size = question.size
        picture = _picture(row, shown, library)
        if size is None and picture and isinstance(question.image, str) and question.image:
            try:
                size = size_of(shown.root, question.image)
            except DataError:  # the page says that the picture is gone
                size = None
        drawn = shapes_of(answer.value, question.phrases)
        raw = linked(answer.raw, drawn, size)
        yield {
            "id": sample.id, "image": picture, "name": question.image_name or sample.cluster,
            "size": list(size) if size is not None else None, "kind": question.kind, "text": question.text,
            "phrases": [phrase.text for phrase in question.phrases if question.kind in ("find", "ground")],
            "region": [round(side, 2) for side in question.region] if question.region else None,
            "target": shapes_of(sample.target, question.phrases), "references": texts_of(sample.target)[:TEXTS],
            "hidden": sample.target is None, "answer": drawn, "texts": texts_of(answer.value)[:TEXTS],
            "raw": raw, "log_probs": probable(raw, answer.log_probs), "prompts": prompts.sent(shown.run, row, size),
            "parsed": answer.value is not None, "tokens": answer.tokens,
            "truncated": answer.truncated, "seconds": round(answer.seconds, 4), "batch": answer.batch,
            "scores": {name: round(value, 5) for name, value in row.score.values.items()},
            "readable": row.score.readable, "mistakes": list(parts.mistakes.get(sample.id, ())),
        }  # fmt: skip


def _picture(row: Row[Any], shown: Shown, library: Library) -> str:
    """The picture of a sample; that of a caption that is searched with is the right one, its cluster."""
    return library.picture(shown.root, row.sample.question.image or row.sample.cluster)
