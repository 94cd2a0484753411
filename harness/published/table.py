"""Parses `tables.toml` and checks it against `published.csv`: every name in it must match a figure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import get_args

import msgspec

from harness.published.figure import Figure, every
from harness.published.spec import DataSets, SplitAverage, Statistic, TableSpec

TOML = Path(__file__).with_name("tables.toml")
Figures = Mapping[str, Sequence[Figure]]  # by table


@cache
def tables() -> Mapping[str, TableSpec]:
    """All tables of `tables.toml`, in display order."""
    return parse(TOML.read_text(encoding="utf-8"), every())


def parse(text: str, figures: Sequence[Figure]) -> Mapping[str, TableSpec]:
    """The tables of a TOML text; ValueError, with the table key, for an unknown key or a name without a figure."""
    specs = {key: _spec(key, table) for key, table in tomllib.loads(text).items()}
    placed = by_table(figures, specs)
    for key, spec in specs.items():
        for complaint in _complaints(key, spec, placed):
            raise ValueError(f"tables.toml, [{key}]: {complaint}")
    return specs


def published_names(model: str, protocol: str) -> frozenset[str]:
    """The names under which sources publish one of our models, evaluated by this protocol."""
    named = [ours for spec in tables().values() for ours in spec.ours if ours.published_as]
    return frozenset(ours.published_as for ours in named if (ours.model, ours.protocol) == (model, protocol))


def by_table(figures: Sequence[Figure], specs: Mapping[str, TableSpec]) -> Figures:
    """The figures of each table, in the order of `specs`; ValueError for a figure whose table is not in `specs`."""
    placed: dict[str, list[Figure]] = {key: [] for key in specs}
    for figure in figures:
        if figure.table not in placed:
            raise ValueError(
                f"{figure.model}, {figure.column.title} {figure.text}: no table {figure.table!r} in tables.toml"
            )
        placed[figure.table].append(figure)
    return placed


def _spec(key: str, table: object) -> TableSpec:
    try:
        return msgspec.convert(table, TableSpec)
    except msgspec.ValidationError as error:
        raise ValueError(f"tables.toml, [{key}]: {error}") from error


def _complaints(key: str, spec: TableSpec, placed: Figures) -> Iterator[str]:
    """One message for each name of a table's entry that matches no figure."""
    figures = placed[key]
    for ours in spec.ours:
        if ours.published_as and not any(map(ours.publishes, figures)):
            yield f"{ours.model}: no {ours.protocol} figure is published as {ours.published_as!r}"
    yield from _unknown("same_training", spec.same_training, {figure.training for figure in figures})
    if spec.average is not None:
        yield from _average_complaints(spec.average, figures)
    if spec.by_data_set is not None:
        if spec.ours or spec.same_training or spec.average:
            yield "a table with by_data_set cannot have ours, same_training or average"
        yield from _data_set_complaints(spec.by_data_set, figures, placed)


def _average_complaints(average: SplitAverage, figures: Sequence[Figure]) -> Iterator[str]:
    columns = {figure.column for figure in figures}
    for column in [average.column, *sorted(average.parts)]:
        if column not in columns:
            yield f"average: no figure of {column.title}"


def _data_set_complaints(layout: DataSets, figures: Sequence[Figure], placed: Figures) -> Iterator[str]:
    for figure in figures:
        if not figure.task.startswith(layout.task_prefix):
            yield f"task_prefix: {figure.task!r} does not start with {layout.task_prefix!r}"
    averages = layout.averages_of
    for table in filter(None, (layout.also, averages.table)):
        if table not in placed:
            yield f"no table {table!r} in tables.toml"
    joined = [*figures, *placed.get(layout.also, ())]
    sets = {figure.task.removeprefix(layout.task_prefix) for figure in joined}
    yield from _unknown("same", [name for names in layout.same.values() for name in names], sets)
    printed = placed.get(averages.table, ())
    for statistic in get_args(Statistic):
        if statistic in averages.metrics and not any(averages.prints(figure, statistic) for figure in printed):
            yield f"averages_of: no figure of {averages.task} {averages.metrics[statistic]}"


def _unknown(key: str, names: Mapping[str, str] | Sequence[str], known: set[str]) -> Iterator[str]:
    yield from (f"{key}: no figure has {name!r}" for name in names if name not in known)
