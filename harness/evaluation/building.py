"""Builds the model of a request: in this process, or on the workers of a cluster."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import baselines
from baselines import Entry
from baselines.entry import Part
from baselines.examples import Examples
from harness.core import Model, Sample
from harness.errors import UsageError
from harness.evaluation import spreading
from harness.evaluation.plan import DataSource
from harness.evaluation.request import Request

if TYPE_CHECKING:
    from harness.cluster.ray_cluster import RayCluster


class Models:
    """The model of a request: built once, again for each task where it needs the task, or on the workers of a cluster.

    A cluster ends with the `with` statement.
    """

    def __init__(self, request: Request, entry: Entry | None) -> None:
        self._request, self._entry = request, entry
        self._per_task = entry is not None and (
            entry.sees_targets or entry.per_task or entry.shots_of(request.options) > 0
        )
        self._model: Model | None = None
        self._root = Path()  # of the model's images
        self._cluster: RayCluster | None = None

    def __enter__(self) -> Models:
        return self

    def __exit__(self, *_: object) -> None:
        if self._cluster is not None:
            self._cluster.close()

    def prepare(self, source: DataSource, samples: Sequence[Sample[Any]], part: Part) -> None:
        """Builds the model that tasks with the same root of images share, before the first of them."""
        root = source.image_root
        if (spread := self._request.spread) is not None:
            self._cluster = self._cluster or spreading.build(self._request, spread, self._entry, source)
            spreading.expect(self._cluster, self._request, part)
            self._model = self._cluster
        elif not self._per_task and (self._model is None or root != self._root):
            self._model = None  # frees its memory first
            self._model = _built(self._request, self._entry, root, samples, part)
        self._root = root

    def of(self, samples: Sequence[Sample[Any]], part: Part, examples: Examples | None) -> Model:
        """The model for a task, after `prepare`."""
        if self._model is not None:
            return self._model
        gc.collect()  # the model of the task before
        return _built(self._request, self._entry, self._root, samples, part, examples)


def entry_of(model: str | Entry | Model) -> Entry | None:
    """The Entry of a model; None for a Model object of the user's, which has none."""
    if isinstance(model, str):
        return baselines.find(model)
    return model if isinstance(model, Entry) else None


def _built(
    request: Request, entry: Entry | None, root: Path, samples: Sequence[Sample[Any]], part: Part,
    examples: Examples | None = None,
) -> Model:  # fmt: skip
    """The model, ready to answer; UsageError where a Model that is built already is given settings."""
    if entry is not None:
        return entry.load(replace(request.setting(root, samples), part=part, examples=examples), **request.options)
    if isinstance(request.model, str | Entry):
        raise ValueError(f"{request.model!r} has an entry")
    if request.options or request.setting().given:
        raise UsageError(f"{request.called(None)} is built already: its settings cannot be changed here")
    return request.model
