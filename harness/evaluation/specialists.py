"""The specialists of a data engine: models by name, by Entry or by object, and the simulated ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import baselines
from baselines import Entry, Setting
from harness.core import Kind, Model
from harness.data_engine import recipes
from harness.data_engine.questions import refuse_unknown
from harness.data_engine.recipes import Recipe
from harness.data_engine.shards import Engine
from harness.data_engine.similarity import COMPARED
from harness.errors import UsageError

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


def check(kind: str, named: Named) -> None:
    """UsageError for a model that cannot be asked questions of a kind, before anything is read."""
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


def load(named: Named, root: Path, device: str | None, batch_size: int | None) -> Model:
    if isinstance(named, str) and named.startswith(SIMULATED):
        from tasks.miniature.engine_world import truths_of
        from tasks.miniature.specialists import SPECIALISTS, Simulated

        return Simulated(truths_of(root), SPECIALISTS[named], named)
    entry = baselines.find(named) if isinstance(named, str) else named
    if not isinstance(entry, Entry):
        return entry
    given = {"device": device, "batch_size": batch_size}
    taken = {name: value for name, value in given.items() if name in entry.uses}
    return entry.load(Setting(root=root, **taken))  # type: ignore[arg-type]
