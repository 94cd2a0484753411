"""What must hold, and whether it does: promises, and the verdict on each.

A promise is a table of a TOML file (`read`):

    [promise.refcoco-floor]                  # a hard bound on a metric of a run made for it
    task = "refcoco"                         # a name, several, a glob, or "all": then one promise for each
    model = "florence2-nano-ft"
    limit = 24                               # images, drawn with `seed`
    at_least = 60.0                          # or at_most; of `metric`, the headline where it is not named

    [promise.no-worse]                       # the same questions, paired by sample with a run that is kept
    task = "all"
    model = "florence2-nano-ft"
    not_worse_than = "../results"            # a run, or the folder of results it is in, from this file's folder
    margin = 2.0                             # what may be lost

    [promise.decoding]                       # speed, and equality of answers, beside a peer in the same process
    task = "refcoco"
    model = "florence2-nano-ft"
    metric = "speed"                         # times as quick; "parity": percent of answers, token for token
    peer = "transformers"
    at_least = 1.2

    [promise.no-slower]                      # speed of micro-benchmarks, beside another checkout of this project
    base = "origin/main"                     # a git revision, or a folder; both are run by turns
    benchmarks = "benchmarks/test_micro.py"  # what pytest is given, with pytest-benchmark
    at_least = 0.85                          # times as quick, each of them

    [promise.recorded]                       # speed, from seconds that were recorded by turns, a pair a round
    timings = "timings.json"                 # {"base": [...], "head": [...]}
    at_least = 0.95

A bound that is broken is broken, whether or not chance could have done it; which of the two is said.  "Not worse" is
broken only where more than the margin is lost and the difference's 95 % interval leaves out none; it is kept where the
interval leaves out a loss of more than the margin; else it cannot be told, and it is said how many images it needs.
Speed is broken where the median ratio is below what was promised and a rank test of the rounds agrees.  What cannot be
told counts as broken, unless the promise has `undecided = "passes"`.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from harness.errors import UsageError

SPEED, PARITY, MEMORY = "speed", "parity", "peak memory MiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One table of the file; None and '' where it says nothing."""

    name: str
    task: str = ""
    model: str = ""
    weights: str | None = None
    data: str | None = None
    split: str | None = None
    limit: int | None = None
    seed: int = 0
    metric: str = ""
    at_least: float | None = None
    at_most: float | None = None
    not_worse_than: str = ""
    margin: float = 0.0
    peer: str = ""
    images: int = 16
    timings: str = ""
    base: str = ""
    benchmarks: str = ""
    undecided: Literal["broken", "passes"] = "broken"


@dataclass(frozen=True, slots=True)
class Gates:
    """A file of promises, and the folder of answers whose marking is frozen (None: none is)."""

    promises: Sequence[Promise]
    frozen: Path | None


def read(path: Path) -> Gates:
    """UsageError, with the place, for what is no file of promises."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}; harness/gates.py says what such a file holds"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    tables = found.pop("promise", {})
    frozen = found.pop("frozen", None)
    if found or not isinstance(tables, dict) or not isinstance(frozen, str | None):
        raise UsageError(f"{path}: it holds tables [promise.NAME] and `frozen`, a folder; it has {', '.join(found)}")
    promises = [_promise(path, name, table) for name, table in tables.items()]
    if not promises and frozen is None:
        raise UsageError(f"{path} promises nothing")
    return Gates(promises, None if frozen is None else path.parent / frozen)


def _promise(path: Path, name: str, table: object) -> Promise:
    where = f"{path}, [promise.{name}]"
    if not isinstance(table, dict):
        raise UsageError(f"{where}: a table")
    kinds: dict[str, tuple[type, ...]] = {
        "limit": (int,), "seed": (int,), "images": (int,), "margin": (int, float), "at_least": (int, float),
        "at_most": (int, float),
    }  # fmt: skip
    known = [field.name for field in fields(Promise) if field.name != "name"]
    for key, value in table.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
            raise UsageError(f"{where}: there is no {key!r}{hint}")
        kind = kinds.get(key, (str,))
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UsageError(f"{where}: {key} = {value!r} is no {' or '.join(one.__name__ for one in kind)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{where}: {key} = {value} is not finite")
    one = Promise(name=name, **table)
    bounds = [one.at_least is not None or one.at_most is not None, bool(one.not_worse_than)]
    if sum(bounds) != 1:
        raise UsageError(f"{where}: either at_least and at_most, or not_worse_than")
    if one.margin < 0:
        raise UsageError(f"{where}: margin = {one.margin}: what may be lost, 0 or more")
    if one.undecided not in ("broken", "passes"):
        raise UsageError(f"{where}: undecided = {one.undecided!r}: 'broken' or 'passes'")
    if bool(one.base) != bool(one.benchmarks):
        raise UsageError(f"{where}: base and benchmarks go together: what is timed, and beside what")
    if one.base and one.at_least is None:
        raise UsageError(f"{where}: at_least: how many times as quick as the base")
    beside_base = table.keys() - {"base", "benchmarks", "at_least", "undecided", "metric"}
    if one.base and (beside_base or one.metric not in ("", SPEED)):
        raise UsageError(f"{where}: beside base and benchmarks there are at_least and undecided, and nothing else")
    if not one.timings and not one.base and not (one.task and one.model):
        raise UsageError(f"{where}: it needs a task and a model, or timings, or a base and benchmarks")
    if one.metric in (SPEED, PARITY) and not one.timings and not one.base and not one.peer:
        raise UsageError(f"{where}: {one.metric} is beside a peer: peer = 'transformers'")
    for key in ("limit", "images"):
        if (value := getattr(one, key)) is not None and value < 1:
            raise UsageError(f"{where}: {key} = {value}: at least one image")
    return one
