"""All runs as one table, a row a metric: for pandas and whatever else reads JSON lines or Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from harness.core import Run
from harness.errors import ResourceError

if TYPE_CHECKING:
    from pandas import DataFrame

TIMINGS = ("seconds", "answers/s", "images/s", "tokens/s", "peak memory MiB")
TOLD = ("date", "commit", "dirty", "command")
COLUMNS = (
    "id", "data", "task", "version", "split", "model", "protocol", "limit", "seed", "fingerprint", "status", "metric",
    "headline", "value", "low", "high", "n", "samples", "images", "device", "precision", *TOLD, *TIMINGS,
)  # fmt: skip


def table(runs: Iterable[Run]) -> DataFrame:
    """Of COLUMNS, in the order of runs and of each one's metrics; values in papers' units, unrounded."""
    from pandas import DataFrame

    rows: list[dict[str, Any]] = []
    for run in runs:
        spec, made = run.spec, run.provenance.get("model", {})
        one: dict[str, Any] = {
            name: getattr(spec, name)
            for name in ("data", "task", "version", "split", "model", "protocol", "limit", "seed", "fingerprint")
        }
        one |= {"id": run.id, "status": run.status}
        one |= {name: run.counts.get(name) for name in ("samples", "images")}
        one |= {name: made.get(name) for name in ("device", "precision")}
        one |= {name: run.provenance.get(name) for name in TOLD}
        one |= {name: run.timings.get(name) for name in TIMINGS}
        rows += [
            {**one, "metric": name, "headline": name == run.headline, "value": estimate.value, "low": estimate.low,
             "high": estimate.high, "n": estimate.n}
            for name, estimate in run.metrics.items()
        ]  # fmt: skip
    return DataFrame(rows, columns=list(COLUMNS))


def as_jsonl(frame: DataFrame) -> bytes:
    """A line a row; numbers to the last digit that a double has."""
    text: str = frame.to_json(orient="records", lines=True, double_precision=15, force_ascii=False)
    return text.encode()


def as_parquet(frame: DataFrame) -> bytes:
    """Parquet; ResourceError where pyarrow is not installed."""
    out = io.BytesIO()
    try:
        frame.to_parquet(out, engine="pyarrow", index=False)
    except ImportError as error:
        raise ResourceError("--parquet needs pyarrow: pip install pyarrow; --jsonl needs nothing") from error
    return out.getvalue()
