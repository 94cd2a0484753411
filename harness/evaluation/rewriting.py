"""Rewriting of an engine's texts by the language model behind an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from baselines.endpoint import client as endpoint
from baselines.endpoint.options import Options, address, extra_of, key_of, resolved
from baselines.endpoint.pace import Pace
from baselines.endpoint.parsing import Reply
from harness.data_engine.asking import Budget, Tally, Unanswered, ask
from harness.data_engine.language import Grounder, Rewriting
from harness.data_engine.records import Length, Record
from harness.data_engine.replies import Replies
from harness.errors import UsageError


def settings_of(options: Options, length: Length = "detailed", share: float = 1.0) -> Rewriting:
    """The settings of rewriting from the options of an endpoint; UsageError without an address or a model."""
    chosen = resolved(options)
    if not chosen.base_url or not chosen.served:
        raise UsageError(
            "rewriting needs --base-url (such as http://127.0.0.1:8000/v1) and --served, or --endpoint FILE"
        )
    address(chosen.base_url)
    return Rewriting(
        model=chosen.served,
        length=length,
        share=share,
        seed=chosen.sampling_seed,
        temperature=chosen.temperature,
        max_tokens=chosen.max_new_tokens or 400,
        extra=extra_of(chosen),
    )


@contextmanager
def completing(options: Options) -> Iterator[Callable[[Mapping[str, Any]], Reply]]:
    """Sends one request at a time to the server of these options, from any thread.

    Each request is tried once, so that a budget of requests holds; a later run tries those without a reply again.  As
    `Client.complete`, it raises ResourceError or UsageError where no request can be answered.
    """
    chosen = resolved(options)
    sender = endpoint.Client(
        address(chosen.base_url or ""), key_of(chosen), timeout=chosen.timeout, retries=0,
        pace=Pace(chosen.concurrency),
    )  # fmt: skip

    def complete(body: Mapping[str, Any]) -> Reply:
        try:
            return sender.complete(body)
        except endpoint.Unanswered as error:
            raise Unanswered(str(error)) from error

    try:
        yield complete
    finally:
        sender.close()


def rewritten(
    records: Iterable[Record],
    options: Options,
    settings: Rewriting,
    replies: Replies,
    *,
    budget: Budget | None = None,
    grounder: Grounder | None = None,
    tally: Tally | None = None,
) -> Iterator[Record]:
    """Each record with the text that the server wrote, in the order given; see `asking.ask`."""
    with completing(options) as complete:
        yield from ask(
            records, settings, complete, replies, budget=budget, grounder=grounder,
            threads=resolved(options).concurrency, tally=tally,
        )  # fmt: skip
