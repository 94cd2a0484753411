"""The miniature world as TextCaps and TextVQA (scenes with signs), VizWiz, and nocaps, in the published file formats.

    textvqa/train_images/, textvqa/TextVQA_0.5.1_<split>.json, textcaps/TextCaps_0.1_<split>.json
    vizwiz/<split>/, vizwiz/Annotations/<split>.json
    nocaps/val/, nocaps/nocaps_val_4500_captions.json

The domains of nocaps are defined by categories.  In-domain scenes have the categories of training, out-of-domain scenes
have those that no training scene has, and near-domain scenes have both.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tasks.miniature.coco import INFO, Json, image_entry, save_json
from tasks.miniature.drawing import Job, drawn, save
from tasks.miniature.render import Rendered, jpeg, rendered_scene
from tasks.miniature.scene import Draw
from tasks.miniature.shapes import HELD_OUT, SEEN
from tasks.miniature.telling import noisy, queries, reading, references, unanswerable

SIGNS_SEED, VIZWIZ_SEED, NOCAPS_SEED = 300_000, 400_000, 200_000
SIGNS, VIZWIZ, EACH_DOMAIN = 80, 80, 30  # images
FIRST_QUESTION = {"train": 0, "val": 34_602}  # TextVQA's published question ids
UNANSWERABLE_SHARE = 0.3  # of VizWiz's questions
DOMAINS = {"in-domain": SEEN, "near-domain": (*SEEN[:4], *HELD_OUT), "out-domain": HELD_OUT}


def write(root: Path) -> None:
    """Writes images and annotations under `root`."""
    seeds = range(SIGNS_SEED, SIGNS_SEED + SIGNS)
    annotate_signs(root, "val", zip(seeds, drawn(root, sign_jobs(seeds), "drawing signs"), strict=True))
    seeds = range(VIZWIZ_SEED, VIZWIZ_SEED + VIZWIZ)
    jobs = vizwiz_jobs(seeds, "val")
    annotate_vizwiz(root, "val", zip(seeds, drawn(root, jobs, "drawing VizWiz"), strict=True))
    _write_nocaps(root)


def sign_jobs(seeds: Iterable[int]) -> list[Job]:
    """The scenes to draw for TextCaps and TextVQA."""
    return [Job(seed, f"textvqa/train_images/{_hexadecimal(seed)}.jpg", signs=True) for seed in seeds]


def vizwiz_jobs(seeds: Iterable[int], split: str) -> list[Job]:
    """The scenes to draw for VizWiz."""
    return [Job(seed, f"vizwiz/{split}/{_vizwiz(place, split)}") for place, seed in enumerate(seeds)]


def annotate_signs(root: Path, split: str, scenes: Iterable[tuple[int, Rendered]]) -> None:
    """Writes the files of TextCaps and TextVQA for a split, whose scenes are given with their seeds."""
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
        texts = references(rendered, draw)
        for text in texts:
            more = {"caption_id": len(captions), "caption_str": text, "reference_strs": texts}
            captions.append({**common, **more, "image_name": name, "image_path": f"train/{name}.jpg"})
        for query in reading(rendered):
            more = {"question": query.question, "question_tokens": query.question.lower().strip("?").split()}
            number = FIRST_QUESTION[split] + len(questions)
            questions.append({**common, **more, "question_id": number, "answers": noisy(query, draw)})
    header = {"dataset_type": split, "dataset_name": "textcaps", "dataset_version": "0.1"}
    save_json(root / f"textcaps/TextCaps_0.1_{split}.json", {**header, "data": captions})
    header = {"dataset_type": split, "dataset_name": "textvqa", "dataset_version": "0.5.1"}
    save_json(root / f"textvqa/TextVQA_0.5.1_{split}.json", {**header, "data": questions})


def annotate_vizwiz(root: Path, split: str, scenes: Iterable[tuple[int, Rendered]]) -> None:
    """Writes VizWiz's file for a split, whose scenes are given with their seeds in the order of `vizwiz_jobs`."""
    entries: list[dict[str, Any]] = []
    for place, (seed, rendered) in enumerate(scenes):
        draw = Draw(seed)
        answerable = draw.random() >= UNANSWERABLE_SHARE
        query = draw.one_of(queries(rendered, draw)) if answerable else unanswerable(rendered, draw)
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
    """A file name in the style of Open Images."""
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
    """The first scene of the domain from a seed on; near-domain scenes have categories of training and others."""
    seed = first
    while True:
        rendered = rendered_scene(seed, DOMAINS[domain])
        names = {thing.category for thing in rendered.scene.things}
        if domain != "near-domain" or (names & set(SEEN) and names & set(HELD_OUT)):
            return rendered
        seed += 1
