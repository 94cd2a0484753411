"""The types behind `tables.toml`: the layout of each table of published figures.

The key of a table is the value of the column `table` in published.csv.  Example:

    [T4_zero_shot]
    title = "Table 4: zero-shot, generalists"
    notes = ["..."]                            # shown below the table
    ours = [                                   # our models in the table, evaluated or not
        { model = "florence2-l", protocol = "zero_shot", published_as = "Florence-2-L" },
    ]

    [T6_region.same_training]                  # training in published.csv: training of the row that shows the figure
    "joint [printed value; ...]" = "joint"

    [peers_REC.average]                        # an average that the source prints, and the figures it averages
    task = "RefCOCO/+/g average"
    split = "avg of 8 splits"
    metric = "Acc@0.5"
    of = { "RefCOCO REC" = ["val", "testA"] }  # splits by task

    [ODinW13_per_dataset.by_data_set]          # one row per data set, one column per model
    task_prefix = "ODinW "                     # the task of a figure is this prefix followed by the data set
    also = "ODinW35_per_dataset"               # models of that table are added if they have all data sets of this table

    [ODinW13_per_dataset.by_data_set.same]     # data set: its other names
    Pistols = ["pistols"]

    [ODinW13_per_dataset.by_data_set.averages_of]  # the published averages over these data sets
    table = "ODinW13"
    task = "ODinW-13 detection"
    protocol = "zero_shot"
    metrics = { mean = "AP average" }          # statistic (mean, median): published metric
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from harness.published.figure import Column, Figure, ProtocolName

Statistic = Literal["mean", "median"]


class OurModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model of ours in a table; `published_as` is its name in published.csv, "" if the table has no figure of it."""

    model: str
    protocol: ProtocolName
    published_as: str = ""

    def publishes(self, figure: Figure) -> bool:
        """Whether a figure of the table belongs to this model."""
        return (figure.model, figure.protocol) == (self.published_as, self.protocol)


class SplitAverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published average over splits of several tasks; `of` has the splits of each task."""

    task: str
    split: str
    metric: str
    of: Mapping[str, tuple[str, ...]]

    @property
    def column(self) -> Column:
        """The column of the published average."""
        return Column(self.task, self.split, self.metric)

    @property
    def parts(self) -> set[Column]:
        """The columns that the average covers."""
        return {Column(task, split, self.metric) for task, splits in self.of.items() for split in splits}


class DataSetAverages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The figures of another table that publish the mean or the median over the data sets."""

    table: str
    task: str
    protocol: ProtocolName
    metrics: Mapping[Statistic, str]

    def prints(self, figure: Figure, statistic: Statistic) -> bool:
        """Whether a figure publishes this statistic."""
        key = (self.table, self.task, self.protocol, self.metrics.get(statistic))
        return (figure.table, figure.task, figure.protocol, figure.metric) == key


class DataSets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table with one row per data set and one column per model.  `also` is the key of another such table, or ""."""

    task_prefix: str
    averages_of: DataSetAverages
    also: str = ""
    same: Mapping[str, tuple[str, ...]] = {}

    def name_of(self, figure: Figure) -> str:
        """The data set of a figure, under the name that the table uses."""
        published = figure.task.removeprefix(self.task_prefix)
        return next((name for name, others in self.same.items() if published in others), published)


class TableSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The title, notes and layout of one table.

    A table has one row per model and may set `ours`, `same_training` and `average`.  With `by_data_set` it has one row
    per data set instead, and may set none of the three.
    """

    title: str
    notes: tuple[str, ...] = ()
    ours: tuple[OurModel, ...] = ()
    same_training: Mapping[str, str] = {}
    average: SplitAverage | None = None
    by_data_set: DataSets | None = None

    def training_of(self, figure: Figure) -> str:
        """The training of the row that shows a figure."""
        return self.same_training.get(figure.training, figure.training)
