"""Averages that sources publish, recomputed from the figures that they cover."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.published import DataSetAverages, Figure, SplitAverage, Statistic

TOLERANCE = 0.0501  # half of the last published digit, plus float rounding
Compute = Callable[[Sequence[float]], float]
STATISTICS: Mapping[Statistic, Compute] = {"mean": statistics.fmean, "median": statistics.median}
LABELS: Mapping[Statistic, str] = {"mean": "mean (published)", "median": "median (published)"}


@dataclass(frozen=True, slots=True)
class Averages:
    """The average rows of a table by data set, notes on disagreements, and the published averages."""

    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    published: Sequence[Figure]


def of_data_sets(averages: DataSetAverages, shown: Sequence[Figure], others: Sequence[Figure]) -> Averages:
    """The mean and the median over the data sets of each model, computed from `shown` and as published in `others`.

    Rows have one cell per model, in the order in which models appear in `shown`.  Approximate figures are left out of
    the computation.
    """
    values_of = {model: _exact(shown, model) for model in dict.fromkeys(figure.model for figure in shown)}
    rows = [
        ["mean (computed)", *(f"{statistics.fmean(values):.2f}" for values in values_of.values())],
        ["median (computed)", *(f"{statistics.median(values):.1f}" for values in values_of.values())],
    ]
    notes: list[str] = []
    published: list[Figure] = []
    for statistic, compute in STATISTICS.items():
        by_model = {figure.model: figure for figure in others if figure.exact and averages.prints(figure, statistic)}
        figures = {model: by_model[model] for model in values_of if model in by_model}
        if figures:
            cells = (figures[model].printed if model in figures else "–" for model in values_of)
            rows.append([LABELS[statistic], *cells])
        notes += [note for model, figure in figures.items() for note in _row_notes(figure, values_of[model], compute)]
        published += figures.values()
    return Averages(rows, notes, published)


def _exact(figures: Sequence[Figure], model: str) -> list[float]:
    return [figure.value for figure in figures if figure.model == model and figure.exact]


def _row_notes(published: Figure, values: Sequence[float], compute: Compute) -> list[str]:
    """One note if the rows disagree with the published average, else none."""
    computed = compute(values)
    if not _disagree(computed, published):
        return []
    average = f"{published.model}: the source prints {published.metric} {published.value:g}"
    return [f"{average}; the {len(values)} rows give {computed:.2f}."]


def of_splits(average: SplitAverage, figures: Sequence[Figure]) -> list[str]:
    """One note for each published average over splits that disagrees with its splits.

    An average is skipped if a split is missing or approximate.  Splits match an average by model and training.
    """
    columns, notes = average.parts, []
    for published in figures:
        if published.column != average.column or not published.exact:
            continue
        of_model = [figure for figure in figures if _same_model(figure, published)]
        values = [figure.value for figure in of_model if figure.column in columns and figure.exact]
        if len(values) == len(columns) and _disagree(statistics.fmean(values), published):
            source = f"{published.model}: the source prints {published.value:g}"
            notes.append(f"{source}; the {len(values)} splits give {statistics.fmean(values):.2f}.")
    return notes


def _same_model(figure: Figure, other: Figure) -> bool:
    return (figure.model, figure.training) == (other.model, other.training)


def _disagree(computed: float, published: Figure) -> bool:
    return abs(computed - published.value) > TOLERANCE
