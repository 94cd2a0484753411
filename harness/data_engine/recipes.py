"""Recipes: which models are asked what, and which stages decide in which order with which settings.

A recipe is a value, and the same as a TOML file:

    name = "mine"
    categories = ["house", "fish"]          # for detectors that need names

    [specialists]                           # kind of question = models
    detect = ["grounding-dino-b", "owlv2-b"]
    caption = ["florence2-b-ft"]

    [[stages]]
    name = "boxes"
    nms = 0.5
    scores = { grounding-dino-b = 0.35 }    # per origin

    [images]
    side = 64

`engine calibrate` adds the curves that its thresholds were chosen from, as `calibration`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Kind
from harness.data_engine.images import ImageFilter
from harness.data_engine.parsing import installed
from harness.data_engine.records import Origin, Record, Stage, digest
from harness.errors import DataError, UsageError

KEYS = ("name", "start", "categories", "specialists", "images", "stages", "calibration")
STAGES: Mapping[str, str] = {
    "sources": "harness.data_engine.sources:Sources",
    "boxes": "harness.data_engine.regions:Boxes",
    "combine": "harness.data_engine.combine:Combine",
    "texts": "harness.data_engine.texts:Texts",
    "phrases": "harness.data_engine.phrases:Phrases",
    "chunks": "harness.data_engine.choose:Chunks",
    "choice": "harness.data_engine.choose:Choice",
    "outlines": "harness.data_engine.outlines:Outlines",
    "parents": "harness.data_engine.parents:Parents",
}
"""Every stage by its name in recipes and verdicts, in the order in which they run: its module and class, which is
imported when a recipe needs it."""
PARSING = ("texts", "phrases", "chunks")
"""The stages that parse texts: their verdicts depend on spaCy and its model."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an engine asks, and how it decides.

    - `specialists`: the names of models for each kind of question.
    - `images`: decides which images are kept.
    - `stages`: decide which annotations are kept, in this order.
    - `categories`: the phrases of questions that need some.
    - `start`: the name of the model that rounds teach, each from its own weights; "" leaves it to the command.
    - `calibration`: the curve that a threshold was chosen from, by origin.
    """

    name: str
    specialists: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    images: ImageFilter = field(default_factory=ImageFilter)
    stages: tuple[Stage, ...] = ()
    categories: tuple[str, ...] = ()
    start: str = ""
    calibration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """The recipe as plain data for JSON and TOML."""
        return {
            "name": self.name,
            **({"start": self.start} if self.start else {}),
            "categories": list(self.categories),
            "specialists": {kind: list(models) for kind, models in self.specialists.items()},
            "images": _settings(self.images),
            "stages": [{"name": stage.name, **_settings(stage)} for stage in self.stages],
            "calibration": {name: dict(curve) for name, curve in self.calibration.items()},
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any], where: str) -> Recipe:
        """The recipe of plain data; DataError, naming `where` and the key, for an unknown key, name or type."""
        if unknown := sorted(data.keys() - set(KEYS)):
            raise DataError(f"{where}: a recipe has no {unknown[0]!r}; it has {', '.join(KEYS)}")
        try:
            name = msgspec.convert(data.get("name"), str)
            start = msgspec.convert(data.get("start", ""), str)
            categories = msgspec.convert(data.get("categories", []), tuple[str, ...])
            specialists = msgspec.convert(data.get("specialists", {}), dict[Kind, tuple[str, ...]])
            listed = msgspec.convert(data.get("stages", []), list[dict[str, Any]])
            calibration = msgspec.convert(data.get("calibration", {}), dict[str, dict[str, Any]])
            images = _image_filter(msgspec.convert(data.get("images", {}), dict[str, Any]))
            stages = tuple(stage(entry.get("name"), _without_name(entry)) for entry in listed)
        except (msgspec.ValidationError, UsageError) as error:
            raise DataError(f"{where}: {error}") from error
        return cls(
            name=name, categories=categories, specialists=specialists, images=images, stages=stages,
            calibration=calibration, start=start,
        )  # fmt: skip

    @property
    def digest(self) -> str:
        """Names everything that decides what is asked and kept."""
        return digest([self.as_data(), self.described()])

    def described(self) -> list[Any]:
        """The stages with versions and settings, as plain data: what verdicts depend on besides the annotations.

        Stages that parse texts are followed by the names and versions of the parser.
        """
        said: list[Any] = [[stage.name, stage.version, _settings(stage)] for stage in self.stages]
        return [*said, ["parser", installed()]] if self.parses else said

    @property
    def parses(self) -> bool:
        """Whether a stage parses texts."""
        return any(stage.name in PARSING for stage in self.stages)

    def resolved(self, origins: Mapping[str, Origin]) -> Recipe:
        """The recipe for these origins: settings by an origin's name become settings by its id."""
        stages = tuple(stage.for_origins(origins) if hasattr(stage, "for_origins") else stage for stage in self.stages)
        return replace(self, stages=stages)

    def apply(self, record: Record) -> Record:
        """The record after all stages."""
        for each in self.stages:
            record = each(record)
        return record

    def until(self, name: str) -> Recipe:
        """The recipe with the stages before the one of this name; all of them, if there is none."""
        names = [stage.name for stage in self.stages]
        return replace(self, stages=self.stages[: names.index(name)] if name in names else self.stages)

    def completed(self, thresholds: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Recipe:
        """The recipe with thresholds by stage, setting and origin; a threshold that it has of its own stays.

        DataError for a setting that a stage does not have.
        """

        def completed(each: Stage) -> Stage:
            chosen = thresholds.get(each.name, {})
            if unknown := [name for name in chosen if not hasattr(each, name)]:
                raise DataError(
                    f"a round chose {each.name}.{unknown[0]}, which this version lacks; make the round again"
                )
            settings = {name: {**of, **getattr(each, name)} for name, of in chosen.items()}
            return replace(each, **settings) if settings else each  # type: ignore[type-var]

        return replace(self, stages=tuple(map(completed, self.stages)))

    def with_settings(self, settings: Sequence[str]) -> Recipe:
        """The recipe with settings such as "boxes.nms=0.6" or "boxes.scores.owlv2-b=0.3".

        UsageError, with what exists, for an unknown stage or setting, and for a value of another type.
        """
        data = self.as_data()
        for setting in settings:
            path, equals, value = setting.partition("=")
            stage_name, _, rest = path.strip().partition(".")
            listed = {"images": data["images"], **{entry["name"]: entry for entry in data["stages"]}}
            entry = listed.get(stage_name)
            if not equals or not rest:
                raise UsageError(f"--set {setting}: STAGE.SETTING=VALUE, such as boxes.nms=0.6")
            if entry is None:
                there = ", ".join(listed)
                raise UsageError(f"--set {setting}: the recipe {self.name} has no stage {stage_name!r}; it has {there}")
            name, _, key = rest.partition(".")
            if key:
                entry[name] = {**entry.get(name, {}), key: _value(value)}
            else:
                entry[name] = _value(value)
        stages = tuple(stage(entry["name"], _without_name(entry)) for entry in data["stages"])
        return replace(self, images=_image_filter(data["images"]), stages=stages)

    def toml(self) -> str:
        """The recipe as TOML."""
        data = self.as_data()
        out = [f"{key} = {_toml(data[key])}" for key in ("name", "start") if key in data]
        out += [f"categories = {_toml(data['categories'])}", "", "[specialists]"]
        out += [f"{_toml(kind)} = {_toml(models)}" for kind, models in data["specialists"].items()]
        out += ["", "[images]", *(f"{_toml(key)} = {_toml(value)}" for key, value in data["images"].items())]
        for entry in data["stages"]:
            out += ["", "[[stages]]", *(f"{_toml(key)} = {_toml(value)}" for key, value in entry.items())]
        for name, curve in data["calibration"].items():
            out += ["", f"[calibration.{_toml(name)}]"]
            out += [f"{_toml(key)} = {_toml(value)}" for key, value in curve.items()]
        return "\n".join(out) + "\n"


def stage(name: Any, settings: Mapping[str, Any]) -> Stage:
    """A stage by its name with settings; UsageError, with what exists, for an unknown name, setting or type."""
    if name not in STAGES:
        raise UsageError(f"there is no stage {name!r}; there are {', '.join(STAGES)}")
    module, _, attribute = STAGES[name].partition(":")
    made: Stage = _made(getattr(import_module(module), attribute), name, settings)
    return made


def _image_filter(settings: Mapping[str, Any]) -> ImageFilter:
    made: ImageFilter = _made(ImageFilter, "images", settings)
    return made


def _made(kind: Any, name: str, settings: Mapping[str, Any]) -> Any:
    known = [each.name for each in fields(kind)]
    if unknown := [key for key in settings if key not in known]:
        raise UsageError(f"the stage {name} has no setting {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    try:
        return msgspec.convert(dict(settings), kind, strict=True)
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"the stage {name}: {error}") from error


def load(name: str) -> Recipe:
    """A recipe by its name, or from a TOML file; UsageError if there is none, DataError for a malformed file."""
    if name in RECIPES:
        return RECIPES[name]()
    path = Path(name)
    if path.suffix != ".toml":
        raise UsageError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}, and files that end in .toml")
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no recipe {path}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not TOML: {error}") from error
    return Recipe.from_data(data, str(path))


def fld() -> Recipe:
    """The order of the paper (section 4.2), which publishes no threshold: all settings are this project's.

    Models are named by the user: the paper's are its own, or services.
    """
    return Recipe(name="fld", stages=tuple(stage(name, {}) for name in STAGES))


def nano() -> Recipe:
    """The embedded world, offline: simulated specialists, and a real, tiny captioner and two-tower model."""
    return replace(
        fld(),
        name="nano",
        start="florence2-nano",
        specialists={
            "caption": ("florence2-nano",),
            "detect": ("simulated-detector", "simulated-detector-2"),
            "describe": ("simulated-captioner",),
            "match": ("clip-nano",),
            "ocr_regions": ("simulated-reader",),
            "outline": ("simulated-segmenter",),
            "ground": ("simulated-grounder",),
        },
    )


RECIPES = {"fld": fld, "nano": nano}


def _settings(stage: Stage | ImageFilter) -> dict[str, Any]:
    """The settings of a stage as plain data."""
    data: dict[str, Any] = msgspec.to_builtins(stage)
    return {name: value for name, value in data.items() if value is not None}


def _without_name(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "name"}


def _value(text: str) -> Any:
    """A value as TOML writes it, else the text itself."""
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _toml(value: Any) -> str:
    """A string, number, list or table as TOML: JSON's forms, except for tables."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml(key)} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
