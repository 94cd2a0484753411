"""The record of a benchmark point of a cluster of models: its offline throughput, from files to values.

The workers read and decode the images, as in a run, since that is what a cluster is asked for.  A pass over the set
includes the time in which the driver learns how fast the workers are: for the throughput of a long run, take many
images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.evaluation import spreading
from harness.evaluation.plan import source_of
from harness.evaluation.request import Request
from harness.progress import counted
from harness.provenance import provenance

if TYPE_CHECKING:
    from harness.cluster.ray_cluster import Spread
    from harness.core import Question
    from harness.evaluation.benchmark import Plan, Point


def measured_on_workers(
    plan: Plan, point: Point, spread: Spread, questions: Sequence[Question], about: str, command: Sequence[str]
) -> dict[str, Any]:
    """The record of a point whose `questions`, of the set `about`, are answered by the workers of a Ray cluster.

    UsageError for settings that are measured in one process.
    """
    import torch

    from harness.speed import bench as rules
    from harness.speed import levels
    from harness.speed.models import WholeModel
    from harness.speed.systems import RANDOM

    if plan.scenario != "offline":
        raise UsageError(f"--executor ray with --scenario {plan.scenario}: a cluster is measured offline (throughput)")
    for option, given in (
        ("--against", plan.against), ("--new-tokens", plan.new_tokens), ("--weights random", plan.weights == RANDOM),
    ):  # fmt: skip
        if given:
            raise UsageError(f"{option} with --executor ray: it is measured in one process")
    request = Request(
        task=point.task, model=plan.entry, data=plan.data, weights=plan.weights, device=plan.device, dtype=point.dtype,
        batch_size=point.batch_size, options=point.options,
    )  # fmt: skip
    source = source_of(plan.data, plan.entry.name, embedded=plan.entry.embedded)
    with spreading.build(request, spread, plan.entry, source) as cluster:
        cluster.wait_for_all()
        system = WholeModel(cluster, questions, len(questions))
        with counted(f"offline, {point.task}", "queries") as tick:
            measured = rules.measure(
                system,
                len(questions),
                plan.scenario,
                levels.find(plan.level),
                torch.device("cpu"),  # of the driver
                tick=tick,
                repeatable=False,
                alone=False,
            )
        model = cluster.provenance
    executor = model["executor"]
    devices = ", ".join(f"{count} x {device}" for device, count in sorted(executor["devices"].items()))
    return {
        "device": f"cluster of {devices}",
        "model": plan.entry.name,
        "weights": model.get("weights sha256", ""),
        "set": about,
        "settings": {
            "task": point.task,
            "batch size": int(model.get("batch size", 1)),
            "beams": 0,
            "dtype": model.get("precision", ""),
            "resolution": "",
            "new tokens": 0,
            "threads": torch.get_num_threads(),
            "rate": None,
            "target s": None,
            "workers": executor["workers"],
        },
        **measured.record(),
        "against": {},
        "provenance": provenance(command, **model, load=os.getloadavg()),
    }
