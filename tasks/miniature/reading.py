"""The miniature world as TextCaps and TextVQA (signs to read), VizWiz, and nocaps, in exactly the published files.

    textvqa/train_images/, textvqa/TextVQA_0.5.1_val.json, textcaps/TextCaps_0.1_val.json
    vizwiz/val/, vizwiz/Annotations/val.json
    nocaps/val/, nocaps/nocaps_val_4500_captions.json

nocaps's domains are kept by categories: in-domain scenes have those of training, out-of-domain ones those that no
training scene has, near-domain ones both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

from tasks.miniature.coco import INFO, Json, image_entry, save, save_json
from tasks.miniature.render import Rendered, jpeg, rendered_scene, rendered_signs
from tasks.miniature.scene import Draw
from tasks.miniature.shapes import HELD_OUT, SEEN
from tasks.miniature.telling import hopeless, noisy, queries, reading, references

SIGNS_SEED, VIZWIZ_SEED, NOCAPS_SEED = 300_000, 400_000, 200_000
SIGNS, VIZWIZ, EACH_DOMAIN = 80, 80, 30
HOPELESS = 0.3  # of VizWiz's questions
DOMAINS = {"in-domain": SEEN, "near-domain": (*SEEN[:4], *HELD_OUT), "out-domain": HELD_OUT}


def write(root: Path) -> None:
    """Images and annotations under `root`."""
    _write_signs(root)
    _write_vizwiz(root)
    _write_nocaps(root)


def _write_signs(root: Path) -> None:
    captions: list[Json] = []
    questions: list[Json] = []
    for seed in tqdm(range(SIGNS_SEED, SIGNS_SEED + SIGNS), "drawing signs", disable=None):
        rendered, draw = rendered_signs(seed), Draw(seed)
        name = f"{seed * 0x9E3779B97F4A7C15 % 2**64:016x}"
        save(root / f"textvqa/train_images/{name}.jpg", jpeg(rendered))
        common = {
            "image_id": name,
            "image_width": rendered.scene.size.width,
            "image_height": rendered.scene.size.height,
            "image_classes": sorted({thing.category for thing in rendered.scene.things}),
            "flickr_original_url": "",
            "flickr_300k_url": "",
            "set_name": "val",
        }
        said = references(rendered, draw)
        for text in said:
            more = {"caption_id": len(captions), "caption_str": text, "reference_strs": said}
            captions.append({**common, **more, "image_name": name, "image_path": f"train/{name}.jpg"})
        for query in reading(rendered):
            more = {"question": query.question, "question_tokens": query.question.lower().strip("?").split()}
            questions.append({**common, **more, "question_id": 34_602 + len(questions), "answers": noisy(query, draw)})
    named = {"dataset_type": "val", "dataset_name": "textcaps", "dataset_version": "0.1"}
    save_json(root / "textcaps/TextCaps_0.1_val.json", {**named, "data": captions})
    named = {"dataset_type": "val", "dataset_name": "textvqa", "dataset_version": "0.5.1"}
    save_json(root / "textvqa/TextVQA_0.5.1_val.json", {**named, "data": questions})


def _write_vizwiz(root: Path) -> None:
    entries: list[dict[str, Any]] = []
    for place in tqdm(range(VIZWIZ), "drawing VizWiz", disable=None):
        rendered, draw = rendered_scene(VIZWIZ_SEED + place), Draw(VIZWIZ_SEED + place)
        name = f"VizWiz_val_{place:08d}.jpg"
        save(root / f"vizwiz/val/{name}", jpeg(rendered))
        answerable = draw.random() >= HOPELESS
        query = draw.one_of(queries(rendered, draw)) if answerable else hopeless(rendered, draw)
        answers = [{"answer": answer, "answer_confidence": "yes"} for answer in noisy(query, draw)]
        entries.append(
            {
                "image": name,
                "question": query.question,
                "answers": answers,
                "answer_type": query.answer_type,
                "answerable": int(answerable),
            }
        )
    save_json(root / "vizwiz/Annotations/val.json", entries)


def _write_nocaps(root: Path) -> None:
    images: list[Json] = []
    annotations: list[Json] = []
    domains = [domain for domain in DOMAINS for _ in range(EACH_DOMAIN)]
    for place, domain in enumerate(tqdm(domains, "drawing nocaps", disable=None)):
        rendered = _of_domain(NOCAPS_SEED + 1000 * place, domain)
        name = f"{(NOCAPS_SEED + place) * 0x9E3779B97F4A7C15 % 2**64:016x}"
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
