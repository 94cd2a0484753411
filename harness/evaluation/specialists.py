"""The specialists of a data engine: models by name, by Entry or by object, and the simulated ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import baselines
from baselines import Entry, Setting
from harness import images
from harness.core import Kind, Model
from harness.data_engine import recipes
from harness.data_engine.questions import refuse_unknown
from harness.data_engine.recipes import Recipe
from harness.data_engine.shards import Engine
from harness.data_engine.similarity import COMPARED, Comparing
from harness.errors import DataError, UsageError
from harness.evaluation.engine_data import root_of
from harness.evaluation.spreading import impossible

if TYPE_CHECKING:
    from harness.cluster.ray_cluster import RayCluster, Spread

SIMULATED = "simulated-"
Named = str | Entry | Model


def recipe_of(
    to: Path,
    recipe: str | Recipe | None,
    specialists: Mapping[str, Named | Sequence[Named]] | None,
    categories: Sequence[str],
) -> Recipe:
    """The recipe with the specialists and categories that were given."""
    if recipe is None:
        chosen = Engine.open(to).recipe if (to / "engine.json").exists() else recipes.fld()
    else:
        chosen = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
    for kind in [*(specialists or {}), *chosen.specialists]:
        refuse_unknown(kind)
    given = {cast(Kind, kind): tuple(map(name_of, listed_names(named))) for kind, named in (specialists or {}).items()}
    replaced = COMPARED if any(kind in given for kind in COMPARED) else ()
    rest = {kind: names for kind, names in chosen.specialists.items() if kind not in replaced}
    return replace(
        chosen,
        specialists={**rest, **given},
        categories=tuple(categories) or chosen.categories,
    )


def listed_names(named: Named | Sequence[Named]) -> list[Named]:
    return list(named) if isinstance(named, list | tuple) else [cast(Named, named)]


def name_of(named: Named) -> str:
    if isinstance(named, str):
        return named
    return named.name if isinstance(named, Entry) else type(named).__name__


def licence_of(named: Named) -> str:
    """The licence of a specialist's weights; "" where it is not established."""
    if isinstance(named, str) and not named.startswith(SIMULATED):
        named = baselines.find(named)
    return named.licence if isinstance(named, Entry) else ""


def check(kind: str, named: Named, *, elsewhere: bool = False) -> None:
    """UsageError for a model that cannot be asked questions of a kind, before anything is read.

    With `elsewhere`, the model is built on the workers of a cluster.
    """
    if elsewhere and not isinstance(named, str | Entry):
        raise UsageError(f"--specialist {kind}={name_of(named)}: {impossible(None, {})}")
    if isinstance(named, str) and named.startswith(SIMULATED):
        from tasks.miniature.specialists import KINDS as simulated
        from tasks.miniature.specialists import SPECIALISTS

        if named not in SPECIALISTS:
            raise UsageError(f"there is no specialist {named!r}; simulated ones are {', '.join(SPECIALISTS)}")
        answers, name = simulated, named
    else:
        entry = baselines.find(named) if isinstance(named, str) else named
        if not isinstance(entry, Entry):
            return
        if entry.sees_targets or entry.per_task:
            raise UsageError(f"the model {entry.name} is made for a task, and can be no specialist")
        answers, name = entry.answers({}), entry.name
    if kind not in answers:
        raise UsageError(f"--specialist {kind}={name}: {name} answers {', '.join(sorted(answers))}")


def load(kind: str, named: Named, root: Path, device: str | None, batch_size: int | None) -> Model:
    """The model of a specialist; `root` is the data root of the images."""
    return _loaded(kind, named, root, lambda: root, device, batch_size)


def spread_over(
    workers: Spread,
    kind: str,
    named: Named,
    data: str,
    root: Path,
    device: str | None,
    batch_size: int | None,
    sample: Sequence[str],
) -> RayCluster:
    """The model of a specialist on the workers of a cluster, each of which builds the model and reads images itself.

    `data` names the folder of images, or is "miniature"; `root` is where this process reads them.  A worker that reads
    other bytes for the images of `sample` gets no questions.
    """
    from harness.cluster.ray_cluster import RayCluster

    cluster = RayCluster(
        partial(_on_worker, kind, named, data, device, batch_size), workers, root, partial(root_of, data)
    )
    if not workers.ship_images:  # shipped images are compared one by one
        cluster.expect(partial(_digest, data, sample), _digest(data, sample))
    return cluster


def _on_worker(
    kind: str, named: Named, data: str, device: str | None, batch_size: int | None, shipped: Path | None
) -> Model:
    """The model of a worker, which reads images from `shipped` or from its own copy of the data."""
    root = root_of(data) if shipped is None else shipped
    return _loaded(kind, named, root, partial(root_of, data), device, batch_size)


def _digest(data: str, sample: Sequence[str]) -> str:
    """A digest of the bytes of these images; "" where one cannot be read."""
    sha256 = hashlib.sha256()
    try:
        root = root_of(data)
        for reference in sample:
            sha256.update(hashlib.sha256(images.read_bytes(root, reference)).digest())
    except DataError:
        return ""
    return sha256.hexdigest()


def _loaded(
    kind: str, named: Named, root: Path, truths: Callable[[], Path], device: str | None, batch_size: int | None
) -> Model:
    """The model; `truths` is where the truth is that simulated specialists spoil."""
    if isinstance(named, str) and named.startswith(SIMULATED):
        from tasks.miniature.engine_world import truths_of
        from tasks.miniature.specialists import SPECIALISTS, Simulated

        return Simulated(truths_of(truths()), SPECIALISTS[named], named)
    entry = baselines.find(named) if isinstance(named, str) else named
    if isinstance(entry, Entry):
        given = {"device": device, "batch_size": batch_size}
        taken = {name: value for name, value in given.items() if name in entry.uses}
        model = entry.load(Setting(root=root, **taken))  # type: ignore[arg-type]
    else:
        model = entry
    return Comparing(model, root) if kind in COMPARED else model
