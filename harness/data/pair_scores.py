"""Result files of re-ranking: the score of each pair of an image and a caption, in NumPy's npz format.

    image_ids    (pairs,)  the image's id: COCO's number, or Flickr30k's file name without its ending
    caption_ids  (pairs,)  Karpathy's `sentid` of the caption
    scores       (pairs,)  how well they fit, higher is better; NaN for a pair without a score

A pair has one score, in whichever direction it is a candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.core import Answer, Match, PredictionFormat, Row, Sample
from harness.data import files
from harness.data.embeddings import arrays_of
from harness.errors import DataError

ARRAYS = ("image_ids", "caption_ids", "scores")


def pair_of(sample: Sample[Any]) -> tuple[str, str]:
    """The ids of a sample's image and caption: its own id is "image/ID/caption/ID" or "caption/ID/image/ID"."""
    if sample.id.startswith("image/"):
        image, _, caption = sample.id.removeprefix("image/").rpartition("/caption/")
    else:
        caption, _, image = sample.id.removeprefix("caption/").partition("/image/")
    return image, caption


def _read(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    arrays = arrays_of(path, ARRAYS)
    counts = {name: array.shape for name, array in arrays.items()}
    if len(set(counts.values())) > 1 or arrays["scores"].ndim != 1:
        raise DataError(f"the predictions {path}: the arrays have the shapes {counts}; each has one entry for a pair")
    if arrays["scores"].dtype.kind not in "fiu":
        raise DataError(f"the predictions {path}: scores are not numbers")
    ids = ([str(name) for name in arrays[key].tolist()] for key in ARRAYS[:2])
    pairs = list(zip(*ids, strict=True))
    scores = dict(zip(pairs, arrays["scores"].tolist(), strict=True))
    if len(scores) < len(pairs):
        raise DataError(f"the predictions {path}: {len(pairs) - len(scores)} pairs have more than one score")
    if infinite := [pair for pair, score in scores.items() if np.isinf(score)]:
        where = f"image {infinite[0][0]} and caption {infinite[0][1]}"
        raise DataError(f"the predictions {path}: the score of {where} is infinite")
    needed = {sample.id: pair_of(sample) for sample in samples}
    missing = [name for name, pair in needed.items() if pair not in scores]
    files.refuse(path, "pair", "have no score", missing, len(needed))
    known = set(needed.values())
    unknown = ["/".join(pair) for pair in scores if pair not in known]
    files.refuse(path, "pair", "are no candidates of this run", unknown, len(known))
    return {name: _answer(float(scores[pair])) for name, pair in needed.items()}


def _answer(score: float) -> Answer:
    return Answer(("no score",), None) if np.isnan(score) else Answer((f"{score:.6f}",), Match(score))


def _write(path: Path, rows: Sequence[Row[Any]]) -> None:
    scores: dict[tuple[str, str], float] = {}
    for row in rows:
        value = row.answer.value
        scores.setdefault(pair_of(row.sample), value.score if isinstance(value, Match) else np.nan)
    images, captions = ([pair[place] for pair in scores] for place in (0, 1))
    with path.open("wb") as stream:  # given a path, NumPy appends .npz to other endings
        np.savez(
            stream,
            image_ids=np.array(images, np.str_),
            caption_ids=np.array(captions, np.str_),
            scores=np.array(list(scores.values()), np.float64),
        )


NPZ = PredictionFormat(
    "npz of NumPy: image_ids, caption_ids and scores, each (pairs,), an entry for each candidate pair; a caption's id "
    "is Karpathy's sentid",
    _read,
    _write,
    ending=".npz",
)
