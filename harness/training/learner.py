"""What fine-tuning needs of a model: the loop, the mixture, the log and the history are the same for all models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from harness.core import Kind, Question, Sample
from harness.training.history import TrainingRun
from harness.training.loop import Batches
from harness.training.mixture import Resizing
from harness.training.stores import Examples


class Learner(Protocol):
    """A model with its starting weights.  It is made before anything of the data is read."""

    @property
    def sha256(self) -> str:
        """The name of the starting weights."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Warnings about the starting checkpoint, for the training history."""
        ...

    @property
    def origin(self) -> tuple[object, ...]:
        """Everything else that decides on the training: two with equal `repr` train alike."""
        ...

    @property
    def kinds(self) -> frozenset[Kind] | None:
        """The kinds of question that it can be taught; None: all that have a target."""
        ...

    def check(self, finished: Path) -> None:
        """CheckpointError for a finished checkpoint that is damaged."""
        ...

    def begin(self, questions: Mapping[str, Question]) -> None:
        """Makes the network trainable; `questions` is the first question of each task, empty if `kinds` is None."""
        ...

    @property
    def language(self) -> str:
        """What decides on the ids of an example, such as the tokenizer.  It is read after `begin`."""
        ...

    @property
    def ids(self) -> int:
        """The number of ids that can be in an example."""
        ...

    @property
    def limits(self) -> tuple[int, int]:
        """The most tokens in a prompt and in an answer."""
        ...

    def examples(self, sample: Sample[Any], root: Path) -> Examples:
        """The (prompt, answer) ids of a sample, one pair per reference answer; empty without a published answer."""
        ...

    @property
    def resizing(self) -> Resizing:
        """What makes the pixels of an image."""
        ...

    def joined(self, pixels: list[Any]) -> Any:
        """The pixels of a batch from those of its images."""
        ...

    def train(self, batches: Batches, out: Path, identity: str, device: str) -> None:
        """Trains to the end of the recipe's plan; see `loop.fit`."""
        ...

    def save(self, folder: Path, run: TrainingRun) -> Path:
        """Writes the trained checkpoint with its history: that of the starting weights, then `run`.  The folder."""
        ...
