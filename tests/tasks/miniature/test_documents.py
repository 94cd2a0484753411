"""The miniature's files of DocVQA and ICDAR 2015, and that their images are those of TextVQA."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.miniature import MANIFEST
from tasks.miniature.documents import IMAGES, MARK

FILES = json.loads(MANIFEST.read_text())
KEYS = {"questionId", "question", "question_types", "image", "docId", "ucsf_document_id", "ucsf_document_page_no",
        "answers", "data_split"}  # fmt: skip


def test_images_are_those_of_textvqa() -> None:
    known = {sha for path, sha in FILES.items() if path.startswith("textvqa/train_images/")}
    for folder in ("docvqa/spdocvqa_images/", "icdar2015/ch4_test_images/"):
        images = [sha for path, sha in FILES.items() if path.startswith(folder)]
        assert len(images) == IMAGES
        assert set(images) <= known


def test_questions_have_the_keys_of_the_published_file(miniature: Path) -> None:
    content = json.loads((miniature / "docvqa/spdocvqa_qas/val_v1.0_withQT.json").read_text())
    assert {"dataset_name", "dataset_version", "dataset_split", "data"} == content.keys()
    assert all(question.keys() == KEYS for question in content["data"])
    assert {kind for question in content["data"] for kind in question["question_types"]} == {"free_text", "layout"}


def test_upper_sign_is_the_first_line_of_the_same_image(miniature: Path) -> None:
    """Questions and lines come from one scene, so the answer is the word with the least y."""
    content = json.loads((miniature / "docvqa/spdocvqa_qas/val_v1.0_withQT.json").read_text())["data"]
    for question in content:
        if question["question_types"] == ["layout"]:
            number = question["docId"] % 10_000 + 1
            text = (miniature / f"icdar2015/Challenge4_Test_Task4_GT/gt_img_{number}.txt").read_text("utf-8-sig")
            upper, lower = (line.split(",") for line in text.splitlines())
            assert upper[8] in (question["answers"][0], MARK)
            assert int(upper[1]) <= int(lower[1])


def test_lines_are_those_of_the_published_files(miniature: Path) -> None:
    """A byte order mark, Windows' ends of lines, eight whole numbers and the word; letters have another tone there."""
    marked = total = 0
    for number in range(1, IMAGES + 1):
        data = (miniature / f"icdar2015/Challenge4_Test_Task4_GT/gt_img_{number}.txt").read_bytes()
        assert data.startswith(b"\xef\xbb\xbf") and data.endswith(b"\r\n")
        with Image.open(miniature / f"icdar2015/ch4_test_images/img_{number}.jpg") as image:
            pixels = np.asarray(image.convert("L"), np.float64)
        for line in data.decode("utf-8-sig").splitlines():
            *corners, word = line.split(",")
            left, top, right, top_right, right_below, bottom, left_below, bottom_left = map(int, corners)
            assert (top, right, bottom, left) == (top_right, right_below, bottom_left, left_below)  # clockwise
            assert np.ptp(pixels[top:bottom, left:right]) > 40  # the letters and the board behind them
            assert word == MARK or (word.isalpha() and word.isupper())
            marked, total = marked + (word == MARK), total + 1
    assert 0 < marked < total / 3
