"""The miniature world as TextCaps and TextVQA (signs to read), VizWiz, and nocaps, in exactly the published files.

    textvqa/train_images/, textvqa/TextVQA_0.5.1_<split>.json, textcaps/TextCaps_0.1_<split>.json
    vizwiz/<split>/, vizwiz/Annotations/<split>.json
    nocaps/val/, nocaps/nocaps_val_4500_captions.json

nocaps's domains are kept by categories: in-domain scenes have those of training, out-of-domain ones those that no
training scene has, near-domain ones both.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tasks.miniature.coco import INFO, Json, image_entry, save_json
from tasks.miniature.drawing import Order, drawn, save
from tasks.miniature.render import Rendered, jpeg, rendered_scene
from tasks.miniature.scene import Draw
from tasks.miniature.shapes import HELD_OUT, SEEN
from tasks.miniature.telling import hopeless, noisy, queries, reading, references

SIGNS_SEED, VIZWIZ_SEED, NOCAPS_SEED = 300_000, 400_000, 200_000
SIGNS, VIZWIZ, EACH_DOMAIN = 80, 80, 30
FIRST_QUESTION = {"train": 0, "val": 34_602}  # TextVQA's ids, as published
HOPELESS = 0.3  # of VizWiz's questions
DOMAINS = {"in-domain": SEEN, "near-domain": (*SEEN[:4], *HELD_OUT), "out-domain": HELD_OUT}


def write(root: Path) -> None:
    """Images and annotations under `root`."""
    seeds = range(SIGNS_SEED, SIGNS_SEED + SIGNS)
    annotate_signs(root, "val", zip(seeds, drawn(root, sign_orders(seeds), "drawing signs"), strict=True))
    seeds = range(VIZWIZ_SEED, VIZWIZ_SEED + VIZWIZ)
    orders = vizwiz_orders(seeds, "val")
    annotate_vizwiz(root, "val", zip(seeds, drawn(root, orders, "drawing VizWiz"), strict=True))
    _write_nocaps(root)


def sign_orders(seeds: Iterable[int]) -> list[Order]:
    """What is to be drawn for TextCaps and TextVQA."""
    return [Order(seed, f"textvqa/train_images/{_hexadecimal(seed)}.jpg", signs=True) for seed in seeds]


def vizwiz_orders(seeds: Iterable[int], split: str) -> list[Order]:
    """What is to be drawn for VizWiz."""
    return [Order(seed, f"vizwiz/{split}/{_vizwiz(place, split)}") for place, seed in enumerate(seeds)]


def annotate_signs(root: Path, split: str, scenes: Iterable[tuple[int, Rendered]]) -> None:
    """TextCaps' and TextVQA's files of a split; its scenes come with their seeds."""
    captions: list[Json] = []
    questions: list[Json] = []
    for seed, rendered in scenes:
        name, draw = _hexadecimal(seed), Draw(seed)
        common = {
            "image_id": name,
            "image_width": rendered.scene.size.width,
            "image_height": rendered.scene.size.height,
            "image_classes": sorted({thing.category for thing in rendered.scene.things}),
            "flickr_original_url": "",
            "flickr_300k_url": "",
            "set_name": split,
        }
        said = references(rendered, draw)
        for text in said:
            more = {"caption_id": len(captions), "caption_str": text, "reference_strs": said}
            captions.append({**common, **more, "image_name": name, "image_path": f"train/{name}.jpg"})
        for query in reading(rendered):
            more = {"question": query.question, "question_tokens": query.question.lower().strip("?").split()}
            number = FIRST_QUESTION[split] + len(questions)
            questions.append({**common, **more, "question_id": number, "answers": noisy(query, draw)})
    named = {"dataset_type": split, "dataset_name": "textcaps", "dataset_version": "0.1"}
    save_json(root / f"textcaps/TextCaps_0.1_{split}.json", {**named, "data": captions})
    named = {"dataset_type": split, "dataset_name": "textvqa", "dataset_version": "0.5.1"}
    save_json(root / f"textvqa/TextVQA_0.5.1_{split}.json", {**named, "data": questions})


def annotate_vizwiz(root: Path, split: str, scenes: Iterable[tuple[int, Rendered]]) -> None:
    """VizWiz's file of a split; its scenes come with their seeds, in the order of `vizwiz_orders`."""
    entries: list[dict[str, Any]] = []
    for place, (seed, rendered) in enumerate(scenes):
        draw = Draw(seed)
        answerable = draw.random() >= HOPELESS
        query = draw.one_of(queries(rendered, draw)) if answerable else hopeless(rendered, draw)
        answers = [{"answer": answer, "answer_confidence": "yes"} for answer in noisy(query, draw)]
        entries.append(
            {
                "image": _vizwiz(place, split),
                "question": query.question,
                "answers": answers,
                "answer_type": query.answer_type,
                "answerable": int(answerable),
            }
        )
    save_json(root / f"vizwiz/Annotations/{split}.json", entries)


def _vizwiz(place: int, split: str) -> str:
    return f"VizWiz_{split}_{place:08d}.jpg"


def _hexadecimal(seed: int) -> str:
    """A name as Open Images has them."""
    return f"{seed * 0x9E3779B97F4A7C15 % 2**64:016x}"


def _write_nocaps(root: Path) -> None:
    images: list[Json] = []
    annotations: list[Json] = []
    domains = [domain for domain in DOMAINS for _ in range(EACH_DOMAIN)]
    for place, domain in enumerate(tqdm(domains, "drawing nocaps", disable=None)):
        rendered = _of_domain(NOCAPS_SEED + 1000 * place, domain)
        name = _hexadecimal(NOCAPS_SEED + place)
        save(root / f"nocaps/val/{name}.jpg", jpeg(rendered))
        images.append({**image_entry(place, f"{name}.jpg", rendered), "open_images_id": name, "domain": domain})
        draw = Draw(NOCAPS_SEED + place)
        for text in references(rendered, draw) + references(rendered, draw):
            annotations.append({"image_id": place, "id": len(annotations), "caption": text})
    contents = {"info": INFO, "licenses": [], "images": images, "annotations": annotations}
    save_json(root / "nocaps/nocaps_val_4500_captions.json", contents)


def _of_domain(first: int, domain: str) -> Rendered:
    """The first scene from a seed on that is of the domain: near has things that training has, and others."""
    seed = first
    while True:
        rendered = rendered_scene(seed, DOMAINS[domain])
        names = {thing.category for thing in rendered.scene.things}
        if domain != "near-domain" or (names & set(SEEN) and names & set(HELD_OUT)):
            return rendered
        seed += 1
