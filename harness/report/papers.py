"""The tables of the paper and of its rivals: every published figure in one table, and our runs beside it.

A table is a pivot of the published figures that carry its key.  Most tables have a row per model (with its size,
protocol and training) and a column per task, split and metric; our runs on the same data, split and protocol follow
below.  Tables by data set have a row per data set and a column per model; the averages follow below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.core import Run
from harness.published import Column, DataSets, Figure, TableSpec, by_table
from harness.report import averages, ours
from harness.report.tables import Table

NOTHING = "–"
DOUBT = "~ before a number: quoted second-hand, read off a figure, inferred, printed as about, or a suspected slip."


def tables(figures: Sequence[Figure], specs: Mapping[str, TableSpec], runs: Sequence[Run]) -> list[Table]:
    """The tables that have a figure, in the order of `specs`; ValueError for a figure whose table is not there."""
    placed = by_table(figures, specs)
    found = []
    for key, spec in specs.items():
        if spec.by_data_set and placed[key]:
            found.append(_by_data_set(key, specs, spec.by_data_set, placed))
        elif placed[key]:
            found.append(_by_model(key, spec, placed[key], runs))
    return found


def _by_model(key: str, spec: TableSpec, figures: Sequence[Figure], runs: Sequence[Run]) -> Table:
    columns = list(dict.fromkeys(figure.column for figure in figures))
    by_model: dict[tuple[str, str, str, str], dict[Column, list[str]]] = {}
    for figure in figures:
        model = (figure.model, figure.parameters, figure.protocol.replace("_", "-"), spec.training_of(figure))
        by_model.setdefault(model, {}).setdefault(figure.column, []).append(figure.printed)
    published = [
        [*model, *(" / ".join(cells.get(column, [NOTHING])) for column in columns)] for model, cells in by_model.items()
    ]
    own = [ours.row(model, columns, figures, runs) for model in spec.ours]
    head = ["model", "parameters", "protocol", "training", *(column.title for column in columns)]
    notes = [
        *spec.notes,
        *(averages.of_splits(spec.average, figures) if spec.average else ()),
        *(note for row in own for note in row.notes),
        *_doubts(figures),
        _sources(figures),
    ]
    return Table(key, spec.title, head, [*published, *(row.cells for row in own)], 4, notes, len(figures))


def _by_data_set(
    key: str, specs: Mapping[str, TableSpec], layout: DataSets, placed: Mapping[str, Sequence[Figure]]
) -> Table:
    spec, figures = specs[key], placed[key]
    sets = list(dict.fromkeys(map(layout.name_of, figures)))
    guests = _guests(layout, figures, placed.get(layout.also, ()))
    shown = [*figures, *guests]
    models = list(dict.fromkeys(figure.model for figure in shown))
    cells = {(layout.name_of(figure), figure.model): figure.printed for figure in shown}
    rows = [[name, *(cells.get((name, model), NOTHING) for model in models)] for name in sets]
    found = averages.of_data_sets(layout.averages_of, shown, placed.get(layout.averages_of.table, ()))
    notes = [
        *spec.notes,
        *found.notes,
        *_other_names(layout),
        *_guest_notes(guests, specs),
        *_trainings(shown),
        *_doubts([*shown, *found.printed]),
        _sources(shown),
    ]
    return Table(key, spec.title, ["data set", *models], [*rows, *found.rows], 1, notes, len(figures))


def _guests(layout: DataSets, figures: Sequence[Figure], others: Sequence[Figure]) -> list[Figure]:
    """The figures of another table on these data sets, of the models that have all of them and are not here yet."""
    sets = set(map(layout.name_of, figures))
    own = {figure.model for figure in figures}
    theirs: dict[str, set[str]] = {}
    for figure in others:
        theirs.setdefault(figure.model, set()).add(layout.name_of(figure))
    complete = {model for model, names in theirs.items() if names >= sets} - own
    return [figure for figure in others if figure.model in complete and layout.name_of(figure) in sets]


def _other_names(layout: DataSets) -> list[str]:
    names = "; ".join(f"{name} ({', '.join(others)})" for name, others in layout.same.items())
    return [f"Other names of a data set, shown in one row: {names}."] if names else []


def _guest_notes(guests: Sequence[Figure], specs: Mapping[str, TableSpec]) -> list[str]:
    models: dict[str, dict[str, None]] = {}
    for figure in guests:
        models.setdefault(figure.table, {})[figure.model] = None
    return [f'From the table "{specs[table].title}": {", ".join(names)}.' for table, names in models.items()]


def _trainings(figures: Sequence[Figure]) -> list[str]:
    """The models of each training, once each."""
    models: dict[str, dict[str, None]] = {}
    for figure in figures:
        models.setdefault(figure.training, {})[figure.model] = None
    return [f"{', '.join(names)}: {training}." for training, names in models.items() if training]


def _doubts(figures: Sequence[Figure]) -> list[str]:
    return [DOUBT] if any(figure.doubtful for figure in figures) else []


def _sources(figures: Sequence[Figure]) -> str:
    return f"Sources: {'; '.join(dict.fromkeys(figure.source for figure in figures))}."
