"""A model on a cluster, from a Request: what each worker builds and checks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import baselines
from baselines import Entry
from baselines.entry import Part
from harness.core import Model, Task
from harness.errors import UsageError
from harness.evaluation.plan import DATA_VARIABLE, MINIATURE, DataSource, source_of

if TYPE_CHECKING:
    from harness.cluster.ray_cluster import RayCluster, Spread
    from harness.evaluation.request import Request


@dataclass(frozen=True, slots=True)
class Data:
    """The options that name a request's data, with absolute paths, since a worker has another working folder."""

    data: str | None
    who: str
    embedded: bool
    annotations: Path | None
    images: Path | None
    strict: bool

    def source(self) -> DataSource:
        """The data source, as a worker sees it."""
        return source_of(
            self.data, self.who, embedded=self.embedded, annotations=self.annotations, images=self.images,
            strict=self.strict,
        )  # fmt: skip


def data_of(request: Request) -> Data:
    """The data of a request, for workers on other machines."""
    entry = baselines.find(request.model) if isinstance(request.model, str) else request.model
    data = request.data or os.environ.get(DATA_VARIABLE)
    if data is not None and data != MINIATURE:
        data = str(Path(data).expanduser().absolute())
    return Data(
        data,
        "a worker",
        isinstance(entry, Entry) and entry.embedded,
        None if request.annotations is None else request.annotations.absolute(),
        None if request.images is None else request.images.absolute(),
        request.strict,
    )


def impossible(entry: Entry | None, options: Mapping[str, Any]) -> str:
    """Why workers cannot build a model, and what to do; "" where they can."""
    if entry is None:
        return "--executor ray: workers build the model themselves, by its name or Entry, not from an object"
    if entry.sees_targets or entry.per_task or entry.shots_of(options):
        return f"--executor ray: {entry.name} is built from a task's samples; run it in one process"
    return ""


def build(request: Request, spread: Spread, entry: Entry | None, source: DataSource) -> RayCluster:
    """The cluster of a request's model; UsageError for a model that cannot be built elsewhere."""
    from harness.cluster.ray_cluster import RayCluster

    if entry is None or impossible(entry, request.options):
        raise UsageError(impossible(entry, request.options))
    if source.prepared is not None:
        raise UsageError("--executor ray: a copy in parquet is read by one process; use the official files, or --shard")
    if source.candidates is not None:
        raise UsageError("--executor ray: a re-ranking runs in one process, or in --shard")
    entry.check(request.setting(), entry.options_from(request.options))
    weights = request.weights
    if weights is not None and Path(weights).expanduser().exists():
        weights = str(Path(weights).expanduser().absolute())
    named = request.model if isinstance(request.model, str) else entry
    plain = replace(request, model=named, weights=weights, spread=None, task="-", command=())
    factory = partial(_built, plain, data_of(request))
    return RayCluster(factory, spread, source.image_root, partial(_own_root, data_of(request)))


def _own_root(data: Data) -> Path:
    """The root of images on a worker's machine."""
    return data.source().image_root


def _built(request: Request, data: Data, shipped: Path | None) -> Model:
    """The model of a worker, which reads images from `shipped` or from the data root."""
    entry = baselines.find(request.model) if isinstance(request.model, str) else request.model
    if not isinstance(entry, Entry):
        raise ValueError(f"{entry!r} was sent to a worker, which builds a model by its name or its Entry")
    root = shipped if shipped is not None else data.source().image_root
    return entry.load(request.setting(root), **request.options)


def expect(cluster: RayCluster, request: Request, part: Part) -> None:
    """From now on, the cluster refuses workers that see other annotations of this part than the driver."""
    cluster.expect(partial(_digest, data_of(request), part.task, part.split), part.data_hash)


def _digest(data: Data, task: Task[Any], split: str) -> str:
    """The digest of a split's annotations, as a worker sees them."""
    return data.source().annotation_digest(task, split)
