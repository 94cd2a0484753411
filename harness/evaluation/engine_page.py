"""The report of an engine folder, from the folder to a page."""

from __future__ import annotations

from pathlib import Path

from harness.data_engine.costs import costs
from harness.data_engine.counts import WORDS, Tokeniser, count
from harness.data_engine.parsing import identity
from harness.data_engine.shards import Engine
from harness.data_engine.waterfall import waterfall
from harness.errors import ResourceError
from harness.report.engine import EngineReport, write


def report(engine: str | Path, to: str | Path, *, tokeniser: Tokeniser = WORDS) -> Path:
    """Writes the tables and figures of an engine folder into the folder `to`; the path of the page.

    DataError if there is no engine.
    """
    return write(read(engine, tokeniser=tokeniser), Path(to))


def read(engine: str | Path, *, tokeniser: Tokeniser = WORDS) -> EngineReport:
    """What is shown of an engine folder.  DataError if there is no engine."""
    opened = Engine.open(Path(engine))
    counts = count(opened.records(), tokeniser)
    flows = waterfall(opened.records(dropped=True), opened.origins)
    try:
        parser = identity() if any(each.measured for each in counts.elements) else ""
    except ResourceError:  # the texts were parsed on another machine
        parser = ""
    name = f"{Path(engine).resolve().name}, recipe {opened.recipe.name}"
    spent = costs(opened.path, opened.origins)
    rounds = [state for number in opened.rounds if (state := opened.state(number)) is not None]
    return EngineReport(name=name, counts=counts, waterfall=flows, costs=spent, parser=parser, rounds=rounds)
