"""The connection to a Ray cluster, and how the work of a run is spread over it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.cluster.dispatcher import PATIENCE
from harness.errors import ResourceError, UsageError

log = logging.getLogger(__name__)
CONNECT = 10.0  # seconds to reach an address
NOT_INSTALLED = "--executor ray needs Ray: pip install 'florence2-harness[cluster]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a run is spread over workers.

    `address` is "local" (a cluster on this machine, for this run), "auto" (the one this machine belongs to), or the
    HOST:PORT of a head.  `workers`: None for one for each GPU, or for each core without a GPU.  `gpus_per_worker`: None
    for 1 where the cluster has GPUs, else 0.  `chunk` is a fixed number of questions; None: by time.
    """

    address: str = "local"
    workers: int | None = None
    gpus_per_worker: float | None = None
    chunk: int | None = None
    ship_images: bool = False
    patience: float = PATIENCE

    def __post_init__(self) -> None:
        """UsageError for a number that is not possible."""
        for option, value, least in (
            ("--workers", self.workers, 1), ("--chunk", self.chunk, 1), ("--gpus-per-worker", self.gpus_per_worker, 0),
        ):  # fmt: skip
            if value is not None and value < least:
                raise UsageError(f"{option} {value}: at least {least}")
        if self.address not in ("local", "auto") and not _host_and_port(self.address):
            raise UsageError(f"--address {self.address!r}: HOST:PORT of a Ray head, 'auto' or 'local'")


@contextmanager
def connected(spread: Spread | None) -> Iterator[None]:
    """Keeps a connection to Ray, so that several clusters of models share one start; does nothing for None."""
    if spread is None:
        yield
        return
    ray, owns = connect(spread.address, spread.workers)
    try:
        yield
    finally:
        if owns:
            ray.shutdown()


def connect(address: str, workers: int | None) -> tuple[Any, bool]:
    """The module `ray`, connected, and whether its cluster was started here; a connection that exists is used.

    ResourceError where Ray is not installed or the address cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise ResourceError(NOT_INSTALLED) from error
    if ray.is_initialized():
        return ray, False
    _keep_off_stdout()
    quiet: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if address == "local":
        ray.init("local", num_cpus=max(os.cpu_count() or 1, workers or 0), include_dashboard=False, **quiet)
        return ray, True
    if pair := _host_and_port(address):
        try:
            socket.create_connection(pair, CONNECT).close()
        except OSError as error:
            raise ResourceError(f"no Ray head answers at {address} within {CONNECT:.0f} s: {error}") from error
    try:
        ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ResourceError(f"--address {address}: {reason}; `ray start --head` starts a head") from error
    return ray, True


def _keep_off_stdout() -> None:
    """Logs what Ray says of nodes and dead workers, which it prints to stdout, among results and JSON."""
    from ray._private import worker

    def said(data: Mapping[str, Any], **_: Any) -> None:
        for line in data.get("lines", ()):
            log.debug("ray: %s", line)

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = said


def resources(found: Mapping[str, float], spread: Spread) -> tuple[int, float]:
    """The number of workers and the GPUs of each; ResourceError where the cluster is too small for one."""
    gpus, cores = found.get("GPU", 0.0), found.get("CPU", 0.0)
    each = spread.gpus_per_worker if spread.gpus_per_worker is not None else float(gpus > 0)
    room = int(min(gpus / each, cores)) if each else int(cores)
    if room < 1:
        raise ResourceError(
            f"a worker needs 1 CPU and {each:g} GPUs, and the cluster has {cores:g} CPUs and {gpus:g} GPUs"
        )
    count = spread.workers or room
    if count > room:
        raise ResourceError(f"--workers {count}: the cluster has room for {room} ({cores:g} CPUs, {gpus:g} GPUs)")
    return count, each


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, colon, port = address.rpartition(":")
    return (host, int(port)) if host and colon and port.isdigit() and int(port) < 1 << 16 else None


def reason_of(error: BaseException) -> str:
    """The last line of an error of Ray, which names the exception of a task or the reason of a death."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return f"{type(cause).__name__}: {cause}"
    return lines[-1][:300] if lines else type(error).__name__
