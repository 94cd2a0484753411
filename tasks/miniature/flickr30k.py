"""The miniature world as Flickr30k Entities, in the published file formats.

    flickr30k/val.txt, test.txt, Sentences/<image>.txt, Annotations/<image>.xml, flickr30k-images/<image>.jpg
    flickr30k/dataset_flickr30k.json        the same images and sentences in Karpathy's format, for retrieval

A chain is a set of things that a phrase names.  Boxes count pixels from 1, as in the published files.  The place of a
scene ("in a meadow") is a chain without a box, and "there" is annotated as not visual.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tasks.miniature.drawing import Job, drawn, save
from tasks.miniature.language import appearances, caption
from tasks.miniature.render import Rendered
from tasks.miniature.scene import Draw
from tasks.miniature.telling import SETTINGS

FIRST_SEED = 500_000
SPLITS = (("val", 20), ("test", 60))
TYPES = {"robot": "people", "cat": "animals", "fish": "animals", "car": "vehicles", "boat": "vehicles"}
Chain = tuple[int, ...]  # the numbers of its things; empty for the place of a scene


def write(root: Path) -> None:
    """Writes images, sentences and annotations under `root`."""
    first, images = FIRST_SEED, []
    for split, count in SPLITS:
        seeds = range(first, first + count)
        scenes = list(zip(seeds, drawn(root, jobs(seeds), f"drawing Flickr30k {split}"), strict=True))
        annotate(root, split, scenes)
        images += [_captioned(rendered, seed, split) for seed, rendered in scenes]
        first += count
    save(root / "flickr30k/dataset_flickr30k.json", json.dumps({"images": images, "dataset": "flickr30k"}).encode())


def jobs(seeds: Iterable[int]) -> list[Job]:
    """The scenes to draw."""
    return [Job(seed, f"flickr30k/flickr30k-images/{_name(seed)}.jpg") for seed in seeds]


def annotate(root: Path, split: str, scenes: Iterable[tuple[int, Rendered]]) -> None:
    """Writes the list of a split, and the sentences and annotations of its scenes, given with their seeds."""
    folder, names = root / "flickr30k", []
    for seed, rendered in scenes:
        name = _name(seed)
        chains: dict[Chain, int] = {}
        lines = [_annotated(rendered, *sentence, seed, chains) for sentence in _sentences(rendered, Draw(seed))]
        save(folder / f"Sentences/{name}.txt", "".join(f"{line}\n" for line in lines).encode())
        save(folder / f"Annotations/{name}.xml", _annotation(rendered, name, chains))
        names.append(name)
    save(folder / f"{split}.txt", "".join(f"{name}\n" for name in names).encode())


def _captioned(rendered: Rendered, seed: int, split: str) -> dict[str, Any]:
    """Karpathy's entry of an image; captions are counted from the first image's."""
    place = seed - FIRST_SEED
    sentences = []
    for number, (text, _, setting) in enumerate(_sentences(rendered, Draw(seed))):
        raw = f"{text} {setting}".strip()
        tokens = raw.lower().replace(",", "").split()
        sentences.append({"tokens": tokens, "raw": f"{raw} .", "imgid": place, "sentid": 5 * place + number})
    sentids = [sentence["sentid"] for sentence in sentences]
    return {
        "sentids": sentids,
        "imgid": place,
        "sentences": sentences,
        "split": split,
        "filename": f"{_name(seed)}.jpg",
    }


def _name(seed: int) -> str:
    return str(1_000_000_000 + 97 * (seed - FIRST_SEED))


def _sentences(rendered: Rendered, draw: Draw) -> Iterator[tuple[str, tuple[tuple[int, int, Chain], ...], str]]:
    """Five sentences with the spans of their phrases, and the place of the scene or "".

    Two sentences have the place; one names the two largest things only.
    """
    things = appearances(rendered)
    largest = sorted(range(len(things)), key=lambda i: -things[i].area)[:2]
    for number in range(5):
        text, spans = caption(rendered, draw, largest if number == 3 else None)
        yield text, spans, SETTINGS[rendered.scene.background] if number in (1, 4) else ""


def _annotated(
    rendered: Rendered,
    text: str,
    spans: Sequence[tuple[int, int, Chain]],
    place: str,
    seed: int,
    chains: dict[Chain, int],
) -> str:
    """A sentence with Flickr30k's annotation of its phrases; adds new chains to `chains`."""
    line, end = "", 0
    for start, stop, things in spans:
        number = chains.setdefault(things, 10 * seed + len(chains))
        kind = TYPES.get(rendered.scene.things[things[0]].category, "other")
        line += f"{text[end:start]}[/EN#{number}/{kind} {text[start:stop]}]"
        end = stop
    line += text[end:]
    if line.startswith("there "):
        line = f"[/EN#0/notvisual There]{line[5:]}"
    if place:
        preposition, _, words = place.partition(" ")
        number = chains.setdefault((), 10 * seed + len(chains))
        line += f" {preposition} [/EN#{number}/scene {words}]"
    return line.replace(",", " ,") + " ."


def _annotation(rendered: Rendered, name: str, chains: dict[Chain, int]) -> bytes:
    """The XML file of an image: the box of each thing that a chain contains, and the place without a box."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{name}.jpg"
    size = ElementTree.SubElement(root, "size")
    for side, value in (("width", rendered.scene.size.width), ("height", rendered.scene.size.height), ("depth", 3)):
        ElementTree.SubElement(size, side).text = str(value)
    for place, (left, top, right, bottom) in enumerate(rendered.boxes):
        numbers = [number for things, number in chains.items() if place in things]
        if numbers:
            thing = ElementTree.SubElement(root, "object")
            for number in numbers:
                ElementTree.SubElement(thing, "name").text = str(number)
            box = ElementTree.SubElement(thing, "bndbox")
            for side, edge in (("xmin", left + 1), ("ymin", top + 1), ("xmax", right), ("ymax", bottom)):
                ElementTree.SubElement(box, side).text = str(int(edge))
    if () in chains:
        thing = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(thing, "name").text = str(chains[()])
        ElementTree.SubElement(thing, "scene").text = "1"
        ElementTree.SubElement(thing, "nobndbox").text = "1"
    data: bytes = ElementTree.tostring(root)
    return data
