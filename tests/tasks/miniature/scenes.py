"""Helpers for tests of the miniature."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from harness.core import Sample, Source
from tasks import TASKS


def samples_of(root: Path, task: str, split: str = "") -> list[Sample[Any]]:
    """The samples of a task's split, by default the first."""
    return list(TASKS[task].load(Source(root, split or TASKS[task].splits[0])))


def coco(path: Path) -> COCO:
    """pycocotools' reader of a file, without its prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))
