"""The connection to a Ray cluster, what it has room for, and what cannot be reached."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import pytest

from harness.cluster.connection import Spread, connect, connected, resources
from harness.errors import ResourceError, UsageError

ray = pytest.importorskip("ray")


@pytest.mark.parametrize(("found", "spread", "expected"), [
    ({"CPU": 4.0}, {}, (4, 0.0)),  # a worker for each core
    ({"CPU": 64.0, "GPU": 8.0}, {}, (8, 1.0)),  # a worker for each GPU
    ({"CPU": 64.0, "GPU": 8.0}, {"gpus_per_worker": 0.5}, (16, 0.5)),
    ({"CPU": 6.0, "GPU": 8.0}, {}, (6, 1.0)),  # each takes a core as well
    ({"CPU": 64.0, "GPU": 8.0}, {"workers": 3}, (3, 1.0)),
    ({"CPU": 64.0, "GPU": 8.0}, {"gpus_per_worker": 0}, (64, 0)),
])  # fmt: skip
def test_resources_give_a_worker_for_each_gpu_or_core(
    found: dict[str, float], spread: dict[str, Any], expected: tuple[int, float]
) -> None:
    assert resources(found, Spread(**spread)) == expected


@pytest.mark.parametrize(("found", "spread", "message"), [
    ({"CPU": 4.0}, {"workers": 99}, r"--workers 99: the cluster has room for 4 \(4 CPUs, 0 GPUs\)"),
    ({"CPU": 4.0}, {"gpus_per_worker": 1.0}, "a worker needs 1 CPU and 1 GPUs, and the cluster has 4 CPUs and 0 GPUs"),
    ({}, {}, "a worker needs 1 CPU and 0 GPUs, and the cluster has 0 CPUs and 0 GPUs"),
])  # fmt: skip
def test_cluster_that_is_too_small_says_what_it_has(
    found: dict[str, float], spread: dict[str, Any], message: str
) -> None:
    with pytest.raises(ResourceError, match=message):
        resources(found, Spread(**spread))


@pytest.mark.parametrize("spread", [{"workers": 0}, {"address": "nowhere"}, {"chunk": 0}, {"gpus_per_worker": -1.0}])
def test_impossible_option_is_refused(spread: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--"):
        Spread(**spread)


def test_connection_is_kept_for_several_clusters_and_ends_with_the_first_to_connect() -> None:
    with connected(None):
        assert not ray.is_initialized()
    with connected(Spread(workers=1)):
        with connected(Spread(workers=1)):
            assert ray.is_initialized()
        assert ray.is_initialized()
    assert not ray.is_initialized()


def test_machine_without_ray_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # what an import of a missing package meets
    with pytest.raises(ResourceError, match=r"needs Ray: pip install 'florence2-harness\[cluster\]'"):
        connect("local", None)


def test_cluster_of_another_ray_is_named_by_version() -> None:
    """A head whose record of itself is changed, as if an older Ray had started it."""
    from ray.cluster_utils import Cluster

    head = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        gcs = head.head_node.get_gcs_client()
        kept = json.loads(gcs.internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster"))
        text = json.dumps({**kept, "ray_version": "1.9.9"}).encode()
        gcs.internal_kv_put(b"CLUSTER_METADATA", text, overwrite=True, namespace=b"cluster")
        with pytest.raises(
            ResourceError, match=rf"--address .*: Version mismatch.* Ray: 1\.9\.9 .* Ray: {ray.__version__}"
        ):
            connect(head.address, None)
    finally:
        ray.shutdown()
        head.shutdown()


def test_address_that_nobody_answers_at_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ResourceError, match=f"no Ray head answers at {address}"):
            connect(address, None)
