"""Published figures, each with its source, and what a summary of the paper claims."""

from __future__ import annotations

import csv
import tomllib
from typing import Any

from harness.published.figure import CSV, Column, Figure, every
from harness.published.names import JOINED, METRICS, figures, ours

__all__ = ["CSV", "JOINED", "METRICS", "Column", "Figure", "claims", "every", "figures", "ours", "tables"]


def tables() -> dict[str, dict[str, Any]]:
    """All of `tables.toml`: title, notes and so on, by the key that rows of `published.csv` carry."""
    return tomllib.loads(CSV.with_name("tables.toml").read_text(encoding="utf-8"))


def claims() -> list[dict[str, str]]:
    """All of `claims.csv`: what a summary of the paper says, and what the paper says."""
    with CSV.with_name("claims.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
