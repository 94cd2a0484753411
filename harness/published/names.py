"""The names of our tasks, splits and metrics in `published.csv`, and the published figures of each task.

TextVQA val, VizWiz val and VQAv2 test-dev are absent.  No source publishes figures for the first two, and only an
evaluation server can score test-dev.
"""

from __future__ import annotations

from harness.published.figure import Figure, every

JOINED: dict[tuple[str, str], tuple[str, str]] = {  # (our task, our split): (published task, published split)
    ("coco_caption", "test"): ("COCO caption", "Karpathy test"),
    ("nocaps", "val"): ("NoCaps caption", "val"),
    ("textcaps", "val"): ("TextCaps caption", "val"),
    ("coco_detection", "val2017"): ("COCO detection", "val2017"),
    ("flickr30k", "test"): ("Flickr30k Entities phrase grounding", "test"),
    ("flickr30k", "val"): ("Flickr30k Entities phrase grounding", "val"),
    ("odinw13", "val"): ("ODinW-13 detection", "test"),  # GLIP's configuration and most papers test on val
    ("odinw35", "val"): ("ODinW-35 detection", "test"),
    ("flickr30k_caption", "test"): ("Flickr30k caption", "not stated in README"),  # Qwen-VL evaluates Karpathy's test
    **{
        (task, split): (name, split)
        for task, name, splits in (
            ("refcoco", "RefCOCO REC", ("val", "testA", "testB")),
            ("refcoco_plus", "RefCOCO+ REC", ("val", "testA", "testB")),
            ("refcocog", "RefCOCOg REC", ("val", "test")),
            ("refcoco_res", "RefCOCO RES", ("val",)),
            ("refcoco_plus_res", "RefCOCO+ RES", ("val",)),
            ("refcocog_res", "RefCOCOg RES", ("val",)),
        )
        for split in splits
    },
}
COLUMNS = {  # (our task, split and metric): (published task, split and metric), if a task has several published ones
    ("flickr30k_retrieval", "test", f"{name} R@{first}"): (f"Flickr30k {published} retrieval", "test 1K", f"R@{first}")
    for name, published in (("image-to-text", "image->text"), ("text-to-image", "text->image"))
    for first in (1, 5, 10)
} | {  # figures of AP under the limit of 300 detections are left out: their sources do not say which AP theirs is
    (task, split, f"fixed {name}"): ("LVIS v1 detection", split, f"fixed {name}")
    for task, split in (("lvis_minival", "minival"), ("lvis_val", "val"))
    for name in ("AP", "APr", "APc", "APf")
}
WEIGHTS = {  # our model: the repository and revision of the weights whose figures are published
    "florence2-b": "microsoft/Florence-2-base@main",
    "florence2-l": "microsoft/Florence-2-large@f0acedb",
    "florence2-b-ft": "microsoft/Florence-2-base-ft@main",
    "florence2-l-ft": "microsoft/Florence-2-large-ft@main",
    "kosmos2": "microsoft/kosmos-2-patch14-224@main",
    "paligemma-3b-ft-textcaps-224": "google/paligemma-3b-ft-textcaps-224@main",
    "paligemma-3b-ft-textcaps-448": "google/paligemma-3b-ft-textcaps-448@main",
    "paligemma-3b-ft-refcoco-seg-896": "google/paligemma-3b-ft-refcoco-seg-896@main",
    "grounding-dino-t": "IDEA-Research/grounding-dino-tiny@main",
    "mm-grounding-dino-t-o365v1-goldg-grit-v3det": "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_grit_v3det@main",  # noqa: E501
    "owlv2-l": "google/owlv2-large-patch14-ensemble@main",
    "clip-vit-b-32": "openai/clip-vit-base-patch32@main",
    "clip-vit-b-16": "openai/clip-vit-base-patch16@main",
    "clip-vit-l-14": "openai/clip-vit-large-patch14@main",
    "clip-vit-l-14-336": "openai/clip-vit-large-patch14-336@main",
    "siglip-b-16-384": "google/siglip-base-patch16-384@main",
    "siglip-l-16-384": "google/siglip-large-patch16-384@main",
    "siglip-so400m-14-384": "google/siglip-so400m-patch14-384@main",
}
SETTINGS = {  # our model: what its fingerprint must contain, if its published figures are not with its default settings
    model: "template '{}'"
    for model in WEIGHTS
    if model.startswith("clip-")  # open_clip embeds the bare caption
}
METRICS = {  # (our task, our metric): published metric, if the names differ
    ("odinw13", "mAP"): "AP average",
    ("odinw35", "mAP"): "AP average",
    ("odinw35", "mAP median"): "AP median",
}
OUR_METRICS = {(task, published): metric for (task, metric), published in METRICS.items()}


def figures(task: str, split: str, metric: str) -> list[Figure]:
    """The exact published figures of one of our tasks, the highest value first; empty if there are none."""
    column = COLUMNS.get((task, split, metric))
    if column is None:
        column = (*JOINED.get((task, split), ("", "")), METRICS.get((task, metric), metric))
    matching = [figure for figure in every() if figure.column == column and figure.exact]
    return sorted(matching, key=lambda figure: -figure.value)


def ours(task: str, split: str, metric: str) -> tuple[str, str, str] | None:
    """Our task, split and metric for a published task, split and metric; None if no task of ours matches."""
    for our_column, column in COLUMNS.items():
        if column == (task, split, metric):
            return our_column
    for (our_task, our_split), published in JOINED.items():
        if published == (task, split):
            return our_task, our_split, OUR_METRICS.get((our_task, metric), metric)
    return None
