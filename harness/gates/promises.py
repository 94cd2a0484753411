"""A file of promises: statements about a model that the gate judges, as TOML.

    [promise.refcoco-floor]                  # a bound on a metric of a new run
    task = "refcoco"                         # a name, several, a glob, or "all": one promise for each task
    model = "florence2-nano-ft"
    limit = 24                               # number of images, sampled with `seed`
    at_least = 60.0                          # or at_most; of the headline metric, or of `metric`

    [promise.no-worse]                       # a new run versus a kept run, paired by sample
    task = "all"
    model = "florence2-nano-ft"
    not_worse_than = "../results"            # the kept run, or its folder of results; relative to this file's folder
    margin = 2.0                             # points that may be lost
    differs = ["precision"]                  # settings in which the two runs may differ

    [promise.decoding]                       # speed versus a peer in the same process
    task = "refcoco"
    model = "florence2-nano-ft"
    metric = "speed"                         # ratio; "parity": percent of answers equal token for token
    peer = "transformers"
    at_least = 1.2

    [promise.no-slower]                      # speed of micro-benchmarks versus another checkout of this project
    base = "origin/main"                     # a git revision, or a folder; both run in alternating rounds
    benchmarks = "benchmarks/test_micro.py"  # arguments of pytest, with pytest-benchmark
    at_least = 0.85                          # ratio of each benchmark

    [promise.recorded]                       # speed, from recorded seconds, a pair for each round
    timings = "timings.json"                 # {"base": [...], "head": [...]}
    at_least = 0.95

A promise about a model takes the options of `run`: `weights`, `data`, `split`, `device`, `dtype`, `batch_size`,
`protocol`, and the model's own, such as `beams`.  A key that a promise of its kind does not use is an error.

A bound is hard: the value decides, whatever its interval.  "Not worse" is broken where more than the margin is lost and
the 95 % interval of the paired difference excludes 0.  It is kept where the interval excludes a loss of more than the
margin.  Otherwise it is undecided.  The two runs must have the same samples, prompts, resolution, precision and
decoding, except for the settings in `differs`.  Speed is broken where the median ratio is below the promise and a
signed-rank test of the rounds agrees.  An undecided promise fails the gate, unless it has `undecided = "passes"`.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import baselines
from harness.errors import UsageError
from harness.gates.comparable import SETTINGS

SPEED, PARITY, MEMORY = "speed", "parity", "peak memory MiB"
RUN = ("weights", "data", "split", "limit", "seed", "device", "dtype", "batch_size", "protocol")
ABOUT_MODEL = ("task", "model", *RUN)
KINDS: Mapping[str, tuple[str, ...]] = {  # the keys of each kind of promise
    "a bound": (*ABOUT_MODEL, "metric", "at_least", "at_most", "undecided"),
    "not worse": (*ABOUT_MODEL, "metric", "not_worse_than", "margin", "differs", "undecided"),
    "speed versus a peer": (
        "task", "model", "weights", "data", "split", "metric", "peer", "images", "at_least", "undecided",
    ),
    "parity with a peer": ("task", "model", "weights", "data", "split", "metric", "peer", "images", "at_least"),
    "speed of benchmarks": ("metric", "base", "benchmarks", "at_least", "undecided"),
    "recorded speed": ("metric", "timings", "at_least", "undecided"),
}  # fmt: skip
TYPES: Mapping[str, tuple[type, ...]] = {
    "limit": (int,), "seed": (int,), "images": (int,), "batch_size": (int,), "margin": (int, float),
    "at_least": (int, float), "at_most": (int, float), "differs": (list,),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One table [promise.NAME] of the file; None or "" for a key that is not there.  `options` are the model's own."""

    name: str
    task: str = ""
    model: str = ""
    weights: str | None = None
    data: str | None = None
    split: str | None = None
    limit: int | None = None
    seed: int = 0
    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = None
    protocol: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    metric: str = ""
    at_least: float | None = None
    at_most: float | None = None
    not_worse_than: str = ""
    margin: float = 0.0
    differs: tuple[str, ...] = ()
    peer: str = ""
    images: int = 16
    timings: str = ""
    base: str = ""
    benchmarks: str = ""
    undecided: Literal["broken", "passes"] = "broken"

    @property
    def kind(self) -> str:
        """The kind of this promise, a key of KINDS."""
        if self.timings:
            return "recorded speed"
        if self.base or self.benchmarks:
            return "speed of benchmarks"
        if self.metric in (SPEED, PARITY):
            return "speed versus a peer" if self.metric == SPEED else "parity with a peer"
        return "not worse" if self.not_worse_than else "a bound"


@dataclass(frozen=True, slots=True)
class Gates:
    """The promises of a file, and the folder of frozen scores, prompts and answers; None: no folder."""

    promises: Sequence[Promise]
    frozen: Path | None


def read(path: Path, modules: Sequence[str] = ()) -> Gates:
    """The promises of a file; UsageError, with the file and the table, where the file is malformed.

    A task or model named `package.module:NAME` is imported only where `modules` has the same name, since a file of
    promises may come from a stranger.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; docs/gates.md describes the file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    tables = content.pop("promise", {})
    frozen = content.pop("frozen", None)
    if content or not isinstance(tables, dict) or not isinstance(frozen, str | None):
        others = ", ".join(content) or "other types of these"
        raise UsageError(f"{path}: a file holds tables [promise.NAME] and `frozen`, a folder; this one has {others}")
    promises = [_promise(f"{path}, [promise.{name}]", name, table, modules) for name, table in tables.items()]
    if not promises and frozen is None:
        raise UsageError(f"{path} promises nothing")
    return Gates(promises, None if frozen is None else path.parent / frozen)


def _promise(where: str, name: str, table: object, modules: Sequence[str]) -> Promise:
    """The promise of a table; `where` names file and table, for messages.  UsageError where the table is malformed."""
    if not isinstance(table, dict):
        raise UsageError(f"{where}: a table")
    for key in ("task", "model"):
        _refuse_module(where, key, table.get(key), modules)
    options = _options_of(table)
    known = [f.name for f in fields(Promise) if f.name not in ("name", "options")]
    own: dict[str, Any] = {}
    for key, value in table.items():
        if key in options:
            continue
        if key not in known:
            close = difflib.get_close_matches(key, [*known, *options], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join([*known, *options])}"
            raise UsageError(f"{where}: there is no {key!r}{hint}")
        own[key] = _typed(where, key, value)
    promise = Promise(name=name, options={key: table[key] for key in options if key in table}, **own)
    _refuse_unused(where, promise, [*own, *promise.options], options)
    _refuse_values(where, promise)
    return promise


def _refuse_module(where: str, key: str, value: object, modules: Sequence[str]) -> None:
    """UsageError for a task or model `package.module:NAME` that the command line does not allow."""
    for name in str(value or "").split(","):
        if ":" in name and name.strip() not in modules:
            raise UsageError(
                f"{where}: {key} = {value!r} would import a module; if you trust it, add --import {name.strip()}"
            )


def _options_of(table: Mapping[str, Any]) -> list[str]:
    """The names of the model's own options; [] for an unknown model, which the verdict reports."""
    try:
        return [f.name for f in fields(baselines.find(str(table.get("model", ""))).options)]
    except UsageError:
        return []


def _typed(where: str, key: str, value: Any) -> Any:
    """The value of a key, a list as a tuple; UsageError for a wrong type, or a setting that does not exist."""
    types = TYPES.get(key, (str,))
    if not isinstance(value, types) or isinstance(value, bool):
        raise UsageError(f"{where}: {key} = {value!r} is no {' or '.join(kind.__name__ for kind in types)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where}: {key} = {value} is not finite")
    if isinstance(value, list):
        for name in value:
            if name not in SETTINGS:
                raise UsageError(f"{where}: differs has {name!r}; there are {', '.join(SETTINGS)}")
        return tuple(value)
    return value


def _refuse_unused(where: str, promise: Promise, keys: Sequence[str], options: Sequence[str]) -> None:
    """UsageError for a key that a promise of this kind does not use."""
    used = KINDS[promise.kind]
    takes_options = "model" in used
    for key in keys:
        if key not in used and not (takes_options and key in options):
            keys_of_kind = ", ".join([*used, *(options if takes_options else ())])
            raise UsageError(f"{where}: {key!r} is not used by a promise of {promise.kind}, which has {keys_of_kind}")


def _refuse_values(where: str, promise: Promise) -> None:
    """UsageError for values that make no promise, or contradict each other."""
    bounded = promise.at_least is not None or promise.at_most is not None
    if bounded == bool(promise.not_worse_than):
        raise UsageError(f"{where}: give either at_least or at_most, or not_worse_than")
    if promise.kind != "a bound" and not promise.not_worse_than and promise.at_least is None:
        raise UsageError(f"{where}: a promise of {promise.kind} needs at_least, a least ratio or percentage")
    if promise.margin < 0:
        raise UsageError(f"{where}: margin = {promise.margin}: points that may be lost, 0 or more")
    if promise.undecided not in ("broken", "passes"):
        raise UsageError(f"{where}: undecided = {promise.undecided!r}: 'broken' or 'passes'")
    if bool(promise.base) != bool(promise.benchmarks):
        raise UsageError(f"{where}: base and benchmarks go together: the benchmarks, and the checkout to compare with")
    if promise.base and promise.metric not in ("", SPEED):
        raise UsageError(f"{where}: metric = {promise.metric!r}: benchmarks are about {SPEED}")
    if promise.timings and promise.metric not in ("", SPEED):
        raise UsageError(f"{where}: metric = {promise.metric!r}: timings are about {SPEED}")
    if "task" in KINDS[promise.kind] and not (promise.task and promise.model):
        raise UsageError(f"{where}: a promise needs a task and a model, or timings, or a base and benchmarks")
    if promise.metric in (SPEED, PARITY) and not (promise.timings or promise.base or promise.peer):
        raise UsageError(f'{where}: {promise.metric} is versus a peer: add peer = "transformers"')
    for key in ("limit", "images"):
        if (value := getattr(promise, key)) is not None and value < 1:
            raise UsageError(f"{where}: {key} = {value}: at least one image")
