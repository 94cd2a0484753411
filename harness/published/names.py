"""The names of our tasks, splits and metrics in `published.csv`, and the figures of one of our tasks.

Three splits have no name: no figure is published for val of TextVQA and VizWiz, and servers score test-dev.
"""

from __future__ import annotations

from harness.published.figure import Figure, every

JOINED: dict[tuple[str, str], tuple[str, str]] = {  # our task and split: the published task and split
    ("coco_caption", "test"): ("COCO caption", "Karpathy test"),
    ("nocaps", "val"): ("NoCaps caption", "val"),
    ("textcaps", "val"): ("TextCaps caption", "val"),
    ("coco_detection", "val2017"): ("COCO detection", "val2017"),
    ("flickr30k", "test"): ("Flickr30k Entities phrase grounding", "test"),
    ("flickr30k", "val"): ("Flickr30k Entities phrase grounding", "val"),
    ("odinw13", "val"): ("ODinW-13 detection", "test"),  # what GLIP's configuration tests on, and most papers with it
    ("odinw35", "val"): ("ODinW-35 detection", "test"),
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
METRICS = {  # our task and metric: the published metric, where it has another name
    ("odinw13", "mAP"): "AP average",
    ("odinw35", "mAP"): "AP average",
    ("odinw35", "mAP median"): "AP median",
}
OUR_METRICS = {(task, published): metric for (task, metric), published in METRICS.items()}


def figures(task: str, split: str, metric: str) -> list[Figure]:
    """The published figures of one of our tasks, best first; empty where none is published."""
    column = (*JOINED.get((task, split), ("", "")), METRICS.get((task, metric), metric))
    found = [figure for figure in every() if figure.column == column and figure.exact]
    return sorted(found, key=lambda figure: -figure.value)


def ours(task: str, split: str, metric: str) -> tuple[str, str, str] | None:
    """Our names of a published task, split and metric; None where we have no such task."""
    for (name, part), published in JOINED.items():
        if published == (task, split):
            return name, part, OUR_METRICS.get((name, metric), metric)
    return None
