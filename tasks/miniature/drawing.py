"""Scenes drawn and saved, here or over several processes; of each is kept what annotations are written from."""

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

AT_ONCE = 16  # scenes handed to a process together


@dataclass(frozen=True, slots=True)
class Order:
    """A scene to draw, with signs or without, and where under the root its picture goes."""

    seed: int
    path: str
    signs: bool = False
    outlines: bool = False  # whether they are kept: they are most of what a scene weighs


def drawn(root: Path, orders: Sequence[Order], about: str, processes: int = 1) -> Iterator[Rendered]:
    """The scenes in this order, without their pixels, each with its picture saved; `about` is what is being drawn."""
    draw = partial(_draw, root)
    if processes == 1:
        yield from tqdm(map(draw, orders), about, len(orders), disable=None)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from tqdm(pool.map(draw, orders, chunksize=AT_ONCE), about, len(orders), disable=None)


def save(path: Path, data: bytes) -> None:
    """A file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _draw(root: Path, order: Order) -> Rendered:
    rendered = rendered_signs(order.seed) if order.signs else rendered_scene(order.seed)
    save(root / order.path, jpeg(rendered))
    height, width = rendered.image.shape[:2]
    bare = replace(rendered, image=np.zeros((0, width, 3), np.uint8), masks=np.zeros((0, height, width), bool))
    return bare if order.outlines else replace(bare, rings=())
