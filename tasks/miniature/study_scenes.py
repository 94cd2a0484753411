"""Scenes for the studies of the data engine: images, the truth of the calibration scenes, and the truth of all.

    scenes/20000000.jpg
    truth.json          of the last scenes, the calibration set: all that an engine may know (see `engine_world`)
    every.json          of all scenes, for simulated specialists and for scoring
    detailed.json       the detailed text of each scene

Seeds are from 20,000,000 on: scenes to label of each seed of the study, then those held out, and those of the warm
start.  No benchmark, training split or other study has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Answer, Failure, Question, Text, Ticket
from tasks.miniature.drawing import Job, drawn
from tasks.miniature.engine_world import TRUTH, WITH_SIGNS, Truth, reference_of, truth_of
from tasks.miniature.telling import detailed

LABELLED, HELD_OUT, WARM = 20_000_000, 30_000_000, 40_000_000  # first seeds
APART = 10_000  # seeds between the scenes of two seeds of the study
EVERY, DETAILED = "every.json", "detailed.json"


def write(root: Path, first: int, scenes: int, calibration: int = 0) -> None:
    """Draws scenes under `root`, of which the last are the calibration set; a root that is whole stays."""
    if (root / DETAILED).exists():
        return
    jobs = [
        Job(seed, reference_of(seed), signs=seed % WITH_SIGNS == 0, outlines=True)
        for seed in range(first, first + scenes)
    ]
    truths: dict[str, Truth] = {}
    texts: dict[str, str] = {}
    for job, rendered in zip(jobs, drawn(root, jobs, "drawing"), strict=True):
        truths[job.path], texts[job.path] = truth_of(rendered), detailed(rendered)
    known = dict(list(truths.items())[scenes - calibration :])
    (root / TRUTH).write_text(json.dumps(msgspec.to_builtins(known)))
    (root / EVERY).write_text(json.dumps(msgspec.to_builtins(truths)))
    (root / DETAILED).write_text(json.dumps(texts))


def every_truth(root: Path) -> Mapping[str, Truth]:
    """The truth of all scenes, by reference."""
    return msgspec.json.decode((root / EVERY).read_bytes(), type=dict[str, Truth])


def detailed_texts(root: Path) -> Mapping[str, str]:
    """The detailed text of all scenes, by reference."""
    return msgspec.json.decode((root / DETAILED).read_bytes(), type=dict[str, str])


class Teller:
    """A specialist that gives the detailed texts of scenes as they are."""

    fingerprint = "detailed texts of the study"

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts, self.provenance = texts, dict[str, Any]()

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """The text of each image."""
        for ticket, question in questions:
            text = self.texts[question.image_name]
            yield ticket, Answer((text,), Text((text,)))
