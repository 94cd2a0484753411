"""Generated data of a number of questions, and the figure of its costs."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import ModuleType


def test_roots_reach_their_count_of_questions(scaling: ModuleType, tmp_path: Path) -> None:
    """A root is completed to a whole scene: it exceeds its count by fewer sentences than its last image has."""
    sizes = {}
    for count, data in zip((5, 40), scaling.roots(tmp_path, (5, 40)), strict=True):
        refs = pickle.loads((data / "refer/refcoco/refs(unc).p").read_bytes())
        sentences = dict.fromkeys(sorted({ref["image_id"] for ref in refs}), 0)
        for ref in refs:
            sentences[ref["image_id"]] += len(ref["sentences"])
        total, last = sum(sentences.values()), list(sentences.values())[-1]
        assert count <= total < count + last
        sizes[count] = set(sentences)
        assert all((data / scaling.IMAGES / f"COCO_train2014_{image:012d}.jpg").is_file() for image in sentences)
    assert sizes[5] < sizes[40]  # a root has the images of the one before


def test_draw_writes_figure(scaling: ModuleType, tmp_path: Path) -> None:
    rows = [
        {"questions": count, "seconds": 1.0 + count, "CPU seconds": 2.0 + count, "peak MiB": 300.0} for count in (1, 9)
    ]
    line = {"at the start": 1.0, "a question": 1.0}
    record = {"rows": rows, "a + b n": dict.fromkeys(("seconds", "CPU seconds", "peak MiB"), line)}
    scaling.draw(record, tmp_path / "scaling.svg")
    assert "<svg" in (tmp_path / "scaling.svg").read_text()
