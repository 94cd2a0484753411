"""The data engine from Python, as `harness.engine`: what `python -m harness engine` calls.

import harness

harness.engine.annotate("photos", "ENGINE", specialists={"detect": ["grounding-dino-b"], "caption": "florence2-b"})
harness.engine.filter("ENGINE", ["boxes.nms=0.6"])
for record in harness.engine.open("ENGINE").records():
    print(record.image.reference, [region.value for region in record.kept("region")])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.cluster.connection import Spread, connected
from harness.core import Model, Size, Text
from harness.data_engine import recipes
from harness.data_engine.annotate import Asking, Specialist
from harness.data_engine.annotate import annotate as ask
from harness.data_engine.filtering import Filtered, filter_annotations, filter_images
from harness.data_engine.questions import KINDS, Chunks
from harness.data_engine.recipes import Recipe
from harness.data_engine.records import Annotation, ImageRow, Record
from harness.data_engine.shards import Engine
from harness.data_engine.similarity import COMPARED
from harness.errors import UsageError
from harness.evaluation.calibrating import calibrate
from harness.evaluation.engine_data import benchmark_images_of, engine_of, root_of
from harness.evaluation.engine_flags import flag
from harness.evaluation.engine_outputs import audit, audited, export
from harness.evaluation.engine_people import import_people
from harness.evaluation.plan import MINIATURE
from harness.evaluation.refining import refine
from harness.evaluation.specialists import Named, check, licence_of, listed_names, load, name_of, recipe_of, spread_over
from harness.shards import Shard

__all__ = [
    "Annotated", "annotate", "audit", "audited", "calibrate", "export", "filter", "flag", "images", "import_people",
    "open", "refine",
]  # fmt: skip
open = Engine.open
CHECKED = 16  # images that workers must have the same bytes of
PROBE = Record(
    image=ImageRow(reference="", sha256="", size=Size(1, 1)),
    annotations=(Annotation(image="", kind="text", value=Text(("a cat",)), origin="", length="brief"),),
)


@dataclass(frozen=True, slots=True)
class Annotated:
    """What `annotate` did: the counts by (kind, specialist), the number of dropped images, and the verdicts."""

    engine: Engine
    asked: Mapping[tuple[str, str], Asking]
    dropped_images: int
    filtered: Filtered


def annotate(
    data: str | Path,
    to: str | Path,
    *,
    recipe: str | Recipe | None = None,
    specialists: Mapping[str, Named | Sequence[Named]] | None = None,
    categories: Sequence[str] = (),
    benchmarks: str | Path | None = None,
    limit: int | None = None,
    shard: Shard | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    source: str = "",
    licence: str = "",
    executor: str = "local",
    spread: Spread | None = None,
) -> Annotated:
    """Asks specialists about the images of a folder, keeps what they answer in `to`, and filters it.

    `data` is a folder of images, a data root, or "miniature".  `recipe` is a name, a TOML file or a Recipe (None: that
    of `to`, else "fld").  `specialists` has models by kind of question, which replace the recipe's of that kind.
    `benchmarks` is a data root (None: $FLORENCE2_HARNESS_DATA, and `data` itself): an image that a benchmark evaluates
    there is dropped.  `limit` is a number of images, the first by name.  `shard` is a part of the folder's shards.
    `source` and `licence` are those of the images.  `executor="ray"` puts each specialist on the workers of a local Ray
    cluster; `spread` (`harness.cluster.ray_cluster.Spread`) says of which cluster, and how many.

    The same call resumes, and asks nothing that was answered.  Raises a HarnessError for what the caller can correct.
    """
    root = root_of(data)
    where = str(data) if str(data) == MINIATURE else str(root.absolute())  # the same from any working folder
    chosen = recipe_of(Path(to), recipe, specialists, categories)
    models = {kind: listed_names(named) for kind, named in (specialists or {}).items()}
    wanted = [(kind, named) for kind in KINDS for named in models.get(kind, chosen.specialists.get(kind, ()))]
    if not wanted:
        raise UsageError(
            f"the recipe {chosen.name} names no specialist: give --specialist KIND=MODEL, such as detect=owlv2-b"
        )
    if executor not in ("local", "ray"):
        raise UsageError(f"executor={executor!r}: 'local', in this process, or 'ray', on the workers of a Ray cluster")
    workers = spread or (Spread() if executor == "ray" else None)
    for kind, named in wanted:
        check(kind, named, elsewhere=workers is not None)
    if len(comparing := [f"{kind}={name_of(named)}" for kind, named in wanted if kind in COMPARED]) > 1:
        raise UsageError(f"{' and '.join(comparing)}: texts of regions are compared by one model; name one")
    chosen.apply(PROBE)  # what a stage needs and is not installed is said before anything is asked
    engine = engine_of(Path(to), root, where, chosen, limit, source, licence)
    dropped = filter_images(engine, benchmark_images_of(root, benchmarks, Path(to)))
    numbers = [number for number in engine.shards if shard is None or number % shard.count == shard.number - 1]
    sample = [row.reference for row in engine.images_of(0) if not row.stage][:CHECKED]
    asked: dict[tuple[str, str], Asking] = {}
    with connected(workers), ExitStack() as held:
        before: tuple[Any, Model] | None = None
        for (kind, name), named in {(kind, name_of(named)): named for kind, named in wanted}.items():
            key = named if isinstance(named, str) else id(named), kind in COMPARED
            if before is None or before[0] != key:  # a model of several kinds is built once
                held.close()
                if workers is None:
                    model = load(kind, named, root, device, batch_size)
                else:
                    cluster = spread_over(workers, kind, named, where, root, device, batch_size, sample)
                    model = held.enter_context(cluster)
                before = key, model
            specialist = Specialist(kind, name, before[1], licence_of(named))
            asked[kind, name] = ask(engine, specialist, root, shards=numbers, chunks=_chunks(kind))
    return Annotated(engine, asked, dropped, filter_annotations(engine, shards=numbers))


def filter(to: str | Path, settings: Sequence[str] = (), *, recipe: str | Recipe | None = None) -> Filtered:
    """Decides again what is kept, and asks nothing; `settings` such as "boxes.nms=0.6" change the engine's recipe.

    `recipe` replaces the engine's stages and image rules; its specialists stay.  Only verdicts are written, and only
    those of shards whose verdicts change with these settings.
    """
    engine = Engine.open(Path(to))
    changed = engine.recipe
    if recipe is not None:
        other = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
        changed = replace(changed, images=other.images, stages=other.stages)
    changed = changed.with_settings(settings)
    if changed != engine.recipe:
        engine = engine.with_recipe(changed)
    filter_images(engine)
    return filter_annotations(engine)


def _chunks(kind: str) -> Chunks | None:
    """What finds the noun chunks of texts, for the kind of question that needs them."""
    if kind != "ground":
        return None
    from harness.data_engine.phrases import noun_chunks

    return noun_chunks


def images(to: str | Path) -> Iterator[ImageRow]:
    """Every image of an engine folder, dropped ones too."""
    return Engine.open(Path(to)).images()
