"""Applies the filters of a recipe to what was answered.  Nothing is asked, and nothing raw is changed.

First the images are decided about, over all images together; then the annotations, one image at a time.  A shard whose
verdicts were made of the same raw files, images, stages and settings is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness import progress
from harness.data_engine import tables
from harness.data_engine.flags import flagged, has_flags
from harness.data_engine.images import BenchmarkImages
from harness.data_engine.parsing import installed
from harness.data_engine.recipes import Recipe
from harness.data_engine.records import ImageRow, Origin, Record
from harness.data_engine.shards import Engine
from harness.errors import UsageError

BENCHMARK = "images.benchmark"  # the rule of `harness.data_engine.images` that needs the benchmarks' images


@dataclass(frozen=True, slots=True)
class Filtered:
    """The numbers of shards whose verdicts were made now, and of those that had them."""

    made: int
    already: int


def filter_images(engine: Engine, benchmarks: BenchmarkImages | None = None) -> int:
    """Decides which images are kept, by the recipe; returns the number of dropped ones.

    `benchmarks` are the images that must not be taught; None: the images that are dropped for one stay dropped.
    UsageError if another process works on the folder, or the recipe drops by scores that are not there.
    """
    human = {id_ for id_, origin in engine.origins.items() if origin.kind == "human"}
    annotated: set[str] = set()
    if human and engine.rounds:
        last = engine.current
        annotated = {each.image for n in engine.shards for each in engine.raw(n, last) if each.origin in human}

    def left() -> Iterator[ImageRow]:
        return (row for row in engine.images() if benchmarks is not None or row.stage != BENCHMARK)

    least = engine.recipe.images.nsfw
    if least is not None and not has_flags(engine.path):
        raise UsageError(f"images.nsfw={least}: {engine.path} has no scores; `engine flag` computes them")
    unsafe = {} if least is None else flagged(engine.path, least)
    decided = engine.recipe.images.decide(left, benchmarks, annotated, unsafe)
    differ = dropped = 0

    def rows() -> Iterator[ImageRow]:
        nonlocal differ, dropped
        for row in engine.images():
            now = row if benchmarks is None and row.stage == BENCHMARK else next(decided)
            differ += now != row
            dropped += bool(now.stage)
            yield now

    engine.replace_images(rows(), only_if=lambda: differ > 0)
    return dropped


def filter_annotations(engine: Engine, *, shards: Iterable[int] | None = None, round_: int | None = None) -> Filtered:
    """Makes the verdicts of these shards (None: all) in a round (None: the last that was promoted).

    UsageError if nothing was asked yet, or another process works on a shard; ResourceError if the disk is full.
    """
    numbers = list(engine.shards if shards is None else shards)
    if not numbers:
        return Filtered(0, 0)
    if not engine.rounds:
        raise UsageError(f"{engine.path} has no annotations yet; `engine annotate` asks for them")
    last = engine.current if round_ is None else round_
    engine.add_origins(made_by(engine))
    recipe = engine.decided_by(last)
    described = recipe.described()
    made = 0
    for number in progress.over(numbers, "filtering", unit="shards"):
        inputs = engine.told_inputs(number, last, described)
        if tables.inputs_of(engine.told_path(number, last)) == inputs:
            continue
        with engine.locked(f"{number:05d}"):
            engine.write_told(number, last, _decided(recipe, engine.raw_records(number, last)), inputs)
        made += 1
    return Filtered(made, len(numbers) - made)


def _decided(recipe: Recipe, records: Iterable[Record]) -> Iterator[Record]:
    """The records after all stages; their texts are parsed in batches, if a stage parses texts."""
    if any(stage.name == "texts" for stage in recipe.stages):
        from harness.data_engine.texts import parsed_ahead

        records = parsed_ahead(records)
    return map(recipe.apply, records)


def made_by(engine: Engine) -> Iterator[Origin]:
    """The origins of annotations that the stages of the recipe add."""
    for stage in engine.recipe.stages:
        yield from getattr(stage, "makes", ())


def is_stale(engine: Engine) -> bool:
    """Whether annotations, settings or the parser of texts have changed since the last filter.

    False where texts were parsed on another machine, and this one has no parser: it cannot be told.
    """
    if not engine.rounds or (engine.recipe.parses and not installed()):
        return False
    last = engine.current
    described = engine.decided_by(last).described()
    return any(
        tables.inputs_of(engine.told_path(number, last)) != engine.told_inputs(number, last, described)
        for number in engine.shards
    )


def raw_records(engine: Engine) -> Iterator[Record]:
    """Every record of kept images with its annotations as they were given up to the last promoted round."""
    for number in engine.shards if engine.rounds else ():
        yield from engine.raw_records(number, engine.current)
