"""Rewriting of an engine's texts by the language model behind an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.endpoint import client as endpoint
from baselines.endpoint.options import Options, address, extra_of, key_of, resolved
from baselines.endpoint.pace import Pace
from baselines.endpoint.parsing import Reply
from harness.data_engine import asking
from harness.data_engine.asking import Budget, Forecast, Tally, Unanswered, ask
from harness.data_engine.filtering import Filtered, filter_annotations
from harness.data_engine.language import Grounder, Rewriting
from harness.data_engine.records import Annotation, Length, Record, digest
from harness.data_engine.replies import Replies
from harness.data_engine.shards import Engine
from harness.data_engine.texts import parsed_ahead, text_of
from harness.errors import UsageError

LANGUAGE = "rewrite"  # the kind of the answers that are kept of a language model
REPLIES = Path("language") / "replies.sqlite"  # under an engine's folder


def settings_of(options: Options, length: Length = "detailed", share: float = 1.0) -> Rewriting:
    """The settings of rewriting from the options of an endpoint; UsageError without a server or for a wrong setting."""
    chosen = resolved(options)
    if not chosen.base_url or not chosen.served:
        raise UsageError(
            "rewriting needs --base-url (such as http://127.0.0.1:8000/v1) and --served, or --endpoint FILE"
        )
    address(chosen.base_url)
    try:
        return Rewriting(
            model=chosen.served,
            length=length,
            share=share,
            seed=chosen.sampling_seed,
            temperature=chosen.temperature,
            max_tokens=chosen.max_new_tokens or 400,
            extra=extra_of(chosen),
        )
    except ValueError as error:
        raise UsageError(f"rewriting: {error}") from error


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


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What `rewrite` did: the outcomes, what the requests took, and the shards with new verdicts."""

    tally: Tally
    budget: Budget
    filtered: Filtered


def rewrite(
    to: str | Path,
    options: Options,
    *,
    length: Length = "detailed",
    share: float = 1.0,
    budget: Budget | None = None,
    grounder: Grounder | None = None,
) -> Rewritten:
    """Has a language model write a text for a share of an engine's images, keeps the accepted ones, and filters again.

    The facts are what the recipe keeps now.  Texts that were accepted before stay.  Replies are kept in
    `language/replies.sqlite` of the folder, and why a text was refused among the answers of the last round.

    UsageError if nothing was annotated, another process works on the folder, or the options name no server;
    ResourceError where the server answers no request.  The same call resumes.
    """
    engine = _annotated(to)
    settings, tally, limits = settings_of(options, length, share), Tally(), budget or Budget()
    engine.add_origins([settings.origin])
    with Replies(engine.path / REPLIES) as replies:
        for number in engine.shards:
            with engine.locked(f"{number:05d}"):
                before = list(_records(engine, number))
                after = rewritten(before, options, settings, replies, budget=limits, grounder=grounder, tally=tally)
                _keep(engine, number, settings, zip(before, after, strict=True))
    return Rewritten(tally, limits, filter_annotations(engine))


def forecast(to: str | Path, options: Options, *, length: Length = "detailed", share: float = 1.0) -> Forecast:
    """What `rewrite` would take; nothing is asked.  UsageError as `rewrite`."""
    engine, settings = _annotated(to), settings_of(options, length, share)
    records = (record for number in engine.shards for record in _records(engine, number))
    with Replies(engine.path / REPLIES) as replies:
        return asking.forecast(records, settings, replies)


def _annotated(to: str | Path) -> Engine:
    engine = Engine.open(Path(to))
    if not engine.rounds:
        raise UsageError(f"{to} has no annotations yet; `engine annotate` asks for them")
    return engine


def _records(engine: Engine, number: int) -> Iterator[Record]:
    """The records of a shard's images, each image once, as the recipe filters them."""
    recipe = engine.decided_by(engine.current)
    images = {record.image.sha256: record for record in engine.raw_records(number, engine.current)}
    return map(recipe.apply, parsed_ahead(images.values()))


def _keep(engine: Engine, number: int, settings: Rewriting, pairs: Iterable[tuple[Record, Record]]) -> None:
    """Writes the accepted texts of a shard as annotations, and every outcome and its reason as a row."""
    last, origin = engine.current, settings.origin.id
    there = {row["question"] for row in engine.answers(last, number)}
    rows: list[dict[str, Any]] = []
    new: list[Annotation] = []
    for before, after in pairs:
        added = after.annotations[len(before.annotations) :]
        decided = after.verdicts[len(before.verdicts) :]
        outcome = [origin, after.image.sha256, [each.id for each in added], [each.stage for each in decided]]
        if not decided or digest(outcome) in there:
            continue
        new += added
        rows.append({
            "image": after.image.sha256, "question": digest(outcome), "kind": LANGUAGE, "text": "", "region": None,
            "origin": origin, "raw": [text_of(each) for each in added], "readable": bool(added),
            "failure": "" if added else decided[-1].stage, "tries": settings.tries,
        })  # fmt: skip
    if rows:
        inputs = digest(sorted(row["question"] for row in rows))
        engine.write_part(last, number, inputs, rows, sorted(new, key=lambda each: each.id))
