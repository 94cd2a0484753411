"""Averages that sources print, computed again from the figures that they average."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.published import DataSetAverages, Figure, SplitAverage, Statistic

TOLERANCE = 0.0501  # half of the last printed digit, and the error of a float
Compute = Callable[[Sequence[float]], float]
STATISTICS: Mapping[Statistic, Compute] = {"mean": statistics.fmean, "median": statistics.median}
LABELS: Mapping[Statistic, str] = {"mean": "average, printed", "median": "median, printed"}


@dataclass(frozen=True, slots=True)
class Averages:
    """The rows below a table by data set, the notes on averages that disagree, and the printed figures."""

    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    printed: Sequence[Figure]


def of_data_sets(averages: DataSetAverages, shown: Sequence[Figure], others: Sequence[Figure]) -> Averages:
    """The mean and the median over the data sets of each model, then those that `others` print."""
    parts = {model: _exact(shown, model) for model in dict.fromkeys(figure.model for figure in shown)}
    rows = [
        ["mean, computed", *(f"{statistics.fmean(values):.2f}" for values in parts.values())],
        ["median, computed", *(f"{statistics.median(values):.1f}" for values in parts.values())],
    ]
    notes: list[str] = []
    printed: list[Figure] = []
    for statistic, compute in STATISTICS.items():
        theirs = {figure.model: figure for figure in others if figure.exact and averages.prints(figure, statistic)}
        found = {model: theirs[model] for model in parts if model in theirs}
        if found:
            rows.append([LABELS[statistic], *(found[name].printed if name in found else "–" for name in parts)])
        notes += [note for model, figure in found.items() for note in _of_rows(figure, parts[model], compute)]
        printed += found.values()
    return Averages(rows, notes, printed)


def _exact(figures: Sequence[Figure], model: str) -> list[float]:
    return [figure.value for figure in figures if figure.model == model and figure.exact]


def _of_rows(printed: Figure, values: Sequence[float], compute: Compute) -> list[str]:
    """A note, where the rows do not give the printed average."""
    found = compute(values)
    if not _disagree(found, printed):
        return []
    average = f"{printed.model}: {printed.metric} is printed as {printed.value:g}"
    return [f"{average}; its {len(values)} rows give {found:.2f}."]


def of_splits(average: SplitAverage, figures: Sequence[Figure]) -> list[str]:
    """Notes on printed averages over splits that the splits do not give; silent where a split is missing."""
    columns, notes = average.parts, []
    for printed in figures:
        if printed.column != average.column or not printed.exact:
            continue
        of_model = [figure for figure in figures if _same_model(figure, printed)]
        parts = [figure.value for figure in of_model if figure.column in columns and figure.exact]
        if len(parts) == len(columns) and _disagree(statistics.fmean(parts), printed):
            found = statistics.fmean(parts)
            notes.append(f"{printed.model}: printed {printed.value:g}; its {len(parts)} splits give {found:.2f}.")
    return notes


def _same_model(figure: Figure, other: Figure) -> bool:
    return (figure.model, figure.training) == (other.model, other.training)


def _disagree(found: float, printed: Figure) -> bool:
    return abs(found - printed.value) > TOLERANCE
