"""The miniature's scenes with signs as DocVQA and ICDAR 2015, in the published file formats.

    docvqa/spdocvqa_images/, docvqa/spdocvqa_qas/val_v1.0_withQT.json
    icdar2015/ch4_test_images/img_<number>.jpg, icdar2015/Challenge4_Test_Task4_GT/gt_img_<number>.txt

The images are the first of TextVQA's, under other names.  Some words of ICDAR 2015 are marked as illegible.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.core import Quad
from tasks.miniature.coco import Json, save_json
from tasks.miniature.drawing import Job, drawn
from tasks.miniature.reading import SIGNS_SEED
from tasks.miniature.render import Rendered
from tasks.miniature.scene import Draw
from tasks.miniature.telling import reading, words

IMAGES = 60
FIRST_QUESTION = 49_153  # DocVQA's first published question id of val
ILLEGIBLE = 0.15  # share of words
MARK = "###"  # the transcription of a word that is not legible


def write(root: Path) -> None:
    """Writes images and annotations under `root`."""
    seeds = range(SIGNS_SEED, SIGNS_SEED + IMAGES)
    jobs = [
        Job(seed, f"icdar2015/ch4_test_images/img_{number}.jpg", signs=True) for number, seed in enumerate(seeds, 1)
    ]
    scenes = list(zip(seeds, drawn(root, jobs, "drawing ICDAR 2015"), strict=True))
    (root / "docvqa/spdocvqa_images").mkdir(parents=True)
    (root / "icdar2015/Challenge4_Test_Task4_GT").mkdir(parents=True)
    for number, (job, (seed, rendered)) in enumerate(zip(jobs, scenes, strict=True), 1):
        shutil.copyfile(root / job.path, root / "docvqa/spdocvqa_images" / _page(seed))
        lines = _lines(words(rendered), Draw(seed))
        # The published files begin with a byte order mark and have Windows' ends of lines.
        path = root / f"icdar2015/Challenge4_Test_Task4_GT/gt_img_{number}.txt"
        path.write_bytes("".join(f"{line}\r\n" for line in lines).encode("utf-8-sig"))
    _write_questions(root, scenes)


def _lines(placed: Sequence[tuple[str, Quad]], draw: Draw) -> list[str]:
    """The corners of each word in whole pixels, clockwise from the top left, and its transcription."""
    lines = []
    for word, quad in placed:
        corners = [str(int(value + 0.5)) for point in quad for value in point]
        lines.append(",".join([*corners, MARK if draw.random() < ILLEGIBLE else word]))
    return lines


def _write_questions(root: Path, scenes: Sequence[tuple[int, Rendered]]) -> None:
    """DocVQA's questions: about the words on signs, and where there are two signs, about their places."""
    entries: list[Json] = []
    for seed, rendered in scenes:
        placed = [word for word, _ in words(rendered)]  # from top to bottom
        asked = [(query.question, query.answer, "free_text") for query in reading(rendered)]
        if len(placed) == 2:
            asked.append(("What does the upper sign say?", placed[0], "layout"))
        for question, answer, kind in asked:
            entries.append(
                {
                    "questionId": FIRST_QUESTION + len(entries),
                    "question": question,
                    "question_types": [kind],
                    "image": f"documents/{_page(seed)}",
                    "docId": seed,
                    "ucsf_document_id": _page(seed).partition("_")[0],
                    "ucsf_document_page_no": "1",
                    "answers": list(dict.fromkeys((answer.upper(), answer.capitalize()))),
                    "data_split": "val",
                }
            )
    header = {"dataset_name": "docvqa", "dataset_version": "1.0", "dataset_split": "val"}
    save_json(root / "docvqa/spdocvqa_qas/val_v1.0_withQT.json", {**header, "data": entries})


def _page(seed: int) -> str:
    """A file name in the style of the UCSF library, with the number of the page."""
    return f"mini{seed % 10_000:04d}_1.jpg"
