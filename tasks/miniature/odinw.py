"""The miniature world as three ODinW-like data sets, in GLIP's files: things that no training scene has.

    odinw_miniature/<data set>/valid/annotations_without_background.json, with the images beside it

What is looked for has one colour in each data set, and nothing beside it has; so "a red thing" finds what its name does
not, as GLIP's caption prompts do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from tasks.miniature.coco import INFO, Json, image_entry, save_json, thing_entry
from tasks.miniature.drawing import save
from tasks.miniature.render import Rendered, first_acceptable, jpeg
from tasks.miniature.scene import Scene, draw_scene
from tasks.miniature.shapes import COLOURS, SEEN

FIRST_SEED = 600_000
IMAGES = 30


@dataclass(frozen=True, slots=True)
class Hunt:
    """A data set: the categories to find, each with its colour."""

    name: str
    wanted: dict[str, str]


HUNTS = (
    Hunt("SnowmenAndBirds", {"snowman": "white", "bird": "blue"}),
    Hunt("Balloons", {"balloon": "red"}),
    Hunt("IceCreams", {"ice cream": "pink"}),
)


def write(root: Path) -> None:
    """Images and annotations under `root`."""
    for place, hunt in enumerate(HUNTS):
        folder = root / f"odinw_miniature/{hunt.name}/valid"
        images: list[Json] = []
        annotations: list[Json] = []
        names = tuple(hunt.wanted)
        for number in tqdm(range(IMAGES), f"drawing {hunt.name}", disable=None):
            rendered = _rendered(FIRST_SEED + 1000 * place + number, hunt)
            name = f"{hunt.name.lower()} {number:03d}.jpg"  # with a space, as many have
            save(folder / name, jpeg(rendered))
            images.append(image_entry(number, name, rendered))
            for thing, drawn in enumerate(rendered.scene.things):
                if drawn.category in names:
                    entry = {**thing_entry(rendered, thing), "image_id": number, "id": len(annotations) + 1}
                    del entry["place"]
                    annotations.append({**entry, "category_id": names.index(drawn.category) + 1})
        categories = [{"id": i + 1, "name": name, "supercategory": hunt.name} for i, name in enumerate(names)]
        contents = {"info": INFO, "licenses": [], "images": images, "annotations": annotations}
        save_json(folder / "annotations_without_background.json", {**contents, "categories": categories})


def _rendered(seed: int, hunt: Hunt) -> Rendered:
    categories = (*hunt.wanted, *hunt.wanted, SEEN[seed % len(SEEN)], SEEN[(seed // 5) % len(SEEN)])
    return first_acceptable(lambda attempt: _painted(draw_scene(seed, attempt, categories), hunt))


def _painted(scene: Scene, hunt: Hunt) -> Scene | None:
    """What is looked for in its colour, everything else in another; None where there is nothing to find."""
    others = [colour for colour in COLOURS if colour not in hunt.wanted.values()]
    if not any(thing.category in hunt.wanted for thing in scene.things):
        return None
    things = []
    for place, thing in enumerate(scene.things):
        other = thing.colour if thing.colour in others else others[(scene.texture + place) % len(others)]
        things.append(replace(thing, colour=hunt.wanted.get(thing.category, other)))
    return replace(scene, things=tuple(things))
