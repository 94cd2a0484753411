"""Independent calls on the workers of a Ray cluster, such as the cells of a study."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from harness.cluster.connection import Spread, connect, reason_of, resources
from harness.cluster.dispatcher import DEATHS
from harness.cluster.worker import versions
from harness.errors import ModelError, ResourceError


class RayCalls:
    """An executor with the `submit` of `concurrent.futures`, to use in a `with` statement; `workers` calls run at once.

    A call whose worker dies is made again; ResourceError after DEATHS deaths.  ModelError on a worker with another
    version of this package, torch or transformers.  The function and its arguments must be picklable.
    """

    def __init__(self, spread: Spread) -> None:
        """Connects; ResourceError where the cluster cannot be reached or is too small for one call."""
        self._ray, self._owns = connect(spread.address, spread.workers)
        self.workers, gpus = resources(self._ray.cluster_resources(), spread)
        self._call = self._ray.remote(num_cpus=1, num_gpus=gpus, max_retries=DEATHS - 1, max_calls=1)(_called)
        self._refs: set[Any] = set()

    def __enter__(self) -> RayCalls:
        return self

    def __exit__(self, *_: object) -> None:
        """Cancels the calls that have not ended, and ends a cluster that was started for them."""
        for ref in list(self._refs):
            with suppress(Exception):  # it has ended
                self._ray.cancel(ref, force=True)
        if self._owns:
            self._ray.shutdown()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """The Future of a call, which runs in a process of its own."""
        future: Future[Any] = Future()
        ref = self._call.remote(versions(), function, arguments)
        self._refs.add(ref)
        ref.future().add_done_callback(lambda done: self._pass_on(done, ref, future))
        return future

    def _pass_on(self, done: Future[Any], ref: Any, future: Future[Any]) -> None:
        """Gives the result of Ray's Future, or the error that the function raised on the worker."""
        self._refs.discard(ref)
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        elif isinstance(cause := getattr(error, "cause", None), BaseException):
            future.set_exception(cause)
        else:
            future.set_exception(ResourceError(f"{DEATHS} workers died of one call, the last: {reason_of(error)}"))


def _called(expected: Mapping[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What the function returns; ModelError where this worker's versions are not the driver's."""
    for name, value in versions().items():
        if value != expected[name]:
            raise ModelError(
                f"a worker on {socket.gethostname()}: {name} is {value!r}; the driver's is {expected[name]!r}"
            )
    return function(*arguments)
