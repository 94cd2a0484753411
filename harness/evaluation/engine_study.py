"""The study of the data engine's rounds: makes its cells, and writes its page; see `protocols.engine_study`."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.evaluation.engine_arms import Work
from harness.protocols import engine_study as study
from harness.protocols.engine_study import Sizes
from harness.provenance import provenance
from harness.report.engine_study import EngineStudy, page, tables
from harness.report.tables import comma_separated

RUNS = Path("runs/engine-study")
log = logging.getLogger(__name__)


def run(
    seeds: Sequence[int], sizes: Sizes, *, arms: Sequence[str] | None, levels: Sequence[float], out: Path,
    command: Sequence[str], device: str | None = None, minutes: float | None = None, runs: Path = RUNS,
) -> None:  # fmt: skip
    """Makes the cells that have no record; UsageError at the gate.  No cell starts after `minutes`."""
    from baselines.florence2 import choose_device

    end = time.monotonic() + 60 * minutes if minutes is not None else None
    chosen = choose_device(device)
    for cell in study.cells_of(seeds, sizes, arms=arms, levels=levels):
        if study.read_record(out, cell) is not None:
            continue
        if end is not None and time.monotonic() > end:
            log.warning("%s is not made: --minutes %g are over; the same command resumes", cell.title, minutes)
            return
        record = study.run_cell(cell, Work(cell, runs, chosen).make, out, provenance(command))
        log.info("%s: %s; %.0f s of CPU", cell.title, _short(record), record["cpu seconds"])


def _short(record: Mapping[str, Any]) -> str:
    parts = [f"labels {name} {value:.1f}" for name, value in record["labels"].items()]
    return ", ".join([*parts, *(f"model {name} {value:.1f}" for name, value in record["model"].items())])


def render(seeds: Sequence[int], sizes: Sizes, *, levels: Sequence[float], out: Path, to: Path) -> Path:
    """Writes the page `engine.md` and its tables from the records of these seeds; the path of the page."""
    cells = study.cells_of(seeds, sizes, levels=levels)
    records: dict[tuple[str, float], dict[int, dict[str, Any]]] = {}
    for cell in cells:
        if (record := study.read_record(out, cell)) is not None:
            records.setdefault((cell.arm, cell.level), {})[cell.seed] = record
    shown = EngineStudy(
        records=records, arms=study.ARMS, levels=levels, gate=study.GATE, truth=study.TRUTH,
        done=sum(map(len, records.values())), cells=len(cells), choosing=any(s >= study.CHOOSING for s in seeds),
    )  # fmt: skip
    to.mkdir(parents=True, exist_ok=True)
    name = "engine-choosing" if shown.choosing else "engine"
    for table in tables(shown):
        (to / f"{name}-{table.key}.csv").write_text(comma_separated(table), encoding="utf-8")
    (to / f"{name}.md").write_text(page(shown), encoding="utf-8")
    return to / f"{name}.md"


def sizes_of(changes: Mapping[str, str]) -> Sizes:
    """The sizes with changes given as text; UsageError, with what exists, for another name or value."""
    import msgspec

    from harness.errors import UsageError

    sizes = Sizes()
    known = {name: type(getattr(sizes, name)) for name in Sizes.__dataclass_fields__}
    values: dict[str, Any] = {}
    for name, text in changes.items():
        if name not in known:
            raise UsageError(f"--set {name}={text}: the study has no {name!r}; it has {', '.join(known)}")
        try:
            values[name] = msgspec.convert(json.loads(text), known[name])
        except (ValueError, msgspec.ValidationError) as error:
            raise UsageError(f"--set {name}={text}: {known[name].__name__} is expected") from error
        if values[name] <= 0:
            raise UsageError(f"--set {name}={text}: above 0")
    return replace(sizes, **values)
