"""`claims.csv`, what a summary of the paper claims and what the paper says; `claims.toml`, how a claim is checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from harness.published import rows
from harness.published.figure import ProtocolName

CSV = Path(__file__).with_name("claims.csv")
TOML = Path(__file__).with_name("claims.toml")
COLUMNS = {  # a column of claims.csv: the field of Claim that holds it
    "id": "id",
    "claim": "claim",
    "claimed_value": "claimed_value",
    "metric": "metric",
    "verdict": "verdict",
    "paper_value": "paper_value",
    "paper_locator": "locator",
    "note": "note",
}


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The run that checks a claim: our names of model, task, split and metric, and the number in the paper."""

    model: str
    protocol: ProtocolName
    task: str
    split: str
    metric: str
    paper: float


class Checks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`claims.toml`: the claims that a run measures, and those that a study of small models bears on, by id."""

    measured: Mapping[str, Measure] = {}
    studied: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim about the paper, the verdict on it, and how it is checked here (None and "": it is not)."""

    id: str
    claim: str
    claimed_value: str
    metric: str
    verdict: str
    paper_value: str
    locator: str
    note: str
    measure: Measure | None = None
    study: str = ""

    @property
    def claimed(self) -> str:
        """The claimed value and its metric."""
        return " ".join(filter(None, (self.claimed_value, self.metric)))


@cache
def claims() -> tuple[Claim, ...]:
    """All rows of `claims.csv`, in its order."""
    return parse(CSV.read_text(encoding="utf-8"), TOML.read_text(encoding="utf-8"))


def parse(text: str, checks: str) -> tuple[Claim, ...]:
    """The claims of a CSV text, checked as a TOML text says; ValueError for an unknown column, key or claim."""
    found = [fields for _, fields in rows.read(CSV.name, text, COLUMNS)]
    how = _checks(checks, {fields["id"] for fields in found})
    return tuple(
        Claim(**fields, measure=how.measured.get(fields["id"]), study=how.studied.get(fields["id"], ""))
        for fields in found
    )


def _checks(text: str, known: set[str]) -> Checks:
    try:
        how = msgspec.convert(tomllib.loads(text), Checks)
    except msgspec.ValidationError as error:
        raise ValueError(f"{TOML.name}: {error}") from error
    if lost := sorted({*how.measured, *how.studied} - known):
        raise ValueError(f"{TOML.name}: no claim {', '.join(lost)} in {CSV.name}")
    return how
