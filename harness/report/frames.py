"""All runs as one data frame with a row per metric, and its export as JSON lines and Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from harness.core import Run
from harness.errors import ResourceError

if TYPE_CHECKING:
    from pandas import DataFrame

TIMINGS = ("seconds", "answers/s", "images/s", "tokens/s", "peak memory MiB", "peak GPU memory MiB")
PROVENANCE = ("date", "commit", "dirty", "command")
COLUMNS = (
    "id", "data", "task", "version", "split", "model", "protocol", "limit", "seed", "fingerprint", "status", "metric",
    "headline", "value", "low", "high", "n", "samples", "images", "device", "precision", *PROVENANCE, *TIMINGS,
)  # fmt: skip


def table(runs: Iterable[Run]) -> DataFrame:
    """A data frame with COLUMNS and one row per metric of each run, in the order of `runs`.

    Values are in percent (CIDEr x 100), unrounded; times are in seconds.  A field that a record lacks is None.
    """
    from pandas import DataFrame

    rows: list[dict[str, Any]] = []
    for run in runs:
        spec, model = run.spec, run.provenance.get("model", {})
        fields: dict[str, Any] = {
            name: getattr(spec, name)
            for name in ("data", "task", "version", "split", "model", "protocol", "limit", "seed", "fingerprint")
        }
        fields |= {"id": run.id, "status": run.status}
        fields |= {name: run.counts.get(name) for name in ("samples", "images")}
        facts = {name: model.get(name) for name in ("device", "precision")}
        fields |= {name: None if fact is None else str(fact) for name, fact in facts.items()}
        fields |= {name: run.provenance.get(name) for name in PROVENANCE}
        fields |= {name: run.timings.get(name) for name in TIMINGS}
        rows += [
            {**fields, "metric": name, "headline": name == run.headline, "value": estimate.value, "low": estimate.low,
             "high": estimate.high, "n": estimate.n}
            for name, estimate in run.metrics.items()
        ]  # fmt: skip
    return DataFrame(rows, columns=list(COLUMNS))


def as_jsonl(frame: DataFrame) -> bytes:
    """One JSON object per row, UTF-8; numbers keep 15 decimals."""
    text: str = frame.to_json(orient="records", lines=True, double_precision=15, force_ascii=False)
    return text.encode()


def as_parquet(frame: DataFrame) -> bytes:
    """The frame as Parquet; ResourceError if pyarrow is not installed."""
    out = io.BytesIO()
    try:
        frame.to_parquet(out, engine="pyarrow", index=False)
    except ImportError as error:
        raise ResourceError("--parquet needs pyarrow: pip install pyarrow; --jsonl needs no further package") from error
    return out.getvalue()
