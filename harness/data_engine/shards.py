"""The folder of an engine: the only module that writes it.

    ENGINE/
      engine.json               schema, recipe, data root, size of a shard, digest of the images
      images.parquet            every image, by reference; a row group is a shard
      origins.jsonl             who made annotations; append only
      round0/raw/00017-DIGEST.parquet      annotations as they were given; never rewritten
      round0/measures/00017-DIGEST.parquet numbers that a specialist gave for annotations; never rewritten
      round0/answers/00017-DIGEST.parquet  the questions that they answer, with what the model wrote; never rewritten
      round0/asking/            answers of questions in progress, line by line
      round0/told/00017.parquet every annotation so far with its measures and verdicts; rewritten when a setting changes
      round1/...                raw and answers of the taught model alone; told of everything so far
      benchmarks.jsonl          hashes of benchmarks' images (harness.data_engine.hash_cache)
      costs.jsonl               seconds of asking (harness.data_engine.costs)
      round1/round.json         what the round was begun with, and how it ended (`harness.data_engine.round_states`)
      round1/models/            what was taught for it
      flags.jsonl               scores of unsafe images (harness.data_engine.flags)
      locks/                    one process at a time works on a shard

A shard is a fixed range of the images in the order of their references, so shard 17 is the same on every machine.  A
file of `raw` is named by the digest of what was asked of whom; one of `told` has the digest of its inputs in the footer
(raw files, image rows, stages with versions and settings).  A file with the wanted digest is done; any other is made
again.  Files are written aside, onto the disk, and renamed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from harness.data_engine import tables
from harness.data_engine.ordered import Ordered
from harness.data_engine.recipes import Recipe
from harness.data_engine.records import Annotation, ImageRow, Origin, Record, digest
from harness.data_engine.round_states import RoundState, read_state, write_state
from harness.data_engine.similarity import COMPARED
from harness.data_engine.tables import Row
from harness.errors import DataError, UsageError
from harness.store.files import disk_errors, lines, remove_incomplete_line
from harness.store.lock import locked

SHARD = 1000  # images
SETUP = "setup"  # the lock of engine.json, images and origins
PATIENCE = 60.0  # seconds


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """The content of engine.json."""

    schema: int
    data: str
    images: int
    images_digest: str
    shard: int
    recipe: dict[str, Any]


@dataclass(frozen=True)
class Engine:
    """An engine folder that is open.

    `data` is the data root as it was given when the folder was made.  `shard` is the number of images in a shard.
    """

    path: Path
    recipe: Recipe
    data: str
    count: int
    shard: int
    images_digest: str

    @classmethod
    def open(cls, path: Path) -> Engine:
        """The engine in a folder; DataError if there is none, or it is of another schema or damaged."""
        file = path / "engine.json"
        try:
            state = msgspec.json.decode(file.read_bytes(), type=_State)
        except FileNotFoundError as error:
            raise DataError(f"{path} is no engine folder: `engine annotate` makes one") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read: {error}; restore it, or make another engine folder") from error
        if state.schema != tables.SCHEMA:
            raise DataError(f"{path} has the schema {state.schema}; this harness reads {tables.SCHEMA}")
        recipe = Recipe.from_data(state.recipe, str(file))
        return cls(path, recipe, state.data, state.images, state.shard, state.images_digest)

    @classmethod
    def create(
        cls, path: Path, images: Iterable[ImageRow], recipe: Recipe, data: str, *, shard: int | None = None
    ) -> Engine:
        """The engine of these images in a folder, which is made unless it is there.

        `images` is a sequence, or yields images in the order of their references, and is then not held in memory.
        `shard` is the number of images in a shard (None: SHARD).

        DataError if a folder of other images is there, or a file of it cannot be written.  The recipe of a folder that
        is there is replaced by `recipe`; nothing that was asked is lost.
        """
        rows = Ordered(images)
        file, size = path / "images.parquet", shard or SHARD
        with tables.written_aside(file, "images", rows.groups(size)) as partial:
            if not rows.count:
                raise DataError(f"{data}: there is no image to annotate")
            made = cls(path, recipe, data, rows.count, size, rows.digest)
            with made.locked(SETUP):
                if (path / "engine.json").exists():
                    there = cls.open(path)
                    if there.images_digest != rows.digest:
                        raise DataError(
                            f"{path} was made of {there.count:,} images that are not the {rows.count:,} of {data}, "
                            "or an image has changed since; make another engine folder"
                        )
                    made = replace(there, recipe=recipe, data=data)
                else:
                    partial.replace(file)
                made._write_state()
        return made

    def with_recipe(self, recipe: Recipe) -> Engine:
        """The engine with another recipe, which is written; what was asked stays."""
        changed = replace(self, recipe=recipe)
        with self.locked(SETUP):
            changed._write_state()
        return changed

    # ------------------------------------------------------------------------ images and origins

    @property
    def shards(self) -> range:
        """The numbers of all shards."""
        return range(-(-self.count // self.shard))

    @property
    def rounds(self) -> range:
        """The numbers of the rounds that were begun, from 0."""
        numbers = [re.fullmatch(r"round(\d+)", entry.name) for entry in self.path.glob("round*")]
        return range(max((int(match[1]) for match in numbers if match), default=-1) + 1)

    @property
    def current(self) -> int:
        """The last round that was promoted, from which everything else is read; 0 before any."""
        return max((number for number in self.rounds[1:] if self._is_promoted(number)), default=0)

    def lineage(self, round_: int) -> tuple[int, ...]:
        """The rounds whose annotations a round decides about: the promoted ones before it, and itself."""
        return (*(n for n in range(round_) if n == 0 or self._is_promoted(n)), round_)

    def state(self, round_: int) -> RoundState | None:
        """What a round was begun with, and how it ended; None for round 0.  DataError for a damaged file."""
        return read_state(self.path / f"round{round_}")

    def keep_state(self, state: RoundState) -> None:
        """Writes the state of a round."""
        write_state(self.path / f"round{state.round}", state)

    def _is_promoted(self, round_: int) -> bool:
        state = self.state(round_)
        return state is not None and state.outcome is not None and state.outcome.promoted

    def origins_of(self, round_: int) -> Mapping[str, Origin]:
        """Who made the annotations that a round decides about, by id."""
        rounds = self.lineage(round_)
        return {id_: origin for id_, origin in self.origins.items() if origin.round in rounds}

    def decided_by(self, round_: int) -> Recipe:
        """The recipe for the origins of a round, with the round's thresholds where it has none of its own."""
        state = self.state(round_)
        recipe = self.recipe if state is None else self.recipe.completed(state.thresholds)
        return recipe.resolved(self.origins_of(round_))

    def images(self) -> Iterator[ImageRow]:
        """Every image, dropped ones too, by reference."""
        for number in self.shards:
            yield from self.images_of(number)

    def images_of(self, number: int) -> list[ImageRow]:
        """The images of a shard."""
        return [tables.image_of(row) for row in tables.read_group(self.path / "images.parquet", "images", number)]

    def replace_images(self, images: Iterable[ImageRow], *, only_if: Callable[[], bool] = lambda: True) -> None:
        """Writes hashes and verdicts of images; UsageError if they are not the images of this engine.

        `images` is as in `create`.  `only_if` is asked after the last of them: without it, the file stays as it is.
        """
        rows, file = Ordered(images), self.path / "images.parquet"
        with tables.written_aside(file, "images", rows.groups(self.shard)) as partial:
            if rows.digest != self.images_digest:
                raise UsageError(f"the {rows.count:,} images are not the {self.count:,} of {self.path}")
            if only_if():
                with self.locked(SETUP):
                    partial.replace(file)

    @cached_property
    def origins(self) -> Mapping[str, Origin]:
        """Who made annotations, by id, as they are known when this is first read; DataError for a damaged line."""
        known = {}
        for line in lines(self.path / "origins.jsonl"):
            try:
                origin = msgspec.json.decode(line, type=Origin)
            except ValueError as error:
                raise DataError(f"{self.path / 'origins.jsonl'} has a damaged line: {error}") from error
            known[origin.id] = origin
        return known

    def add_origins(self, origins: Iterable[Origin]) -> None:
        """Appends the origins that are not listed yet."""
        file = self.path / "origins.jsonl"
        with self.locked(SETUP), disk_errors(file):
            remove_incomplete_line(file)
            known = replace(self).origins  # read again
            new = {origin.id: origin for origin in origins if origin.id not in known}
            if new:
                text = "".join(json.dumps(asdict(origin), ensure_ascii=True) + "\n" for origin in new.values())
                tables.write_durably(file, (file.read_bytes() if file.exists() else b"") + text.encode())
        self.__dict__.pop("origins", None)

    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Holds the lock of a shard, or of the setup, which is short and waited for up to `PATIENCE` seconds.

        UsageError if another process holds the lock.
        """
        until = time.monotonic() + (PATIENCE if what == SETUP else 0)
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(locked(self.path / "locks" / what))
                    break
                except UsageError as error:
                    if time.monotonic() > until:
                        raise UsageError(
                            f"another process is working on {what} of {self.path}; wait for it, or give it other "
                            "shards (--shard)"
                        ) from error
                    time.sleep(0.05)
            yield

    # ------------------------------------------------------------------------ raw

    def folder(self, round_: int, part: str) -> Path:
        """The folder of a part of a round: raw, answers, asking or told."""
        return self.path / f"round{round_}" / part

    def write_part(
        self,
        round_: int,
        number: int,
        inputs: str,
        answers: Sequence[Row],
        annotations: Sequence[Annotation],
        measures: Sequence[Row] = (),
    ) -> None:
        """Writes what was answered, and the annotations and measures of it, once and for all."""
        name = f"{number:05d}-{inputs}.parquet"
        if measures:
            tables.write(self.folder(round_, "measures") / name, "measures", measures, inputs)
        tables.write(self.folder(round_, "answers") / name, "answers", answers, inputs)
        rows = map(tables.annotation_row, annotations)
        tables.write(self.folder(round_, "raw") / name, "annotations", rows, inputs)

    def parts(self, number: int, last: int) -> list[Path]:
        """The raw files of a shard of the rounds that `last` decides about, in the order of rounds and names."""
        found = []
        for round_ in self.lineage(last):
            found += sorted(self.folder(round_, "raw").glob(f"{number:05d}-*.parquet"))
        return found

    def answers(self, round_: int, number: int | None = None) -> Iterator[Row]:
        """The rows of all questions of a round that were answered, or failed for good; of one shard, if it is named."""
        pattern = "*.parquet" if number is None else f"{number:05d}-*.parquet"
        for path in sorted(self.folder(round_, "answers").glob(pattern)):
            if tables.inputs_of(self.folder(round_, "raw") / path.name):  # else it was interrupted between the two
                yield from tables.read(path, "answers")

    def raw(self, number: int, last: int) -> list[Annotation]:
        """The annotations of a shard as they were given, for the round `last`; each once, by kind and id."""
        found: dict[str, Annotation] = {}
        for path in self.parts(number, last):
            for row in tables.read(path, "annotations"):
                found.setdefault(row["id"], tables.annotation_of(row))
        return sorted(found.values(), key=lambda each: (each.kind, each.id))

    def measures(self, number: int, last: int) -> dict[str, dict[str, dict[str, float]]]:
        """What a specialist measured in a shard: image, annotation and name to number.

        If several specialists measured, the one that the recipe names counts, else the last that was asked.  An
        annotation with several numbers, such as the text of two regions, has the highest.
        """
        by_origin: dict[str, list[Row]] = {}
        for path in self._measured(number, last):
            for row in tables.read(path, "measures"):
                by_origin.setdefault(row["origin"], []).append(row)
        order = [id_ for id_ in self.origins if id_ in by_origin]
        named = [id_ for id_ in order if self.origins[id_].name in self._comparing]
        found: dict[str, dict[str, dict[str, float]]] = {}
        for row in by_origin[(named or order)[-1]] if order else ():
            of = found.setdefault(row["image"], {}).setdefault(row["annotation"], {})
            of[row["name"]] = max(of.get(row["name"], row["value"]), row["value"])
        return found

    def _measured(self, number: int, last: int) -> list[Path]:
        files = [path.parent.with_name("measures") / path.name for path in self.parts(number, last)]
        return [path for path in files if path.exists()]

    @property
    def _comparing(self) -> list[str]:
        return sorted(name for kind in COMPARED for name in self.recipe.specialists.get(kind, ()))

    def raw_records(self, number: int, last: int, *, dropped: bool = False) -> Iterator[Record]:
        """The records of a shard with what was answered, and nothing decided; `dropped` adds dropped images."""
        of: dict[str, list[Annotation]] = {}
        for annotation in self.raw(number, last):
            of.setdefault(annotation.image, []).append(annotation)
        measures = self.measures(number, last)
        for image in self.images_of(number):
            if dropped or not image.stage:
                sha256 = image.sha256
                yield Record(image=image, annotations=tuple(of.get(sha256, ())), measures=measures.get(sha256, {}))

    # ------------------------------------------------------------------------ told

    def told_inputs(self, number: int, last: int, stages: Any) -> str:
        """The digest of what the verdicts of a shard depend on; `stages` describes the stages and their settings."""
        images = [tables.image_row(image) for image in self.images_of(number)]
        inputs: list[Any] = [tables.SCHEMA, [path.name for path in self.parts(number, last)], images, stages]
        if self._measured(number, last):
            inputs.append(self._comparing)
        return digest(inputs)

    def told_path(self, number: int, round_: int) -> Path:
        """The file of a shard's verdicts."""
        return self.folder(round_, "told") / f"{number:05d}.parquet"

    def write_told(self, number: int, round_: int, records: Iterable[Record], inputs: str) -> None:
        """Writes the verdicts on a shard."""
        rows = (row for record in records for row in tables.told_rows(record))
        tables.write(self.told_path(number, round_), "told", rows, inputs)

    def records(self, round_: int | None = None, *, dropped: bool = False) -> Iterator[Record]:
        """The record of every kept image, with the verdicts of the last filter; of `current`, unless a round is named.

        A shard that was not filtered has its annotations as they were given; so has a dropped image, which `dropped`
        adds.  DataError for a damaged file.
        """
        if not self.rounds:
            return
        last = self.current if round_ is None else round_
        for number in self.shards:
            path = self.told_path(number, last)
            if not path.exists():
                yield from self.raw_records(number, last, dropped=dropped)
                continue
            of: dict[str, list[Row]] = {}
            for row in tables.read(path, "told"):
                of.setdefault(row["image"], []).append(row)
            raw = self.raw_records(number, last, dropped=True) if dropped else ()
            without = {each.image.reference: each for each in raw}
            for image in self.images_of(number):
                if not image.stage:
                    yield tables.record_of(image, of.get(image.sha256, []))
                elif dropped:
                    yield without[image.reference]

    # ------------------------------------------------------------------------ writing

    def _write_state(self) -> None:
        state = _State(tables.SCHEMA, self.data, self.count, self.images_digest, self.shard, self.recipe.as_data())
        tables.write_durably(self.path / "engine.json", json.dumps(msgspec.to_builtins(state), indent=1).encode())
