"""Every parser of files that strangers write: a damaged input is read or refused with one line, never a traceback.

INPUTS are shared among the parsers by their cost.  A failure prints the input and the numbers that draw it again.
"""

from __future__ import annotations

import io
import itertools
import json
import pickle
import pickletools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save as safetensors

import baselines
from baselines.oracle import Oracle
from harness import images
from harness.core import Box, Failure, Kind, Phrase, Question, Row, Sample, Score, Size, Source
from harness.data import flickr30k, icdar, manifest, pickles
from harness.errors import CheckpointError, DataError, HarnessError, UsageError
from harness.florence2 import config, preprocess, tensors
from harness.florence2.prompts import FORMS
from harness.florence2.reading import read_answer
from harness.florence2.tokenizer import Tokenizer
from harness.gates import promises
from harness.metrics import ptb
from harness.store import lines, records
from tasks import TASKS, miniature
from tests import embedded
from tests.hostile import INPUTS, SEED
from tests.hostile.damage import damaged, damaged_bytes

Make = Callable[[Random], Any]
Drive = Callable[[Any], object]
BOX: Box = (10.0, 10.0, 50.0, 40.0)
OPCODES = b"".join(opcode.code.encode("latin-1") for opcode in pickletools.opcodes)


@dataclass(frozen=True)
class Parser:
    """A parser: how an input is drawn, how it is parsed, which errors refuse it, and its share of INPUTS in percent."""

    share: float
    make: Make
    drive: Drive
    refusals: tuple[type[Exception], ...]


def in_a_file(path: Path, read: Callable[[Path], object]) -> Drive:
    """Writes an input to a file before it is read."""

    def drive(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return drive


# ---------------------------------------------------------------------------- answers of a model


@cache
def tokenizer() -> Tokenizer:
    folder = baselines.find("florence2-nano").checkpoint
    assert folder is not None
    return Tokenizer.load(folder(None))


def question(kind: Kind, draw: Random) -> Question:
    """A question with phrases that may be empty, equal or contained in each other."""
    words = [
        draw.choice(("", "a", "cat", "a cat", "the cat and the dog", "<loc_5>", "<od>"))
        for _ in range(draw.randint(1, 3))
    ]
    phrases = tuple(Phrase(word, 0, len(word)) for word in words)
    return Question(
        "x.jpg", Size(draw.randint(1, 900), draw.randint(1, 900)), kind, text="a cat", phrases=phrases, region=BOX
    )


def answer_ids(draw: Random) -> tuple[str, list[int]]:
    """Token ids of a damaged answer: text, locations and markup in any order, and ids of any token."""
    good = b"a cat<loc_1><loc_2><loc_30><loc_400>the dog<loc_999><loc_0><loc_5><loc_6><poly><sep></poly><ncel>QA</s>"
    marks = (
        b"<loc_1>",
        b"<loc_999>",
        b"<loc_1000>",
        b"<poly>",
        b"</poly>",
        b"<sep>",
        b"</s>",
        b"<s>",
        b"<pad>",
        b"<and>",
        b" ",
    )
    text = good
    for _ in range(draw.randint(1, 6)):
        text = damaged_bytes(text, draw, marks)
    ids = tokenizer().encode(text.decode(errors="replace"))
    for _ in range(draw.randint(0, 3)):
        ids.insert(draw.randrange(len(ids) + 1), draw.randrange(tokenizer().size))
    return draw.choice(tuple(FORMS)), ids


def read_ids(made: tuple[Kind, list[int]]) -> object:
    kind, ids = made
    draw = Random(len(ids))
    items = tokenizer().items(ids, [-draw.random() for _ in ids])
    asked = question(kind, draw)
    assert asked.size is not None
    for form in FORMS[kind]:
        value = read_answer(asked, [items] * len(asked.phrases), asked.size, form)
        if value is not None:
            assert lines.encoded(value) is not None
    return items


# ---------------------------------------------------------------------------- data


@cache
def samples(task: str) -> list[Sample[Any]]:
    """The first three samples of a task of the embedded benchmark."""
    return list(itertools.islice(TASKS[task].load(Source(miniature.ensure(), TASKS[task].splits[0])), 3))


def reduced(value: Any, images: frozenset[object]) -> Any:
    """A document with the entries about some images only; lists that are not about images stay whole."""
    if isinstance(value, dict):
        return {key: reduced(inner, images) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    kept = []
    for entry in value:
        about = entry if isinstance(entry, dict) else {}
        keys = [about[key] for key in ("image_id", "cocoid", "image", "file_name") if key in about]
        if not keys or images.intersection(keys):
            kept.append(reduced(entry, images))
    return kept


def annotation_files_of(task: str, folder: Path) -> Parser:
    """The annotation files of a task, one of which is damaged, in a data root of their own."""
    split, root = TASKS[task].splits[0], folder / "root"
    names = [Path(sample.question.image_name) for sample in samples(task)]
    numbers = [int(name.stem.rpartition("_")[2]) for name in names if name.stem.rpartition("_")[2].isdecimal()]
    files = [text for name in names for text in (name.stem, name.name, f"{name.parent.name}/{name.name}")]
    files += [f"documents/{name.name}" for name in names]  # as DocVQA names them
    about = frozenset([*numbers, *files])
    if task == "nocaps":  # its image ids are not the numbers in the file names
        images = json.loads((miniature.ensure() / TASKS[task].files[0].path).read_bytes())["images"]
        about = frozenset(
            key for image in images if image["file_name"] in about for key in (image["id"], image["file_name"])
        )
    good: dict[Path, bytes] = {}
    for need in manifest.needs(TASKS[task], [split]):
        source = miniature.ensure() / need.path
        if manifest.is_of_annotations(need) and source.is_file():
            path = root / need.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".json":
                good[path] = json.dumps(reduced(json.loads(source.read_bytes()), about)).encode()
            else:
                good[path] = pickle.dumps(reduced(pickles.load(source.read_bytes()), about), protocol=2)
            path.write_bytes(good[path])
    assert list(TASKS[task].load(Source(root, split))), "the good files are read"

    def make(draw: Random) -> tuple[Path, bytes]:
        path = draw.choice(list(good))
        return path, (damaged if path.suffix == ".json" else damaged_bytes)(good[path], draw)

    def drive(made: tuple[Path, bytes]) -> object:
        path, data = made
        path.write_bytes(data)
        try:
            return list(TASKS[task].load(Source(root, split)))
        finally:
            path.write_bytes(good[path])

    return Parser(2.0, make, drive, (DataError,))


def predictions_of(task: str, folder: Path) -> Parser:
    """The official result file of a task."""
    oracle = Oracle(samples(task))
    rows = []
    for sample in samples(task):
        answer = oracle.answer_to(sample.question)
        if not isinstance(answer, Failure):
            rows.append(Row(sample, answer, Score({})))
    ending = TASKS[task].predictions.ending
    change = damaged if ending == ".json" else damaged_bytes
    path = folder / f"predictions{ending}"
    TASKS[task].predictions.write(path, rows)
    good = path.read_bytes()
    read = in_a_file(path, lambda file: TASKS[task].predictions.read(file, samples(task)))
    return Parser(1.5, lambda draw: change(good, draw), read, (DataError,))


def pickled(draw: Random) -> bytes:
    """A pickle of plain data of any protocol, damaged; half of the inputs are opcodes in any order."""
    if draw.random() < 0.5:
        opcodes = (
            b"(.0123BCDFGHIJKLMNPQRSTUVX]abcde}ghijlopqrstu\x80\x85\x86\x87\x88\x89\x8a\x8c\x8f\x90\x91\x94\x95\x97"
        )
        return bytes(
            draw.choice(opcodes) if draw.random() < 0.7 else draw.randrange(256) for _ in range(draw.randint(1, 40))
        )
    value = [{"ref_id": 1, "sentences": [{"raw": "a cat", "sent_id": draw.random()}], "split": ("val", b"x")}]
    return damaged_bytes(pickle.dumps(value, protocol=draw.randrange(6)), draw)


# ---------------------------------------------------------------------------- records, checkpoints and promises


@cache
def record() -> bytes:
    """A finished record of the repository."""
    return next((Path(__file__).parents[2] / "results/miniature").rglob("run.json")).read_bytes()


def checkpoint_files() -> tuple[bytes, bytes]:
    """The configuration and the preprocessing of the embedded model."""
    entry = baselines.find("florence2-nano").checkpoint
    assert entry is not None
    folder = entry(None)
    return (folder / "config.json").read_bytes(), (folder / "preprocessor_config.json").read_bytes()


def weight_file(draw: Random) -> bytes:
    """A small safetensors file, damaged mostly in its header."""
    data = safetensors({"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.float16)})
    return damaged_bytes(data, draw, (b'"shape":[9999999999]', b"F64", b"I8", b"[0,1]", b"-1", b'"a"', b"\0" * 8))


PROMISES = b"""
frozen = "frozen"
[promise.floor]
task = "refcoco"
model = "oracle"
metric = "Acc@0.5"
at_least = 99.0
limit = 20
[promise.base]
task = "vizwiz"
model = "florence2-nano"
not_worse_than = "base"
differs = ["precision"]
dtype = "int8"
"""


def picture(draw: Random) -> bytes:
    """A small image file of one of the usual formats, damaged."""
    stream = io.BytesIO()
    mode = draw.choice(("RGB", "L", "RGBA", "P", "CMYK", "I;16"))
    format_ = draw.choice(
        {"RGBA": ("PNG", "WEBP"), "CMYK": ("JPEG", "TIFF"), "I;16": ("PNG",)}.get(mode, ("PNG", "GIF", "BMP"))
    )
    Image.new(mode, (draw.randint(1, 9), draw.randint(1, 9))).save(stream, format_)
    return damaged_bytes(stream.getvalue(), draw)


def sentence(draw: Random) -> str:
    """A sentence of Flickr30k Entities, damaged."""
    good = b"[/EN#1/people A man] in [/EN#2/clothing/other a red hat] looks at [/EN#0/notvisual it] ."
    return damaged_bytes(good, draw, (b"[/EN#", b"]", b"/", b"[", b"#", b" ")).decode(errors="replace")


def caption(draw: Random) -> list[str]:
    """Captions of the signs that the tokeniser treats in a special way."""
    signs = "abzAZ019 .,'`\"-?!()[]{}<>&%$#@/\\*:;_\n\r\t\u00a0\u2028\u2019\u201c\u00e9\u4e2d\U0001f415\u0130\ufeff"
    return ["".join(draw.choice(signs) for _ in range(draw.randint(0, 40))) for _ in range(draw.randint(1, 3))]


ANSWER = {
    "id": "1", "raw": ["a"], "value": {"kind": "boxes", "boxes": [BOX], "labels": ["a"]}, "tokens": 1,
    "truncated": False, "seconds": 0.1, "batch": 1, "asked": "x",
}  # fmt: skip
XML = b"""<annotation><size><width>500</width><height>375</height><depth>3</depth></size><object>
<name>1</name><name>2</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"""

WORDS = '\ufeff377,117,463,117,465,130,378,130,"Genaxis \\"T\\""\r\n493,115,519,115,519,131,493,131,[06]\r\n'.encode()
OTHER_READERS = ("flickr30k", "odinw_miniature", "rf100_vl_miniature", "icdar2015")  # not JSON, or not alone


def parsers(folder: Path) -> dict[str, Callable[[], Parser]]:
    """Every parser by name, built when it is driven."""
    settings, pixels = checkpoint_files()

    def of(share: float, make: Make, drive: Drive, *refusals: type[Exception]) -> Callable[[], Parser]:
        return lambda: Parser(share, make, drive, refusals)

    def of_file(
        share: float, name: str, good: bytes, read: Callable[[Path], object], *refusals: type[Exception]
    ) -> Any:
        change = damaged if name.endswith(".json") else damaged_bytes
        return of(share, lambda draw: change(good, draw), in_a_file(folder / name, read), *refusals)

    def of_line(good: dict[str, Any], parse: Callable[[str], object]) -> Callable[[], Parser]:
        data = json.dumps(good).encode()
        return of(4, lambda draw: damaged(data, draw).decode(errors="replace"), parse, *lines.MALFORMED)

    annotated = [task.name for task in embedded.EMBEDDED if task.name not in OTHER_READERS]
    predicted = [task.name for task in embedded.EMBEDDED if not task.predictions.folder]
    return {
        **{f"annotations of {task}": partial(annotation_files_of, task, folder) for task in annotated},
        **{f"predictions of {task}": partial(predictions_of, task, folder) for task in predicted},
        "answers of a model": of(20, answer_ids, read_ids),
        "boxes of Flickr30k": of_file(3, "1.xml", XML, flickr30k.read_boxes, DataError),
        "words of ICDAR 2015": of_file(
            2, "gt_img_1.txt", WORDS, lambda path: list(icdar.read(path.parent, "")), DataError
        ),
        "captions": of(6, caption, lambda texts: list(ptb.tokens(texts))),
        "config.json": of_file(5, "config.json", settings, config.read_config, CheckpointError),
        "lines of answers": of_line(ANSWER, lines.parse_answer),
        "lines of scores": of_line({"id": "1", "readable": True, "iou": 0.5, "x": None}, lines.parse_score),
        "pickles": of(8, pickled, pickles.load, ValueError),
        "pictures": of(2, picture, lambda data: images.decode(data, "x.jpg"), DataError),
        "preprocessor_config.json": of_file(
            4, "preprocessor_config.json", pixels, lambda path: preprocess.read_preprocess(path.parent), CheckpointError
        ),
        "promises": of_file(1, "gates.toml", PROMISES, promises.read, UsageError),
        "run.json": of_file(2, "run.json", record(), records.read_run, DataError),
        "sentences of Flickr30k": of(4, sentence, lambda line: flickr30k.read_sentence(line, "x.txt"), DataError),
        "weights": of(1, weight_file, in_a_file(folder / "model.safetensors", tensors.read_file), CheckpointError),
    }


NAMES = sorted(parsers(Path()))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow, of damaged EXIF
@pytest.mark.parametrize("name", NAMES)
def test_damaged_input_is_read_or_refused(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    parser = parsers(tmp_path)[name]()
    count = max(20, round(INPUTS * parser.share / 100))
    outcomes: Counter[str] = Counter()
    for number in range(count):
        made = parser.make(Random(f"{SEED}/{name}/{number}"))
        try:
            parser.drive(made)
            outcomes["read"] += 1
        except parser.refusals as error:
            message = str(error)
            assert not isinstance(error, HarnessError) or "\n" not in message, f"{message!r} has several lines"
            outcomes["refused"] += 1
        except Exception as error:
            raise AssertionError(
                f"HOSTILE_SEED={SEED}, input {number}: {type(error).__name__}\n{made!r:.4000}"
            ) from error
    record_property(
        "inputs", f"{name:32} {count:9,} inputs, {outcomes['read']:9,} read, {outcomes['refused']:9,} refused"
    )
