"""What leaves an engine folder: samples for people to judge, the estimates from their verdicts, and exports."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec

from harness.data_engine import audit as sampling
from harness.data_engine import audit_estimates, audit_page, audit_verdicts, label_studio
from harness.data_engine import export as exporting
from harness.data_engine.audit import AuditSample
from harness.data_engine.audit_estimates import AuditResult
from harness.data_engine.audit_verdicts import Verdicts
from harness.data_engine.export import Exported
from harness.data_engine.shards import Engine
from harness.errors import DataError, UsageError
from harness.evaluation.engine_data import root_of
from harness.sinks import file_name
from harness.store.files import replace_file

SAMPLE = "sample.jsonl"


@dataclass(frozen=True, slots=True)
class Audit:
    """A sample that was drawn, and the folder with its files: the pages of both people, and tasks of Label Studio."""

    sample: AuditSample
    folder: Path


def audit(
    to: str | Path,
    *,
    sample: int = sampling.SAMPLE,
    least: int = sampling.LEAST,
    seed: int = 0,
    today: date | None = None,
) -> Audit:
    """Draws a sample of an engine's annotations, and writes what people need to judge it, below ENGINE/audit.

    The folder has today's date.  The same sample is written to the same folder, so verdicts on it stay valid.
    UsageError as `harness.data_engine.audit.draw`; DataError for an image that is missing or has changed.
    """
    engine = Engine.open(Path(to))
    root = root_of(engine.data)
    drawn = sampling.draw(engine.records, engine.origins, sample=sample, least=least, seed=seed)
    folder = _folder(engine.path / "audit", drawn, today or date.today())
    audit_page.write_page(folder / "page.html", drawn, root)
    if any(item.second for item in drawn.items):
        audit_page.write_page(folder / "second.html", drawn, root, second=True)
    label_studio.write_sample(folder / "label-studio.json", drawn)
    sampling.write_sample(folder / SAMPLE, drawn)
    return Audit(drawn, folder)


def audited(to: str | Path, verdicts: Sequence[str | Path]) -> AuditResult:
    """The estimates from files of verdicts, of the page or of Label Studio; kept with them in the sample's folder.

    Where several people judged an annotation, the first of them counts.

    DataError for damaged verdicts, and for those on a sample that this engine did not draw.
    """
    engine = Engine.open(Path(to))
    if not verdicts:
        raise UsageError("--verdicts: name at least one file of verdicts")
    folder, sample = sample_of(engine.path / "audit", Path(verdicts[0]))
    people: Verdicts = {}
    for path in verdicts:
        found = audit_verdicts.read_verdicts(Path(path), sample)
        if twice := sorted(people.keys() & found.keys()):
            raise DataError(f"two files have verdicts of {twice[0]!r}; each person has one file")
        people |= found
    result = audit_estimates.result(sample, list(people.items()))
    for path in verdicts:
        replace_file(folder / f"verdicts-{file_name(Path(path).stem)}{Path(path).suffix}", Path(path).read_bytes())
    replace_file(folder / "estimates.json", json.dumps(msgspec.to_builtins(result), indent=1).encode() + b"\n")
    return result


def export(to: str | Path, form: str, path: str | Path, *, licences: Collection[str] | None = None) -> Exported:
    """Writes what an engine keeps in a format of other tools; see `harness.data_engine.export`."""
    engine = Engine.open(Path(to))
    name = f"{engine.path.resolve().name}, recipe {engine.recipe.name}"
    return exporting.export(
        engine.records, engine.origins, root_of(engine.data), Path(path), form, licences=licences, name=name
    )


def _folder(audits: Path, drawn: AuditSample, today: date) -> Path:
    """The folder of today's date, or with a number behind it where another sample is there."""
    for number in range(1, 1000):
        folder = audits / (today.isoformat() if number == 1 else f"{today.isoformat()}-{number}")
        if not (folder / SAMPLE).exists() or sampling.read_sample(folder / SAMPLE) == drawn:
            return folder
    raise UsageError(f"{audits} has 999 samples of today; remove some")


def sample_of(audits: Path, verdicts: Path) -> tuple[Path, AuditSample]:
    """The sample that a file of verdicts is on, and its folder."""
    wanted = audit_verdicts.sample_of(verdicts)
    for path in sorted(audits.glob(f"*/{SAMPLE}")):
        sample = sampling.read_sample(path)
        if sample.id == wanted:
            return path.parent, sample
    raise DataError(f"{verdicts} has verdicts on the sample {wanted}, which is not among those in {audits}")
