"""Published figures, each with its source, and what a summary of the paper claims.

published.csv   the figures         figure.py, Figure; names.py: our names of their tasks
tables.toml     how they are shown  spec.py, TableSpec; table.py reads it and checks it
claims.csv      claims              claim.py, Claim
claims.toml     how claims are checked
"""

from __future__ import annotations

from harness.published.claim import Claim, Measure, claims
from harness.published.figure import CSV, Column, Figure, every
from harness.published.names import JOINED, METRICS, figures, ours
from harness.published.spec import DataSetAverages, DataSets, OurModel, SplitAverage, Statistic, TableSpec
from harness.published.table import by_table, names_of_our_models, tables

__all__ = [
    "CSV",
    "JOINED",
    "METRICS",
    "Claim",
    "Column",
    "DataSetAverages",
    "DataSets",
    "Figure",
    "Measure",
    "OurModel",
    "SplitAverage",
    "Statistic",
    "TableSpec",
    "by_table",
    "claims",
    "every",
    "figures",
    "names_of_our_models",
    "ours",
    "tables",
]
