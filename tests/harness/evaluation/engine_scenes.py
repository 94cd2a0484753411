"""A few embedded scenes, and a recipe of simulated specialists that needs nothing installed."""

from __future__ import annotations

from pathlib import Path

from harness.data_engine.recipes import Recipe, stage
from tasks.miniature import engine_world

SCENES = 6


def scenes(root: Path, count: int = SCENES) -> Path:
    """Draws scenes into a folder."""
    engine_world.write(root, count)
    return root


def benchmark(miniature: Path, root: Path) -> Path:
    """A data root of one benchmark alone: the embedded COCO detection."""
    for name in ("val2017", "annotations/instances_val2017.json"):
        (root / "coco" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "coco" / name).symlink_to(miniature / "coco" / name)
    return root


def recipe() -> Recipe:
    """Two detectors and an outline of each kept region."""
    return Recipe(
        name="simulated",
        specialists={"detect": ("simulated-detector", "simulated-detector-2"), "outline": ("simulated-segmenter",)},
        stages=(stage("boxes", {}), stage("parents", {})),
    )
