"""A world for rounds: images of one colour with a known truth, a simulated specialist, and a model that errs by a rule.

Run as a program, it makes the round of a folder, and kills itself at the write of a file that its argument names.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.core import Answer, Failure, Question, Ticket
from harness.data_engine import tables
from harness.data_engine.annotate import Specialist, annotate
from harness.data_engine.calibration import Object
from harness.data_engine.combine import Combine
from harness.data_engine.filtering import filter_annotations
from harness.data_engine.images import read_row
from harness.data_engine.recipes import Recipe
from harness.data_engine.regions import Boxes
from harness.data_engine.shards import Engine
from harness.data_engine.sources import Sources
from harness.protocols.rounds import Parts, Settings, refine
from tasks.miniature.engine_world import Thing, Truth
from tasks.miniature.shapes import SEEN
from tasks.miniature.specialists import Noise, Simulated
from tests.harness.data_engine.engines import SIZE, drawn

GOOD = replace(Noise().scaled(0.4), shared=0.0)
RECIPE = Recipe(name="test", specialists={"detect": ("detector",)}, stages=(Sources(), Boxes(), Combine()))
SETTINGS = Settings(
    model="taught", start="s" * 64, recipe={"steps": 5}, taught=(), kinds=("detect",), folds=2, truth="the truth",
    precision=0.9,
)  # fmt: skip


def truths(images: int) -> dict[str, Truth]:
    """Four things in each image, in quarters of it."""
    found = {}
    for number in range(images):
        draw = random.Random(number)
        things = []
        for left, top in ((0, 0), (50, 0), (0, 40), (50, 40)):
            x, y = left + draw.uniform(2, 12), top + draw.uniform(2, 8)
            box = (x, y, x + draw.uniform(24, 34), y + draw.uniform(20, 29))
            things.append(Thing(draw.choice(SEEN), "red", draw.random() < 0.5, box))
        found[f"{number:03d}.png"] = Truth(SIZE, tuple(things))
    return found


def objects(of: dict[str, Truth]) -> dict[str, list[Object]]:
    """The truth as calibration has it."""
    return {name: [(thing.category, thing.box) for thing in truth.things] for name, truth in of.items()}


class Logged:
    """A model whose questions are appended to a file."""

    def __init__(self, model: Simulated, log: Path, name: str) -> None:
        self.model, self.log, self.name = model, log, name
        self.fingerprint, self.provenance = f"{model.fingerprint} {name}", model.provenance

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, question in questions:
            with self.log.open("a") as stream:
                stream.write(f"{self.name} {question.image_name}\n")
            yield from self.model.answer([(ticket, question)])


@dataclass
class World:
    """An engine with round 0, and what rounds are given: `taught` lists what was taught, `asked` what was asked."""

    folder: Path
    images: int = 60
    noise: Noise = field(default=GOOD)

    def __post_init__(self) -> None:
        self.root, self.log = self.folder / "photos", self.folder / "asked.txt"
        self.taught: list[tuple[int, int, int]] = []
        self.truths = truths(self.images)
        if not self.root.exists():
            list(drawn(self.root, self.images))

    @property
    def engine(self) -> Engine:
        """The folder, opened."""
        return Engine.open(self.folder / "engine")

    def annotated(self) -> World:
        """Makes round 0."""
        rows = [read_row(self.root, path.name) for path in sorted(self.root.iterdir())]
        engine = Engine.create(self.folder / "engine", rows, RECIPE, str(self.root), shard=25)
        model = Simulated(self.truths, Noise(), "detector")
        annotate(engine, Specialist("detect", "detector", model), self.root)
        filter_annotations(engine)
        return self

    def parts(self) -> Parts:
        """A teaching that writes a file, and a model that errs by `noise`, independently in each fold."""

        def teach(base: int, fold: int, folds: int, folder: Path) -> Path:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "checkpoint").exists():
                self.taught.append((base, fold, folds))
                (folder / "checkpoint").write_text(f"{fold}")
            return folder / "checkpoint"

        def load(checkpoint: Path) -> Logged:
            name = f"{checkpoint.parents[2].name} fold{checkpoint.read_text()}"
            return Logged(Simulated(self.truths, self.noise, name), self.log, name)

        def ask(specialist: Specialist) -> object:
            return annotate(self.engine, specialist, self.root)

        return Parts(teach, load, ask, objects(self.truths))

    def refine(self, rounds: int = 1, **changes: Any) -> Any:
        """The states of the rounds."""
        return refine(self.engine, rounds, replace(SETTINGS, **changes), self.parts)

    def asked(self) -> list[str]:
        """What the taught models were asked, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def digest(self) -> dict[str, str]:
        """A digest over the rows of each part of each round."""
        forms: dict[str, tables.Form] = {"raw": "annotations", "answers": "answers", "told": "told"}
        return {
            f"{folder.name}/{part}": tables.rows_digest(
                row for path in sorted((folder / part).glob("*.parquet")) for row in tables.read(path, form)
            )
            for folder in sorted((self.folder / "engine").glob("round*"))
            for part, form in forms.items()
        }


def main(folder: Path, images: int, kill_at: int) -> None:
    """Makes round 1, and ends by SIGKILL before the write of this number, or at the answer of this negative number."""
    world = World(folder, images)
    count = 0
    write = os.fsync

    def counted(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        write(descriptor)

    os.fsync = counted
    if kill_at < 0:
        answer = Logged.answer

        def killed(self: Logged, questions: Any) -> Any:
            for number, each in enumerate(answer(self, questions)):
                if number == -kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield each

        Logged.answer = killed  # type: ignore[method-assign]
    world.refine()
    print(count)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
