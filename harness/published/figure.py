"""`published.csv`: one published figure a row, each with its source.

Columns of the file: the table in which a figure is shown (a key of tables.toml), the model with its size, protocol and
training, the task, split and metric in the words of the source, the value as the source prints it, and the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from harness.published import rows

CSV = Path(__file__).with_name("published.csv")
COLUMNS = {  # a column of published.csv: the field of Figure that holds it
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
ProtocolName = Literal["zero_shot", "fine_tuned"]
PROTOCOLS: tuple[str, ...] = get_args(ProtocolName)
CONFIDENCES = ("high", "medium")
UNNAMED_SPLIT = "as in paper"  # the split of a figure whose source names none
ABOUT = "~"  # before a value that the source gives as "about"


class Column(NamedTuple):
    """What a figure measures, in the words of its source."""

    task: str
    split: str
    metric: str

    @property
    def title(self) -> str:
        """The heading of a table's column; without the split where the source names none."""
        return f"{self.task} {self.metric}" if self.split == UNNAMED_SPLIT else " ".join(self)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of one source; `value` in the units of the source (percent, CIDEr x 100), `text` as it prints it."""

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
    confidence: str  # high, or medium: quoted second-hand, read off a figure, or inferred

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol {self.protocol!r}: one of {', '.join(PROTOCOLS)}")
        if self.confidence not in CONFIDENCES:
            raise ValueError(f"confidence {self.confidence!r}: one of {', '.join(CONFIDENCES)}")
        float(self.text.removeprefix(ABOUT))

    @property
    def value(self) -> float:
        """The number; ValueError where the source says no more than "about"."""
        return float(self.text)

    @property
    def exact(self) -> bool:
        """Whether the source prints the number itself, not "about" a number."""
        return not self.text.startswith(ABOUT)

    @property
    def doubtful(self) -> bool:
        """Whether the source is uncertain, or prints "about"."""
        return self.confidence != "high" or not self.exact

    @property
    def printed(self) -> str:
        """The number as tables show it: `~` before a doubtful one."""
        return f"{ABOUT}{self.text.removeprefix(ABOUT)}" if self.doubtful else self.text

    @property
    def column(self) -> Column:
        """The column of a table in which the figure stands."""
        return Column(self.task, self.split, self.metric)


@cache
def every() -> tuple[Figure, ...]:
    """All rows of `published.csv`, in its order."""
    return parse(CSV.read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Figure, ...]:
    """The figures of a CSV text; ValueError, with the line, for an unknown column or a malformed row."""
    return tuple(_figure(where, fields) for where, fields in rows.read(CSV.name, text, COLUMNS))


def _figure(where: str, fields: Mapping[str, str]) -> Figure:
    try:
        return Figure(**fields)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
