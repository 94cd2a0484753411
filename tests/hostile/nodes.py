"""A cluster of several nodes on this machine, of which one can be lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of a head without CPUs and two nodes of one CPU, which notices the death of a node in 1.5 s."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    ray.init(cluster.address, logging_level="CRITICAL", log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def lose_a_node(nodes: Any, draw: Random) -> None:
    """Kills the raylet of a node, which ends the node's workers."""
    nodes.remove_node(draw.choice(list(nodes.worker_nodes)), allow_graceful=False)
