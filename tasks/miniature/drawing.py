"""Draws scenes and saves their images, in this process or in several; keeps the parts that annotations need."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tasks.miniature.render import Rendered, jpeg, rendered_scene, rendered_signs

CHUNK = 16  # scenes sent to a process together


@dataclass(frozen=True, slots=True)
class Job:
    """A scene to draw, and the path of its image below the root."""

    seed: int
    path: str
    signs: bool = False
    outlines: bool = False  # keep the outlines, which take most of a scene's memory


def drawn(root: Path, jobs: Sequence[Job], about: str, processes: int = 1) -> Iterator[Rendered]:
    """The scenes of jobs, in order, without pixels; the image of each is saved.

    `about` is the text of the progress bar.
    """
    draw = partial(_draw, root)
    if processes == 1:
        yield from tqdm(map(draw, jobs), about, len(jobs), disable=None)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from tqdm(pool.map(draw, jobs, chunksize=CHUNK), about, len(jobs), disable=None)


def save(path: Path, data: bytes) -> None:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _draw(root: Path, job: Job) -> Rendered:
    rendered = rendered_signs(job.seed) if job.signs else rendered_scene(job.seed)
    save(root / job.path, jpeg(rendered))
    height, width = rendered.image.shape[:2]
    bare = replace(rendered, image=np.zeros((0, width, 3), np.uint8), masks=np.zeros((0, height, width), bool))
    return bare if job.outlines else replace(bare, rings=())
