"""Words in photographs, as ICDAR 2015 (Robust Reading, Challenge 4) publishes them, and its result files.

    gt_img_1.txt    x1,y1,x2,y2,x3,y3,x4,y4,transcription    one line for each word, clockwise from the top left
    res_img_1.txt   the same, in a zip archive with a file for each image

Coordinates are whole numbers.  A transcription may be in double quotes, with \\\\ and \\" for \\ and ".
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Answer, PredictionFormat, Quad, Quads, Reading, Row, Sample
from harness.data import files
from harness.errors import DataError
from harness.geometry.boxes import FARTHEST

LINE = re.compile(r"\s*" + r"(-?[0-9]+)\s*,\s*" * 7 + r"(-?[0-9]+)\s*,(.*)")
QUOTED = re.compile(r'\s*"(.*)"\s*')
TRUTH = re.compile(r"gt_img_([0-9]+)\.txt", re.ASCII)
RESULT = re.compile(r"res_img_([0-9]+)\.txt", re.ASCII)
FORM = "x1,y1,x2,y2,x3,y3,x4,y4,transcription in whole pixels"
MOST_BYTES = 1 << 26  # of an archive's files together
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError)
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of files in an archive, so that equal results have equal bytes


@dataclass(frozen=True, slots=True)
class Photograph:
    """An image with its words, whose corners are in whole pixels; `id` is the number in its name."""

    id: str
    words: Quads

    @property
    def file_name(self) -> str:
        """The image's file."""
        return f"img_{self.id}.jpg"


def read(folder: Path, origin: str) -> Iterator[Photograph]:
    """Every image of a folder of gt_img_*.txt, in the order of the numbers.

    DataError if there is no such file, or a line is malformed or has no transcription.
    """
    try:
        paths = {match[1]: path for path in folder.iterdir() if (match := TRUTH.fullmatch(path.name))}
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}; {files.remedy(origin)}") from error
    if not paths:
        raise DataError(f"{folder} has no files named gt_img_1.txt, gt_img_2.txt, ...; {files.remedy(origin)}")
    for number in sorted(paths, key=lambda name: (int(name), name)):
        words = parse(files.read(paths[number], origin), str(paths[number]), files.remedy(origin))
        for place, text in enumerate(words.labels, 1):
            if not text:
                raise DataError(f"{paths[number]}: word {place} has no transcription; {files.remedy(origin)}")
        yield Photograph(number, words)


def parse(data: bytes, where: str, todo: str) -> Quads:
    """The words of a file of lines, as the official reader reads them; DataError, naming the line, if it cannot.

    Bytes that are not UTF-8 become U+FFFD.  `where` names the file, and `todo` is the end of a message.
    """
    quads, texts = [], []
    for number, line in enumerate(data.decode("utf-8-sig", "replace").split("\n"), 1):
        bare = line.replace("\r", "")
        if not bare:
            continue
        match = LINE.fullmatch(bare)
        values = [int(value) for value in match.groups()[:8] if len(value) < 12] if match else []
        if match is None or len(values) < 8 or max(map(abs, values)) > FARTHEST:
            raise DataError(f"{where}: line {number} is not {FORM}; {todo}")
        text = match[9]
        if quoted := QUOTED.fullmatch(text):
            text = quoted[1].replace("\\\\", "\\").replace('\\"', '"')
        quads.append(_quad(values))
        texts.append(text)
    return Quads(tuple(quads), tuple(texts))


def as_written(value: Quads) -> Quads:
    """Regions as a result file can express them: whole pixels, clockwise, a text on one line for each.

    Regions with a coordinate that is not finite or beyond `FARTHEST` are left out.
    """
    quads, texts = [], []
    labels = (*value.labels, *("",) * len(value.quads))
    for quad, label in zip(value.quads, labels, strict=False):
        numbers = [number for point in quad for number in point]
        if all(abs(number) < FARTHEST for number in numbers):
            rounded = _quad([math.floor(number + 0.5) for number in numbers])
            quads.append(rounded if is_clockwise(rounded) else rounded[::-1])
            texts.append(label.replace("\r", " ").replace("\n", " ").encode("utf-8", "replace").decode())
    return Quads(tuple(quads), tuple(texts))


def is_clockwise(quad: Quad) -> bool:
    """Whether the official reader takes the points as clockwise, or as of no area; it refuses others."""
    return sum((x2 - x1) * (y2 + y1) for (x1, y1), (x2, y2) in zip(quad, [*quad[1:], quad[0]], strict=True)) <= 0


def _quad(values: Sequence[int]) -> Quad:
    return tuple((float(x), float(y)) for x, y in zip(values[::2], values[1::2], strict=True))  # type: ignore[return-value]


# ---------------------------------------------------------------------------- predictions


def _read(path: Path, samples: Sequence[Sample[Any]], reading: Reading | None = None) -> dict[str, Answer]:
    """The words of each image; an image without a file has none, which is noted, and refused without `reading`."""
    entries = []
    for number, data in _archive(path):
        words = parse(data, f"{path}: {_name(number)}", "correct the file")
        for place, quad in enumerate(words.quads, 1):
            if not is_clockwise(quad):
                raise DataError(
                    f"{path}: {_name(number)}: the points of region {place} are not clockwise, which the official "
                    "evaluator refuses; correct the file"
                )
        entries.append((number, words))
    if reading is not None:
        known = {number for number, _ in entries}
        for sample in samples:
            if sample.id not in known and not sample.excluded:
                files.note(reading, path, "images without a file have no words", _name(sample.id), "is not there")
                entries.append((sample.id, Quads(())))
    return files.one_each(path, entries, samples, "image", _answer)


def _answer(words: Quads, _: Sample[Any]) -> Answer:
    return Answer((" ".join(words.labels),), words)


def _archive(path: Path) -> list[tuple[str, bytes]]:
    """The number and the bytes of each result file of an archive; DataError for other files, or a damaged archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise DataError(f"the predictions {path} have more than {MOST_BYTES >> 20} MB of text")
            names = [RESULT.fullmatch(entry.filename) for entry in entries]
            for entry, name in zip(entries, names, strict=True):
                if name is None:
                    raise DataError(f"{path} has a file {entry.filename!r}; it needs res_img_1.txt, res_img_2.txt, ...")
            return [(name[1], archive.read(entry)) for entry, name in zip(entries, names, strict=True) if name]
    except DAMAGED as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"the predictions {path} cannot be read as a zip archive: {reason}") from error


def _write(path: Path, rows: Sequence[Row[Any]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for row in rows:
            value = row.answer.value
            words = as_written(value) if isinstance(value, Quads) else Quads(())
            text = "".join(f"{_line(*word)}\n" for word in zip(words.quads, words.labels, strict=True))
            entry = zipfile.ZipInfo(_name(row.sample.id), EPOCH)
            entry.external_attr = 0o644 << 16  # readable once unpacked
            archive.writestr(entry, text)


def _name(image: str) -> str:
    """The name of an image's result file."""
    return f"res_img_{image}.txt"


def _line(quad: Quad, text: str) -> str:
    if QUOTED.fullmatch(text):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        text = f'"{escaped}"'
    return ",".join([*(str(int(number)) for point in quad for number in point), text])


WORDS = PredictionFormat(
    "zip: a file res_img_1.txt for each image, with a line x1,y1,x2,y2,x3,y3,x4,y4,text for each word, clockwise, in "
    "whole pixels",
    _read,
    _write,
    ending=".zip",
    read_leniently=_read,
)
