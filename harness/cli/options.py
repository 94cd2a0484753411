"""Options that several commands share, and how a run is printed.

This module imports no model and no task, so that commands on records start fast.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter, validators

from harness import store
from harness.cli.colour import painter
from harness.cluster.connection import Spread
from harness.core import Run
from harness.data import DATA_VARIABLE
from harness.errors import UsageError
from harness.report import text
from harness.store import RESULTS, RunFolder

__all__ = ["RESULTS"]
Data = Annotated[
    str | None,
    Parameter(
        help="Data root (folder of data sets), 'miniature' (embedded data), a dataset.toml of `data new`, or a copy in "
        f"parquet (hf://OWNER/NAME or a folder) [default: ${DATA_VARIABLE}, else miniature for embedded models]"
    ),
]
Annotations = Annotated[
    Path | None,
    Parameter(help="Annotation file or folder in the task's official format [default: the data root's]"),
]
Images = Annotated[
    Path | None,
    Parameter(help="Folder of images, named as in the annotations [default: the task's in the data root]"),
]
Strict = Annotated[
    bool, Parameter(negative=(), help="Refusal of files that need a conversion, such as a float for an id")
]
Candidates = Annotated[
    str | None,
    Parameter(help="First run of a re-ranking task: its id (or the beginning of it) or its folder"),
]
Top = Annotated[int | None, Parameter(help="Candidates of each query of the first run [default: 128]")]
Out = Annotated[Path, Parameter(help="Folder of results")]
Engines = Annotated[
    list[Path] | None,
    Parameter(name="--engine", negative=(), help="Folder of the data engine, for its page; may be repeated"),
]
Json = Annotated[bool, Parameter(negative=(), help="Output as JSON")]
TaskNames = Annotated[str, Parameter(help="Task names with commas, a glob such as 'refcoco*', or 'all'")]
TaskOfRun = Annotated[
    str | None, Parameter(help="package.module:NAME of the run's task, for a task of another package")
]
Seed = Annotated[
    int,
    Parameter(
        help="Random seed for --limit sampling, for --shots and for the bootstrap", validator=validators.Number(gte=0)
    ),
]
LogTo = Annotated[
    list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] | None,
    Parameter(
        negative=(),
        help="Experiment tracker that gets the progress and the numbers; may be repeated [default: none]",
    ),
]
Split = Annotated[str | None, Parameter(help="Split names with commas, or 'all' [default: the task's first]")]
Device = Annotated[
    str | None, Parameter(help="Device: cpu, cuda, cuda:1 ... [default: a GPU if there is one, else cpu]")
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelSetting:
    """Options of every model."""

    weights: str | None = None
    "Checkpoint folder or hub repository (owner/name[@revision]) [default: the model's own]"
    device: str | None = None
    "Device: cpu, cuda, cuda:1 ... [default: a GPU if there is one, else cpu]"
    dtype: str | None = None
    (
        "Precision: float32, bfloat16 (recommended on a CPU with AMX or AVX512_BF16), float16, int8 (CPU) or float8 "
        "(GPU) [default: float32 on a CPU, bfloat16 on a GPU]"
    )
    batch_size: int | None = None
    "Number of answers decoded together; changes no answer [default: 32 on a CPU, 64 on a GPU]"


@Parameter(name="*", group=Group("Many workers"))
@dataclass(frozen=True, kw_only=True)
class Workers:
    """Options of a run on the workers of a Ray cluster."""

    executor: Literal["local", "ray"] = "local"
    "Where the model answers: local, in this process; ray, on the workers of a Ray cluster"
    address: str | None = None
    "Ray cluster: HOST:PORT of its head, auto (that of this machine), or local (one for this run) [default: local]"
    workers: int | None = None
    "Number of workers [default: one for each GPU of the cluster, or for each core without GPUs]"
    gpus_per_worker: float | None = None
    "GPUs of each worker [default: 1, or 0 where the cluster has none]"
    chunk: int | None = None
    "Questions that a worker is given at once [default: by time, about 2 s; fewer at the end]"
    ship_images: Annotated[bool, Parameter(negative=())] = False
    "Sending of images to the workers, where they cannot read the data root"

    def spread(self) -> Spread | None:
        """The Spread that the options describe; None for one process.  UsageError for options that need ray."""
        given = {
            name: value
            for name, value in asdict(self).items()
            if name != "executor" and value is not None and value is not False
        }
        if self.executor == "ray":
            return Spread(**given)
        if given:
            raise UsageError(f"--{next(iter(given)).replace('_', '-')} is an option of --executor ray")
        return None


ONE_PROCESS = Workers()


def key_values(pairs: list[str] | None) -> dict[str, str]:
    """Keys and values of `--set key=value`; UsageError for a pair without "="."""
    values: dict[str, str] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: key=value, as in --set rate=1e-5")
        values[key.strip()] = value.strip()
    return values


def show_run(record: Run, folder: RunFolder, json: bool) -> None:
    """Prints a run: its record as JSON, or a text."""
    print(store.as_json(record) if json else text.describe(record, folder.path, painter()), flush=True)


def command_line() -> list[str]:
    """The command line for a record, without the path of this machine's interpreter.

    Bytes that are not UTF-8 become "?", since JSON cannot hold them.
    """
    return ["python -m harness", *(argument.encode("utf-8", "replace").decode() for argument in sys.argv[1:])]
