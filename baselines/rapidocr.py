"""RapidOCR: PP-OCRv6's small models on onnxruntime, which come inside the package (Apache-2.0).

A detector finds lines of text, a classifier turns those that are upside down, a recogniser reads them.  Answers of
`ocr_regions` have the recogniser's mean probability as score.  `ocr` is the lines in rapidocr's order, top to bottom
and left to right, joined by spaces.  Nothing is downloaded.

The fingerprint has the package's version and the digests of the three models.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from baselines.batched import Batched
from baselines.entry import Entry, Setting
from harness.core import Kind, Quad, Quads, Question
from harness.errors import CheckpointError, ResourceError, UsageError

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset({"ocr", "ocr_regions"})
INSTALL = "rapidocr is not installed: pip install 'florence2-harness[ocr]'"
MODELS = ("PP-OCRv6_det_small.onnx", "ch_ppocr_mobile_v2.0_cls_mobile.onnx", "PP-OCRv6_rec_small.onnx")
LARGEST = 8.0


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `rapidocr`."""

    text_score: float = 0.5
    "Smallest score of a line that is answered, from 0 to 1; 0.5 is rapidocr's own"
    enlarge: float = 1.0
    "Factor by which images are enlarged first, for small print; scores and places are of the image itself"


class Reader:
    """Reads the lines of images with rapidocr's models; the function of a `Batched`."""

    def __init__(self, options: Options) -> None:
        from PIL.Image import Resampling
        from rapidocr import RapidOCR

        self._enlarge, self._resampling = options.enlarge, Resampling.BICUBIC
        self._engine = RapidOCR(
            params={"Global.log_level": "critical", "Global.text_score": options.text_score, **_models()}
        )

    def __call__(self, images: Sequence[Any], questions: Sequence[Question]) -> list[Quads | str]:
        """The lines of each image, as Quads or as one text."""
        found = [self._lines(image) for image in images]
        return [
            lines if question.kind == "ocr_regions" else " ".join(lines.labels)
            for lines, question in zip(found, questions, strict=True)
        ]

    def _lines(self, image: Image.Image) -> Quads:
        """The lines with their corners, clockwise from the top left, in pixels of the image, and their scores."""
        if self._enlarge != 1:
            size = (round(image.width * self._enlarge), round(image.height * self._enlarge))
            scale = np.array([size[0] / image.width, size[1] / image.height])
            image = image.resize(size, self._resampling)
        else:
            scale = np.ones(2)
        # blue, green, red; both stages run, so the output is RapidOCROutput of the four that the package types
        output: Any = self._engine(np.asarray(image)[..., ::-1])
        if output.boxes is None or output.txts is None:
            return Quads(())
        corners = np.asarray(output.boxes, np.float64) / scale
        quads = tuple(cast(Quad, tuple((float(x), float(y)) for x, y in quad)) for quad in corners)
        return Quads(quads, tuple(map(str, output.txts)), tuple(map(float, output.scores)))


def _models() -> dict[str, str]:
    """The parameters that name the package's own models, so that rapidocr looks for no others."""
    folder = _folder()
    names = ("Det", "Cls", "Rec")
    return {f"{name}.model_path": str(folder / model) for name, model in zip(names, MODELS, strict=True)}


def _folder() -> Path:
    """The folder of the models; CheckpointError if a model is not there."""
    spec = importlib.util.find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise ResourceError(INSTALL)
    folder = Path(spec.origin).parent / "models"
    for name in MODELS:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} has no {name}: pip install 'florence2-harness[ocr]' brings rapidocr 3.10")
    return folder


@cache
def digests() -> str:
    """The first twelve digits of the SHA-256 of each model."""
    return " ".join(hashlib.sha256((_folder() / name).read_bytes()).hexdigest()[:12] for name in MODELS)


def _refuse(_: Setting, options: Options) -> None:
    for package in ("rapidocr", "onnxruntime", "cv2"):
        if importlib.util.find_spec(package) is None:
            raise ResourceError(INSTALL)
    _folder()
    if not 0 <= options.text_score <= 1:
        raise UsageError(f"--text-score {options.text_score}: from 0 to 1")
    if not 1 <= options.enlarge <= LARGEST:
        raise UsageError(f"--enlarge {options.enlarge}: from 1 to {LARGEST:g}")


def _build(setting: Setting, options: Options) -> Batched:
    version = importlib.metadata.version("rapidocr")
    settings = f"text_score={options.text_score:g} enlarge={options.enlarge:g}"
    fingerprint = f"rapidocr {version}, models {digests()}, {settings}, version {ANSWERS_VERSION}"
    model = Batched(fingerprint, Reader(options), setting, batch_size=1)
    model.provenance["onnxruntime"] = importlib.metadata.version("onnxruntime")
    return model


def _at_hand() -> str:
    return "in the package" if importlib.util.find_spec("rapidocr") is not None else ""


ENTRIES = (
    Entry(
        name="rapidocr",
        about="RapidOCR 3.10: PP-OCRv6 small, detection and recognition of lines of text",
        build=_build,
        options=Options,
        kinds=KINDS,
        refuse=_refuse,
        at_hand=_at_hand,
        uses=frozenset({"batch_size"}),
        parameters="7.9M",
        licence="Apache-2.0",  # MODEL_LICENSES.md of the package
    ),
)
