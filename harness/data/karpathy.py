"""Karpathy's splits of Flickr30k and COCO with their captions, as he publishes them.

    dataset_flickr30k.json, dataset_coco.json
        {"images": [{"split": "test", "filename": "1007129816.jpg", "sentences": [{"raw": "...", "sentid": 70}]}]}

The images of COCO also have `filepath` (the folder, such as val2014) and `cocoid`.  An image has five captions; some of
COCO's have six or seven, which all count.  `raw` is the caption as its author wrote it; `tokens` are ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from harness.core import Source
from harness.data import files
from harness.errors import DataError
from harness.sinks import line

ORIGIN = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"


class _OfSplit(Protocol):
    @property
    def split(self) -> str: ...


Image = TypeVar("Image", bound=_OfSplit)


class _File(msgspec.Struct, Generic[Image]):
    images: list[Image]


class Sentence(msgspec.Struct, frozen=True):
    """A caption as its author wrote it, with its number in the file."""

    raw: str
    sentid: int


class Captioned(msgspec.Struct, frozen=True):
    """An image with its captions.  `filepath` is its folder and `cocoid` its number, in COCO's file only."""

    split: str
    filename: str
    sentences: tuple[Sentence, ...]
    filepath: str = ""
    cocoid: int | None = None

    @property
    def id(self) -> str:
        """COCO's number of the image; the file's name without its ending elsewhere."""
        return self.filename.rpartition(".")[0] if self.cocoid is None else str(self.cocoid)


def file_of(source: Source, data: str) -> Path:
    """Karpathy's file of "flickr30k" or "coco": below the root, or the file or folder that the user gives instead."""
    given = source.annotations
    return given if given is not None and given.is_file() else (given or source.root / data) / f"dataset_{data}.json"


def of_split(path: Path, form: type[Image], split: str, origin: str) -> list[Image]:
    """The images of a split as values of type `form`; DataError if the file is malformed or has no such split."""
    content: _File[Image] = files.load(path, _File[form], origin)  # type: ignore[valid-type]
    chosen = [image for image in content.images if image.split == split]
    if not chosen:
        splits = ", ".join(sorted({line(image.split) for image in content.images})) or "no images"
        raise DataError(f"{path} has no split {split!r}; it has {splits}")
    return chosen


def read(path: Path, split: str, origin: str) -> list[Captioned]:
    """The images of a split with their captions, in the order of the file.

    DataError if the file is malformed or lacks the split, an id occurs twice, an image has no caption, or a caption is
    empty.
    """
    images = files.by_id(of_split(path, Captioned, split, origin), lambda image: image.id, path, "image")
    sentences = [sentence for image in images.values() for sentence in image.sentences]
    files.by_id(sentences, lambda sentence: sentence.sentid, path, "sentid")
    for name, image in images.items():
        if not image.sentences or not all(sentence.raw.strip() for sentence in image.sentences):
            raise DataError(f"{path}: image {name} has no caption, or an empty one; {files.remedy(origin)}")
    return list(images.values())
