"""Result files of retrieval: the embeddings of all images and captions of a split, in NumPy's npz format.

    image_ids    (images,)     the images' ids: COCO's numbers, or Flickr30k's file names without their ending
    images       (images, D)   a vector for each image; (images, N, D) where a model has several
    caption_ids  (captions,)   Karpathy's `sentid` of each caption
    captions     (captions, D)

Vectors need not have unit length.  A row of NaN stands for an image or a caption without an embedding.

    np.savez("clip.npz", image_ids=..., images=..., caption_ids=..., captions=...)
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import Answer, Embedding, PredictionFormat, Row, Sample
from harness.data import files
from harness.errors import DataError

ARRAYS = ("image_ids", "images", "caption_ids", "captions")
MOST = 1 << 32  # bytes in all arrays
UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


def answer_of(embedding: Embedding) -> Answer:
    """An embedding as an answer; its raw text names the size, since the numbers are in the value."""
    vectors, dimensions = embedding.array.shape
    return Answer((f"{vectors} x {dimensions} numbers",), embedding)


def _read(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    arrays = arrays_of(path, ARRAYS)
    entries: list[tuple[str, NDArray[Any]]] = []
    for what, ids, vectors in (("image", *ARRAYS[:2]), ("caption", *ARRAYS[2:])):
        if arrays[ids].ndim != 1 or arrays[ids].dtype.kind not in "iuU":
            raise DataError(f"the predictions {path}: {ids} is not a list of numbers or strings")
        if arrays[vectors].ndim not in (2, 3) or arrays[vectors].dtype.kind != "f":
            raise DataError(f"the predictions {path}: {vectors} is not of shape (N, D) or (N, V, D) and of floats")
        if len(arrays[ids]) != len(arrays[vectors]):
            raise DataError(f"the predictions {path}: {len(arrays[ids])} {ids} for {len(arrays[vectors])} {vectors}")
        entries += zip((f"{what}/{name}" for name in arrays[ids].tolist()), arrays[vectors], strict=True)
    if arrays["images"].shape[-1] != arrays["captions"].shape[-1]:
        sizes = f"{arrays['images'].shape[-1]} and captions {arrays['captions'].shape[-1]}"
        raise DataError(f"the predictions {path}: images have {sizes} dimensions; they must have the same")
    return files.one_each(path, entries, samples, "id", _answer)


def arrays_of(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file by name; DataError if it cannot be read, or lacks one of them."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MOST:
            raise DataError(f"the predictions {path} have {size:,} bytes when unpacked; at most {MOST:,}")
        with np.load(path, allow_pickle=False) as content:
            missing = [name for name in names if name not in content]
            if missing:
                raise DataError(f"the predictions {path} have no array {missing[0]!r}; they need {', '.join(names)}")
            return {name: content[name] for name in names}
    except UNREADABLE as error:
        raise DataError(f"the predictions {path} are not an npz file that can be read: {error}") from error


def _answer(vectors: NDArray[Any], _: Sample[Any]) -> Answer:
    return Answer(("no embedding",), None) if np.isnan(vectors).all() else answer_of(Embedding.of(vectors))


def _write(path: Path, rows: Sequence[Row[Any]]) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for what, ids, vectors in (("image", *ARRAYS[:2]), ("caption", *ARRAYS[2:])):
        of_kind = [row for row in rows if row.sample.id.partition("/")[0] == what]
        values = [row.answer.value.array if isinstance(row.answer.value, Embedding) else None for row in of_kind]
        missing = np.full(next((value.shape for value in values if value is not None), (1, 1)), np.nan, np.float16)
        arrays[ids] = np.array([row.sample.id.partition("/")[2] for row in of_kind], np.str_)
        stacked = np.array([missing if value is None else value for value in values], np.float16)
        arrays[vectors] = stacked.reshape(len(of_kind), *missing.shape)
    with path.open("wb") as stream:  # given a path, NumPy appends .npz to other endings
        np.savez(stream, **arrays)  # type: ignore[arg-type]


NPZ = PredictionFormat(
    "npz of NumPy: image_ids (images,), images (images, D), caption_ids (captions,), captions (captions, D); D "
    "dimensions, of any length; a caption's id is Karpathy's sentid",
    _read,
    _write,
    ending=".npz",
)
