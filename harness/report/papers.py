"""The paper's tables, and its rivals': every published figure in its place, ours beside it where there is a run.

A table is a pivot of the published rows that carry its key: a row a model (with its size, and how it was trained), a
column a task, split and metric; tables by data set stand the other way round, data sets down.  Below the published rows
stand those of our runs on the same data, split and protocol, each with its interval, count, date, device and difference
from what is published of the same model; what has not been run is said to be.  Runs of the miniature have tables of
their own, where nothing published stands.  Averages that a paper prints are worked out again.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.core import Run
from harness.report.text import MINIATURE, number

NOT_RUN = "not measured"


@dataclass(frozen=True, slots=True)
class About:
    """What a table is called, and what must be said below it."""

    title: str
    notes: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()  # models of ours that belong in it, whether or not they have been run
    by_data_set: bool = False
    same: Mapping[str, Sequence[str]] = field(default_factory=dict)  # a data set's name, and others it is printed under
    also: str = ""  # another table by data set, whose models that have all of these data sets stand here as well


PUBLISHED_AS = {
    "florence2-b": "Florence-2-B",
    "florence2-l": "Florence-2-L",
    "florence2-b-ft": "Florence-2-B",
    "florence2-l-ft": "Florence-2-L",
}


class Figure(Protocol):
    """A published number, as a paper prints it."""

    @property
    def table(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def parameters(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def training(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def confidence(self) -> str: ...
    @property
    def exact(self) -> bool: ...
    @property
    def value(self) -> float: ...


Ours = Callable[[str, str, str], tuple[str, str, str] | None]  # a published task, split, metric to ours
Column = tuple[str, str, str]


@dataclass(slots=True)
class Table:
    """Cells of text, with what stands above and below them."""

    key: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1  # columns of words, before those of numbers
    notes: list[str] = field(default_factory=list)
    placed: int = 0  # published figures in it


def tables(published: Sequence[Figure], abouts: Mapping[str, About], runs: Sequence[Run], ours: Ours) -> list[Table]:
    """Every published figure in a table; ValueError for one whose table has no place."""
    keys = dict.fromkeys(figure.table for figure in published)
    if lost := keys.keys() - abouts.keys():
        raise ValueError(f"no place for the tables {', '.join(sorted(lost))}")
    found = []
    for key, about in abouts.items():
        figures = [figure for figure in published if figure.table == key]
        if figures:
            found.append(_by_data_set(key, about, figures, published) if about.by_data_set else _by_model(
                key, about, figures, [run for run in runs if run.spec.data != "miniature"], ours
            ))  # fmt: skip
    return found


def _by_model(key: str, about: About, figures: Sequence[Figure], runs: Sequence[Run], ours: Ours) -> Table:
    columns = list(dict.fromkeys((one.task, one.split, one.metric) for one in figures))
    cells: dict[tuple[str, str, str, str], dict[Column, list[str]]] = {}
    for one in figures:
        who = (one.model, one.parameters, one.protocol.replace("_", "-"), one.training.partition(" [printed")[0])
        cells.setdefault(who, {}).setdefault((one.task, one.split, one.metric), []).append(_printed(one))
    rows = [[*who, *(" / ".join(values.get(column, ["–"])) for column in columns)] for who, values in cells.items()]
    notes = [*about.notes, *_averages_of_splits(figures)]
    for model in about.ours:
        row, told = _our_row(model, columns, figures, runs, ours)
        rows.append(row)
        notes += told
    notes += _doubted(figures)
    notes.append(_sources(figures))
    head = ["model", "parameters", "protocol", "training", *(_column(*column) for column in columns)]
    return Table(key, about.title, head, rows, 4, notes, len(figures))


def _our_row(
    model: str, columns: Sequence[Column], figures: Sequence[Figure], runs: Sequence[Run], ours: Ours
) -> tuple[list[str], list[str]]:
    """A model of ours, run by us: each cell with its interval, and its difference from what is published of it."""
    row, notes = [], []
    protocol = "fine_tuned" if model.endswith("-ft") else "zero_shot"
    for column in columns:
        mine = ours(*column)
        made = [
            run
            for run in runs
            if mine is not None and (run.spec.task, run.spec.split) == mine[:2] and run.spec.limit is None
            and run.spec.model == model and run.spec.protocol == protocol and mine[2] in run.metrics
        ]  # fmt: skip
        if mine is None:
            row.append("not marked here")
        elif not made:
            row.append(NOT_RUN)
        else:
            run = standing_for(made)
            estimate = run.metrics[mine[2]]
            theirs = [
                one.value for one in figures
                if one.model == PUBLISHED_AS.get(model) and (one.task, one.split, one.metric) == column and one.exact
            ]  # fmt: skip
            beside = f"; {estimate.value - theirs[0]:+.1f}" if theirs and estimate.value is not None else ""
            row.append(f"{number(estimate)}{beside}")
            device = run.provenance.get("model", {}).get("device", "an unknown device")
            date = str(run.provenance.get("date", "an unknown date"))[:10]
            several = f" {_of_several(made)}" if len(made) > 1 else ""
            weights = str(run.provenance.get("model", {}).get("weights sha256", "not recorded"))[:12]
            told = f"run {run.id} of {date} on {device}, n = {estimate.n:,}, weights {weights}.{several}"
            notes.append(f"{model}, {_column(*column)}: {told}")
    made_by = "run here; whose weights: below" if notes else "not run here"
    return [f"{model} (ours)", "", protocol.replace("_", "-"), made_by, *row], notes


def _by_data_set(key: str, about: About, figures: Sequence[Figure], published: Sequence[Figure]) -> Table:
    """Data sets down, models across; below, the mean and the median worked out, and the average that is printed."""
    called = {other: name for name, others in about.same.items() for other in others}

    def name_of(one: Figure) -> str:
        printed = one.task.removeprefix("ODinW ")
        return called.get(printed, printed)

    sets = list(dict.fromkeys(map(name_of, figures)))
    more = _complete([one for one in published if about.also and one.table == about.also], sets, name_of)
    own = {one.model for one in figures}
    shown = [*figures, *(one for one in more if one.model not in own)]
    models = list(dict.fromkeys(one.model for one in shown))
    values = {(name_of(one), one.model): one for one in shown}
    rows = [
        [name, *(_printed(values[name, model]) if (name, model) in values else "–" for model in models)]
        for name in sets
    ]
    parts = {model: [one.value for one in shown if one.model == model and one.exact] for model in models}
    whole = key.removesuffix("_per_dataset")
    printed = {
        (one.model, one.metric): one
        for one in published
        if one.table == whole and one.protocol == "zero_shot" and one.exact and one.task.startswith(whole[:5])
        and whole[5:] in one.task
    }  # fmt: skip
    rows.append(["mean, worked out", *(f"{statistics.fmean(parts[model]):.2f}" for model in models)])
    rows.append(["median, worked out", *(f"{statistics.median(parts[model]):.1f}" for model in models)])
    notes = list(about.notes)
    for metric, work in (("AP average", statistics.fmean), ("AP median", statistics.median)):
        told = {model: printed[model, metric] for model in models if (model, metric) in printed}
        if told:
            rows.append(
                [f"{metric.removeprefix('AP ')}, printed", *(_printed(told[m]) if m in told else "–" for m in models)]
            )
        for model, value in ((model, one.value) for model, one in told.items()):
            found = work(parts[model])
            if abs(found - value) > 0.0501:
                notes.append(
                    f"{model}: {metric} is printed as {value:g}; its {len(parts[model])} rows give {found:.2f}."
                )
    if about.same:
        names = "; ".join(f"{name} ({', '.join(others)})" for name, others in about.same.items())
        notes.append(f"The same set by other names, in one row: {names}.")
    if about.also:
        theirs = ", ".join(model for model in models if model not in own)
        notes.append(f"Published with all 35 sets, of which these are a part: {theirs}.")
    trained = dict.fromkeys(one.training for one in shown if one.training)
    notes += [f"{', '.join(_models_of(shown, training))}: {training}." for training in trained]
    notes += _doubted([*shown, *(one for one in printed.values() if one.model in models)])
    notes.append(_sources(shown))
    return Table(key, about.title, ["data set", *models], rows, 1, notes, len(figures))


def _models_of(figures: Sequence[Figure], training: str) -> list[str]:
    return list(dict.fromkeys(one.model for one in figures if one.training == training))


def _complete(figures: Sequence[Figure], sets: Sequence[str], name_of: Callable[[Figure], str]) -> list[Figure]:
    """The figures on these data sets, of the models that have one on each."""
    mine = [one for one in figures if name_of(one) in sets]
    return [one for one in mine if len({name_of(other) for other in mine if other.model == one.model}) == len(sets)]


def _averages_of_splits(figures: Sequence[Figure]) -> list[str]:
    """Printed averages over RefCOCO's eight splits that the eight do not give."""
    notes = []
    for one in figures:
        if one.split.startswith("avg of") and one.exact:
            parts = [
                other.value for other in figures
                if (other.model, other.training) == (one.model, one.training) and other.task[-4:] == " REC"
            ]  # fmt: skip
            if len(parts) == 8 and abs(statistics.fmean(parts) - one.value) > 0.0501:
                notes.append(
                    f"{one.model}: printed {one.value:g}; its eight splits give {statistics.fmean(parts):.2f}."
                )
    return notes


def standing_for(runs: Sequence[Run]) -> Run:
    """Which of several runs of the same model on the same split a table shows: a whole one before one of a part, then
    one of the task's latest version, then the newest.  Numbers of two versions of a task are not of one kind."""

    def rank(one: Run) -> tuple[bool, int, str, str]:
        return one.status == "complete", one.spec.version, str(one.provenance.get("date", "")), one.id

    return max(runs, key=rank)


def _of_several(runs: Sequence[Run]) -> str:
    shown = standing_for(runs)
    others = ", ".join(f"{run.id} (version {run.spec.version})" for run in runs if run is not shown)
    return f"Shown is {shown.id}, the newest of version {shown.spec.version}; there are {others} as well."


def miniature(runs: Sequence[Run]) -> list[Table]:
    """Headlines of the embedded benchmark, by protocol: tables that hold nothing else."""
    found = []
    ours = [run for run in runs if run.spec.data == "miniature" and run.status == "complete"]
    for protocol in dict.fromkeys(run.spec.protocol for run in ours):
        mine = [run for run in ours if run.spec.protocol == protocol]
        columns = list(dict.fromkeys((run.spec.task, run.spec.split, run.headline) for run in mine))
        models = list(dict.fromkeys(run.spec.model for run in mine))
        by_cell: dict[tuple[str, str, str], list[Run]] = {}
        for run in mine:
            by_cell.setdefault((run.spec.model, run.spec.task, run.spec.split), []).append(run)
        shown = {cell: standing_for(some) for cell, some in by_cell.items()}
        cells = {cell: number(run.metrics.get(run.headline)) for cell, run in shown.items()}
        notes = [f"{MINIATURE[0].upper()}{MINIATURE[1:]}."]
        notes += [f"{' '.join(cell)}: {_of_several(some)}" for cell, some in by_cell.items() if len(some) > 1]
        rows = [
            [f"{task} {split}, {metric}", *(cells.get((m, task, split), "–") for m in models)]
            for task, split, metric in columns
        ]
        title = f"MINIATURE, {protocol.replace('_', '-')}"
        found.append(Table(f"miniature_{protocol}", title, ["task", *models], rows, 1, notes))
    return found


MEASURES: Mapping[
    str, tuple[str, tuple[str, str, str], float]
] = {  # of a claim: whose, on what, and the paper's number
    "zs_coco_caption": ("florence2-l", ("coco_caption", "test", "CIDEr"), 135.6),
    "zs_flickr30k": ("florence2-l", ("flickr30k", "test", "R@1"), 84.4),
    "zs_refcoco_res": ("florence2-l", ("refcoco_res", "val", "mIoU"), 35.8),
    "ft_coco_caption": ("florence2-l-ft", ("coco_caption", "test", "CIDEr"), 143.3),
    "ft_refcoco_r1": ("florence2-l-ft", ("refcoco", "testA", "Acc@0.5"), 95.3),
    "ft_refcoco_map": ("florence2-l-ft", ("refcocog", "test", "Acc@0.5"), 91.7),
}


def claims(rows: Sequence[Mapping[str, str]], runs: Sequence[Run]) -> Table:
    """What a summary of the paper claims, what the paper says, and what our runs say of the paper's number."""
    head = ["claim", "claimed", "verdict", "the paper", "where", "our runs", "note"]
    cells = []
    for row in rows:
        claimed = " ".join(filter(None, (row["claimed_value"], row["metric"])))
        place = row["paper_locator"]
        cells.append(
            [
                row["claim"],
                claimed,
                row["verdict"],
                row["paper_value"],
                place,
                _reproduced(row["id"], runs),
                row["note"],
            ]
        )
    notes = [
        "Reproduced: the paper's number (not the claimed one) lies in the 95 % interval of a whole run on that data.",
        "Studies of small models on a drawn world (reports/studies) ask some of the same; they reproduce no number.",
    ]
    return Table("claims", "A summary's claims, against the paper", head, cells, len(head), notes)


def _reproduced(claim: str, runs: Sequence[Run]) -> str:
    if claim.startswith("abl_"):
        return "asked of small models: reports/studies"
    if claim not in MEASURES:
        return "not something a run shows"
    model, (task, split, metric), paper = MEASURES[claim]
    made = [
        run for run in runs
        if (run.spec.model, run.spec.task, run.spec.split) == (model, task, split)
        and run.spec.data != "miniature" and run.spec.limit is None and metric in run.metrics
    ]  # fmt: skip
    if not made:
        return "not yet run"
    found = standing_for(made).metrics[metric]
    within = found.low is not None and found.high is not None and found.low <= paper <= found.high
    return f"{'reproduced' if within else 'not reproduced'}: {number(found)}"


def _doubted(figures: Sequence[Figure]) -> list[str]:
    """What the mark of `_printed` says, where any figure has it."""
    why = "quoted second-hand, read off a figure, inferred, printed as about, or a suspected slip"
    return [f"~ before a number: {why}."] if any(_printed(one).startswith("~") for one in figures) else []


def _printed(figure: Figure) -> str:
    return figure.text if figure.confidence == "high" or not figure.exact else f"~{figure.text}"


def _column(task: str, split: str, metric: str) -> str:
    return f"{task} {metric}" if split == "as in paper" else f"{task} {split} {metric}"


def _sources(figures: Sequence[Figure]) -> str:
    return f"Sources: {'; '.join(dict.fromkeys(one.source for one in figures))}."
