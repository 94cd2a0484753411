"""Published figures with their sources, and the claims that a summary of the paper makes.

published.csv   the figures                 figure.py (Figure); names.py maps our task names to the published names
tables.toml     the layout of their tables  spec.py (TableSpec); table.py parses and checks the file
claims.csv      the claims                  claim.py (Claim)
claims.toml     how each claim is checked   claim.py (Measure)
"""

from __future__ import annotations

from harness.published.claim import Claim, Measure, claims
from harness.published.figure import CSV, Column, Figure, every
from harness.published.names import JOINED, METRICS, SETTINGS, WEIGHTS, figures, ours
from harness.published.spec import DataSetAverages, DataSets, OurModel, SplitAverage, Statistic, TableSpec
from harness.published.table import by_table, published_names, tables

__all__ = [
    "CSV",
    "JOINED",
    "METRICS",
    "SETTINGS",
    "WEIGHTS",
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
    "ours",
    "published_names",
    "tables",
]
