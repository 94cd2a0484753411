"""The claims of a summary of the paper (`claims.csv`), and how this harness checks each claim (`claims.toml`)."""

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
COLUMNS = {  # column of claims.csv: field of Claim
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
    """The run that checks a claim, under the names of this harness.

    `paper` is the number in the paper, in percent (CIDEr x 100).
    """

    model: str
    protocol: ProtocolName
    task: str
    split: str
    metric: str
    paper: float


class Checks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `claims.toml`: claims that a run measures, a study covers, or that were tried in miniature.

    Keys are claim ids.
    """

    measured: Mapping[str, Measure] = {}
    studied: Mapping[str, str] = {}
    miniature: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim about the paper, the verdict on the claim, and how this harness checks it.

    `measure` names a run, `study` names a study, and `miniature` says what the embedded world showed; a claim with none
    of them is not checked.
    """

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
    miniature: str = ""

    @property
    def claimed(self) -> str:
        """The claimed value and its metric, separated by a space; "" for a claim without a number."""
        return " ".join(filter(None, (self.claimed_value, self.metric)))


@cache
def claims() -> tuple[Claim, ...]:
    """All claims of `claims.csv`, in file order."""
    return parse(CSV.read_text(encoding="utf-8"), TOML.read_text(encoding="utf-8"))


def parse(text: str, checks: str) -> tuple[Claim, ...]:
    """The claims of a CSV text, with the checks of a TOML text; ValueError for an unknown column, key or claim id."""
    records = [fields for _, fields in rows.read(CSV.name, text, COLUMNS)]
    by_claim = _checks(checks, {fields["id"] for fields in records})
    return tuple(
        Claim(
            **fields,
            measure=by_claim.measured.get(fields["id"]),
            study=by_claim.studied.get(fields["id"], ""),
            miniature=by_claim.miniature.get(fields["id"], ""),
        )
        for fields in records
    )


def _checks(text: str, known: set[str]) -> Checks:
    try:
        checks = msgspec.convert(tomllib.loads(text), Checks)
    except msgspec.ValidationError as error:
        raise ValueError(f"{TOML.name}: {error}") from error
    if unknown := sorted({*checks.measured, *checks.studied, *checks.miniature} - known):
        raise ValueError(f"{TOML.name}: no claim {', '.join(unknown)} in {CSV.name}")
    return checks
