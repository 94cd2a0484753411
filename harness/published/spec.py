"""How a table of published figures is shown: the types behind `tables.toml`.

A table of the file, by the key that rows of published.csv carry:

    [T4_zero_shot]
    title = "Table 4: zero-shot, generalists"
    notes = ["..."]                            # printed below the table
    ours = [                                   # our models in the table, whether or not they have been run
        { model = "florence2-l", protocol = "zero_shot", published_as = "Florence-2-L" },
    ]

    [T6_region.same_training]                  # a training in published.csv: the training of the row to show it in
    "joint [printed value; ...]" = "joint"

    [peers_REC.average]                        # a printed average, and the figures that it averages
    task = "RefCOCO/+/g average"
    split = "avg of 8 splits"
    metric = "Acc@0.5"
    of = { "RefCOCO REC" = ["val", "testA"] }  # splits by task

    [ODinW13_per_dataset.by_data_set]          # data sets down, models across
    task_prefix = "ODinW "                     # the task of a figure is this prefix and the data set
    also = "ODinW35_per_dataset"               # a table whose models join, if they have all data sets of this one

    [ODinW13_per_dataset.by_data_set.same]     # a data set: its other names
    Pistols = ["pistols"]

    [ODinW13_per_dataset.by_data_set.averages_of]  # the figures that print the averages of these data sets
    table = "ODinW13"
    task = "ODinW-13 detection"
    protocol = "zero_shot"
    metrics = { mean = "AP average" }          # mean, median: the published metric
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from harness.published.figure import Column, Figure, ProtocolName

Statistic = Literal["mean", "median"]


class OurModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model of ours in a table; `published_as` is its name there, "" where the table has no figure of it."""

    model: str
    protocol: ProtocolName
    published_as: str = ""

    def publishes(self, figure: Figure) -> bool:
        """Whether a figure of the table is of this model."""
        return (figure.model, figure.protocol) == (self.published_as, self.protocol)


class SplitAverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A printed average over splits of several tasks (`of`: splits by task)."""

    task: str
    split: str
    metric: str
    of: Mapping[str, tuple[str, ...]]

    @property
    def column(self) -> Column:
        """The column of the printed average."""
        return Column(self.task, self.split, self.metric)

    @property
    def parts(self) -> set[Column]:
        """The columns that are averaged."""
        return {Column(task, split, self.metric) for task, splits in self.of.items() for split in splits}


class DataSetAverages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which figures of another table print the mean or the median over the data sets."""

    table: str
    task: str
    protocol: ProtocolName
    metrics: Mapping[Statistic, str]

    def prints(self, figure: Figure, statistic: Statistic) -> bool:
        """Whether a figure is a printed mean, or a printed median."""
        wanted = (self.table, self.task, self.protocol, self.metrics.get(statistic))
        return (figure.table, figure.task, figure.protocol, figure.metric) == wanted


class DataSets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table with data sets down and models across; `also` is another such table, or ""."""

    task_prefix: str
    averages_of: DataSetAverages
    also: str = ""
    same: Mapping[str, tuple[str, ...]] = {}

    def name_of(self, figure: Figure) -> str:
        """The data set of a figure, by its name in the table."""
        printed = figure.task.removeprefix(self.task_prefix)
        return next((name for name, others in self.same.items() if printed in others), printed)


class TableSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table: its title, the notes below it, and how its figures are arranged.

    `ours`, `same_training` and `average` are of tables by model; `by_data_set` makes a table by data set.
    """

    title: str
    notes: tuple[str, ...] = ()
    ours: tuple[OurModel, ...] = ()
    same_training: Mapping[str, str] = {}
    average: SplitAverage | None = None
    by_data_set: DataSets | None = None

    def training_of(self, figure: Figure) -> str:
        """The training of the row in which a figure stands."""
        return self.same_training.get(figure.training, figure.training)
