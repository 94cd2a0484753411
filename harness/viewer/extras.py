"""The pages of results that belong to no single run: speed, studies, paper tables, and folders of the data engine.

Numbers are those of the records.  A published figure never shares a row with a number of ours: it has a row, or a
column with the paper's name, of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.data_engine.counts import ASPECTS, SIZES
from harness.report import engine, engine_figures, speed, studies
from harness.report.engine import EngineReport
from harness.report.studies import ArmResult, Spread, StudyResult
from harness.report.tables import Table

NAMES = ("speed", "studies", "tables", "engine")  # of the chunks, and of the pages


class Extras(Protocol):
    """What these pages show, each in a fixed order."""

    @property
    def speeds(self) -> Sequence[Mapping[str, Any]]:
        """The records of `bench`."""
        ...

    @property
    def studies(self) -> Sequence[StudyResult]:
        """The studies of which a cell was run."""
        ...

    @property
    def tables(self) -> Sequence[Table]:
        """The paper tables."""
        ...

    @property
    def engines(self) -> Sequence[EngineReport]:
        """The folders of the data engine."""
        ...


@dataclass(frozen=True, slots=True)
class Collected:
    """Extras that are all read."""

    speeds: Sequence[Mapping[str, Any]] = ()
    studies: Sequence[StudyResult] = ()
    tables: Sequence[Table] = ()
    engines: Sequence[EngineReport] = ()


NOTHING = Collected()


def payload(extras: Extras, name: str) -> dict[str, Any]:
    """The payload of the chunk `name`, which is one of `NAMES`."""
    if name == "speed":
        return speed_payload(extras.speeds)
    if name == "studies":
        return {"studies": [_study(each) for each in extras.studies]}
    if name == "tables":
        return {"tables": [_table(each) for each in extras.tables]}
    return {"engines": [_engine(each) for each in extras.engines]}


# ---------------------------------------------------------------------------- speed


def speed_payload(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Records by machine, and the comparisons with peers; times are in seconds.

    A ratio is the peer's time over ours, so above 1 this harness is faster; it holds on its machine only.
    """
    machines: dict[str, dict[str, Any]] = {}
    for record in sorted(records, key=speed.order):
        machine = machines.setdefault(record["device"], {"machine": record["device"], "records": [], "versus": []})
        named = {"model": record["model"], "settings": speed.described(record["settings"])}
        machine["records"].append(_speed_record(record) | named)
        for peer, result in sorted(record["against"].items()):
            machine["versus"].append({**named, "set": record["set"], "peer": peer, **_versus(result)})
    return {"machines": [machines[name] for name in sorted(machines)]}


def _speed_record(record: Mapping[str, Any]) -> dict[str, Any]:
    latency, throughput = record["latency s"], record["throughput"]
    return {
        "set": record["set"], "scenario": record["scenario"], "level": record["level"], "valid": record["valid"],
        "reasons": list(record["reasons"]),
        "latency": {name: [each["value"], each["low"], each["high"]] for name, each in latency.items()},
        "images/s": throughput["images/s"], "tokens/s": throughput["tokens/s"],
        "batch": record["settings"]["batch size"],
        "memory": record["meter"]["peak memory MiB"], "unchecked": record["meter"].get("not checked", ""),
        "version": record["provenance"]["harness"],
    }  # fmt: skip


def _versus(result: Mapping[str, Any]) -> dict[str, Any]:
    if "cannot run" in result:
        return {"problem": f"cannot run here ({result['cannot run']})"}
    ratio = result["ratio"]
    return {
        "problem": "", "ratio": ratio["value"], "low": ratio["low"], "high": ratio["high"], "ours": result["ours"],
        "theirs": result["theirs"], "queries": result["queries"], "rounds": result["rounds"], "equal": result["equal"],
        "reasons": list(result["reasons"]),
    }  # fmt: skip


# ---------------------------------------------------------------------------- studies


def _study(study: StudyResult) -> dict[str, Any]:
    return {
        "name": study.name, "question": study.question, "baseline": study.baseline, "world": study.world,
        "done": study.done, "cells": study.cells, "metrics": dict(study.metrics), "margins": dict(study.margins),
        "summary": study.paper_summary, "locator": study.locator, "resolved": studies.resolved(study),
        "arms": [_arm(each, study) for each in study.arms],
        "paper": [{"arm": arm, "values": dict(values)} for arm, values in study.paper.items()],
        "claims": [list(claim) for claim in study.claims],
        "costs": [[arm, evaluation, *_spread(each)] for (arm, evaluation), each in study.costs.items()],
    }  # fmt: skip


def _arm(result: ArmResult, study: StudyResult) -> dict[str, Any]:
    base = study.paper.get(study.baseline, {})
    return {
        "arm": result.arm, "evaluation": result.evaluation or "as trained", "about": result.about,
        "values": {task: [*_spread(each), list(each.each)] for task, each in result.values.items()},
        "differences": {
            task: [
                *_spread(each), _decided(each, study.margins.get(task)),
                *_beside(each, result.paper.get(task), base.get(task)),
            ]
            for task, each in result.differences.items()
        },
    }  # fmt: skip


def _decided(difference: Spread, margin: float | None) -> str:
    """What the interval of a difference says by itself."""
    if difference.excludes_zero:
        return "higher" if difference.mean > 0 else "lower"
    return "equal" if difference.is_within(margin) else "cannot tell"


def _beside(difference: Spread, published: float | None, baseline: float | None) -> tuple[float | None, str]:
    """The paper's difference from its baseline, and whether ours agrees in sign; None and "" where it has none."""
    if published is None or baseline is None:
        return None, ""
    theirs = published - baseline
    if not difference.excludes_zero or theirs == 0:
        return theirs, "cannot tell"
    return theirs, "agrees" if (theirs > 0) == (difference.mean > 0) else "disagrees"


def _spread(spread: Spread) -> tuple[float, float | None, float | None, int]:
    return spread.mean, spread.low, spread.high, spread.n


# ---------------------------------------------------------------------------- tables and the data engine


def _table(table: Table) -> dict[str, Any]:
    return {
        "key": table.key, "title": table.title, "head": list(table.head), "text": table.text_columns,
        "rows": [list(row) for row in table.rows], "notes": list(table.notes), "figures": table.figure_count,
        "ours": table.our_rows,
    }  # fmt: skip


def _engine(report: EngineReport) -> dict[str, Any]:
    """The tables of an engine folder and the numbers of its figures; histograms are in percent of the boxes."""
    flows = sorted(report.waterfall.flows, key=lambda each: (-each.raw, each.kind, each.origin))
    shapes = {engine_figures.KIND_NAMES[kind]: each for kind, each in report.counts.shapes.items() if each.boxes}
    middle = [(SIZES[:-1], SIZES[1:]), (ASPECTS[:-1], ASPECTS[1:])]
    sizes, aspects = ([float(low + high) / 2 for low, high in zip(*edges, strict=True)] for edges in middle)
    return {
        "name": report.name, "tables": [_table(each) for each in engine.tables(report)],
        "flows": [[each.kind, each.origin, each.raw, each.kept, sum(n for s, _, n in each.reasons if s == "dropped")]
                  for each in flows],
        "sizes": {name: _percents(sizes, each.sizes, each.boxes) for name, each in shapes.items()},
        "aspects": {name: _percents(aspects, each.aspects, each.boxes) for name, each in shapes.items()},
    }  # fmt: skip


def _percents(places: Sequence[float], bins: Iterable[float], boxes: int) -> list[list[float]]:
    return [[place, 100 * float(n) / boxes] for place, n in zip(places, bins, strict=True)]
