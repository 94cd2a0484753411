"""The miniature world as three data sets in ODinW's format, with categories that no training scene has.

    odinw_miniature/<data set>/valid/annotations_without_background.json, with the images in the same folder

Each category to find has its own colour, and no other thing of the data set has that colour.  So "red thing" describes
the category to a model that does not know its name, as GLIP's caption prompts do.
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
class DataSet:
    """A data set: the categories to find, and their colours."""

    name: str
    colours: dict[str, str]


DATA_SETS = (
    DataSet("SnowmenAndBirds", {"snowman": "white", "bird": "blue"}),
    DataSet("Balloons", {"balloon": "red"}),
    DataSet("IceCreams", {"ice cream": "pink"}),
)


def write(root: Path) -> None:
    """Writes images and annotations under `root`."""
    for place, data in enumerate(DATA_SETS):
        folder = root / f"odinw_miniature/{data.name}/valid"
        images: list[Json] = []
        annotations: list[Json] = []
        names = tuple(data.colours)
        for number in tqdm(range(IMAGES), f"drawing {data.name}", disable=None):
            rendered = _rendered(FIRST_SEED + 1000 * place + number, data)
            name = f"{data.name.lower()} {number:03d}.jpg"  # with a space, as in many ODinW data sets
            save(folder / name, jpeg(rendered))
            images.append(image_entry(number, name, rendered))
            for thing, drawn in enumerate(rendered.scene.things):
                if drawn.category in names:
                    entry = {**thing_entry(rendered, thing), "image_id": number, "id": len(annotations) + 1}
                    del entry["place"]
                    annotations.append({**entry, "category_id": names.index(drawn.category) + 1})
        categories = [{"id": i + 1, "name": name, "supercategory": data.name} for i, name in enumerate(names)]
        contents = {"info": INFO, "licenses": [], "images": images, "annotations": annotations}
        save_json(folder / "annotations_without_background.json", {**contents, "categories": categories})


def _rendered(seed: int, data: DataSet) -> Rendered:
    categories = (*data.colours, *data.colours, SEEN[seed % len(SEEN)], SEEN[(seed // 5) % len(SEEN)])
    return first_acceptable(lambda attempt: _recoloured(draw_scene(seed, attempt, categories), data))


def _recoloured(scene: Scene, data: DataSet) -> Scene | None:
    """The scene with the colours of the data set; None where it has no thing to find."""
    others = [colour for colour in COLOURS if colour not in data.colours.values()]
    if not any(thing.category in data.colours for thing in scene.things):
        return None
    things = []
    for place, thing in enumerate(scene.things):
        other = thing.colour if thing.colour in others else others[(scene.texture + place) % len(others)]
        things.append(replace(thing, colour=data.colours.get(thing.category, other)))
    return replace(scene, things=tuple(things))
