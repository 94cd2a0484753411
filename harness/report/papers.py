"""The tables of the Florence-2 paper and of other sources: all published figures, with rows for our runs.

Each table is a pivot of the published figures that carry its key.  Most tables have one row per model (with size,
protocol and training) and one column per task, split and metric.  Rows of our models follow the published rows; they
show runs on the same data, split and protocol.  A table by data set has one row per data set and one column per model;
its last rows are averages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.core import Run
from harness.published import Column, DataSets, Figure, TableSpec, by_table
from harness.report import averages, ours
from harness.report.tables import Table

MISSING = "–"
UNCERTAIN = (
    "~ marks an uncertain number: quoted second-hand, read off a plot, inferred, approximate in the source, or a "
    "suspected misprint."
)


def tables(figures: Sequence[Figure], specs: Mapping[str, TableSpec], runs: Sequence[Run]) -> list[Table]:
    """The tables that have at least one figure, in the order of `specs`.

    ValueError for a figure whose table is not in `specs`.
    """
    placed = by_table(figures, specs)
    result = []
    for key, spec in specs.items():
        if spec.by_data_set and placed[key]:
            result.append(_by_data_set(key, specs, spec.by_data_set, placed))
        elif placed[key]:
            result.append(_by_model(key, spec, placed[key], runs))
    return result


def _by_model(key: str, spec: TableSpec, figures: Sequence[Figure], runs: Sequence[Run]) -> Table:
    columns = list(dict.fromkeys(figure.column for figure in figures))
    by_model: dict[tuple[str, str, str, str], dict[Column, list[str]]] = {}
    for figure in figures:
        model = (figure.model, figure.parameters, figure.protocol.replace("_", "-"), spec.training_of(figure))
        by_model.setdefault(model, {}).setdefault(figure.column, []).append(figure.printed)
    published = [
        [*model, *(" / ".join(cells.get(column, [MISSING])) for column in columns)] for model, cells in by_model.items()
    ]
    our_rows = [ours.row(model, columns, figures, runs) for model in spec.ours]
    head = ["model", "parameters", "protocol", "training", *(column.title for column in columns)]
    notes = [
        *spec.notes,
        *(averages.of_splits(spec.average, figures) if spec.average else ()),
        *(note for row in our_rows for note in row.notes),
        *_uncertainty_note(figures),
        _sources_note(figures),
    ]
    return Table(
        key, spec.title, head, [*published, *(row.cells for row in our_rows)], 4, notes, len(figures), len(our_rows)
    )


def _by_data_set(
    key: str, specs: Mapping[str, TableSpec], layout: DataSets, placed: Mapping[str, Sequence[Figure]]
) -> Table:
    spec, figures = specs[key], placed[key]
    data_sets = list(dict.fromkeys(map(layout.name_of, figures)))
    added = _from_other_table(layout, figures, placed.get(layout.also, ()))
    shown = [*figures, *added]
    models = list(dict.fromkeys(figure.model for figure in shown))
    cells = {(layout.name_of(figure), figure.model): figure.printed for figure in shown}
    rows = [[name, *(cells.get((name, model), MISSING) for model in models)] for name in data_sets]
    average = averages.of_data_sets(layout.averages_of, shown, placed.get(layout.averages_of.table, ()))
    notes = [
        *spec.notes,
        *average.notes,
        *_other_names_note(layout),
        *_other_table_notes(added, specs),
        *_training_notes(shown),
        *_uncertainty_note([*shown, *average.published]),
        _sources_note(shown),
    ]
    return Table(key, spec.title, ["data set", *models], [*rows, *average.rows], 1, notes, len(figures))


def _from_other_table(layout: DataSets, figures: Sequence[Figure], others: Sequence[Figure]) -> list[Figure]:
    """Figures of another table on these data sets, for models that have all data sets and are not in this table."""
    data_sets = set(map(layout.name_of, figures))
    own = {figure.model for figure in figures}
    by_model: dict[str, set[str]] = {}
    for figure in others:
        by_model.setdefault(figure.model, set()).add(layout.name_of(figure))
    complete = {model for model, names in by_model.items() if names >= data_sets} - own
    return [figure for figure in others if figure.model in complete and layout.name_of(figure) in data_sets]


def _other_names_note(layout: DataSets) -> list[str]:
    names = "; ".join(f"{name} ({', '.join(others)})" for name, others in layout.same.items())
    return [f"Data sets whose sources use other names (in brackets): {names}."] if names else []


def _other_table_notes(added: Sequence[Figure], specs: Mapping[str, TableSpec]) -> list[str]:
    models: dict[str, dict[str, None]] = {}
    for figure in added:
        models.setdefault(figure.table, {})[figure.model] = None
    return [f'From the table "{specs[table].title}": {", ".join(names)}.' for table, names in models.items()]


def _training_notes(figures: Sequence[Figure]) -> list[str]:
    """One note per training or evaluation setting, with its models."""
    models: dict[str, dict[str, None]] = {}
    for figure in figures:
        models.setdefault(figure.training, {})[figure.model] = None
    return [f"{', '.join(names)}: {training}." for training, names in models.items() if training]


def _uncertainty_note(figures: Sequence[Figure]) -> list[str]:
    return [UNCERTAIN] if any(figure.doubtful for figure in figures) else []


def _sources_note(figures: Sequence[Figure]) -> str:
    return f"Sources: {'; '.join(dict.fromkeys(figure.source for figure in figures))}."
