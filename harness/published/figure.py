"""`published.csv`: one published figure per row, with its source.

Each row names the table that shows the figure (a key of tables.toml).  Further columns are the model with its size,
protocol and training data, and the task, split and metric in the words of the source.  The value is kept as the source
prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from harness.published import rows

CSV = Path(__file__).with_name("published.csv")
COLUMNS = {  # column of published.csv: field of Figure
    "table": "table",
    "model": "model",
    "params": "parameters",
    "protocol": "protocol",
    "training": "training",
    "task": "task",
    "split": "split",
    "metric": "metric",
    "value": "text",
    "source": "source",
    "source_locator": "locator",
    "confidence": "confidence",
}
ProtocolName = Literal["zero_shot", "few_shot", "fine_tuned"]
PROTOCOLS: tuple[str, ...] = get_args(ProtocolName)
CONFIDENCES = ("high", "medium")
UNNAMED_SPLIT = "as in paper"  # the source names no split
ABOUT = "~"  # prefix of a value that the source prints as "about"


class Column(NamedTuple):
    """The task, split and metric of a figure, in the words of its source."""

    task: str
    split: str
    metric: str

    @property
    def title(self) -> str:
        """The heading of the table column.  The split is left out if the source names none."""
        return f"{self.task} {self.metric}" if self.split == UNNAMED_SPLIT else " ".join(self)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of one source.

    `text` is the number as the source prints it; `value` is its float, in percent (CIDEr x 100).  ValueError for an
    unknown protocol or confidence, and for a text that is no number.
    """

    table: str
    model: str
    parameters: str
    protocol: str
    training: str
    task: str
    split: str
    metric: str
    text: str
    source: str
    locator: str
    confidence: str  # "high"; "medium" if quoted second-hand, read off a plot, or inferred

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol {self.protocol!r}: expected one of {', '.join(PROTOCOLS)}")
        if self.confidence not in CONFIDENCES:
            raise ValueError(f"confidence {self.confidence!r}: expected one of {', '.join(CONFIDENCES)}")
        float(self.text.removeprefix(ABOUT))

    @property
    def value(self) -> float:
        """The number; ValueError if the source prints only an approximate value ("about")."""
        return float(self.text)

    @property
    def exact(self) -> bool:
        """Whether the source prints the number without "about"."""
        return not self.text.startswith(ABOUT)

    @property
    def doubtful(self) -> bool:
        """Whether the confidence is below "high", or the source prints "about"."""
        return self.confidence != "high" or not self.exact

    @property
    def printed(self) -> str:
        """The number as tables show it, with the prefix `~` if the figure is doubtful."""
        return f"{ABOUT}{self.text.removeprefix(ABOUT)}" if self.doubtful else self.text

    @property
    def column(self) -> Column:
        """The table column that holds the figure."""
        return Column(self.task, self.split, self.metric)


@cache
def every() -> tuple[Figure, ...]:
    """All figures of `published.csv`, in file order."""
    return parse(CSV.read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Figure, ...]:
    """The figures of a CSV text; ValueError, with the line number, for an unknown column or a malformed row."""
    return tuple(_figure(location, fields) for location, fields in rows.read(CSV.name, text, COLUMNS))


def _figure(location: str, fields: Mapping[str, str]) -> Figure:
    try:
        return Figure(**fields)
    except ValueError as error:
        raise ValueError(f"{location}: {error}") from error
