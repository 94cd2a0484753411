"""Commands that make numbers: run, score, train."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import baselines
import tasks
from harness import runner, store
from harness.cli.options import (
    MINIATURE,
    RESULTS,
    Data,
    Json,
    Out,
    Scorers,
    Seed,
    Split,
    TaskNames,
    command_line,
    load,
    root_of,
    show_run,
    splits_of,
)
from harness.core import Model, Run, RunSpec, Sample, Task
from harness.data import manifest
from harness.errors import IncompleteError, UsageError
from harness.protocols import zero_shot
from harness.provenance import provenance
from harness.store import RunFolder

app = App()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """Options common to all models."""

    weights: str | None = None
    "Checkpoint folder, or hub repository (owner/name[@revision]), instead of the model's own."
    device: str | None = None
    "cpu, cuda, cuda:1 ... [default: a GPU if there is one]"
    dtype: str | None = None
    "float32, bfloat16, float16, int8 (CPU) or float8 (GPU) [default: float32 on a CPU, bfloat16 on a GPU]"
    batch_size: int | None = None
    "Answers written together; changes no answer [default: 32 on a CPU, 64 on a GPU]"
    beams: int | None = None
    "Beams of the search, 1 for greedy [default: 3]"
    max_new_tokens: int | None = None
    "Longest answer in tokens; longer ones are cut and counted as truncated [default: 1024]"
    resolution: int | None = None
    "Side of the input in pixels [default: the checkpoint's, 768 for the published ones]"
    prompt: str | None = None
    "Other forms of asking, as kind=form with commas: find=said, refer=open, caption=detailed ..."
    threads: str | None = None
    "Threads of a CPU, or 'auto': whichever count is quickest when it is tried [default: torch's, one a core]"
    fast_resize: Annotated[bool, Parameter(negative=())] = False
    "Resize with torch, about 3 times as quick; off by up to 2 levels of 255 in 0.05 to 0.2 % of values."

    def setting(self, root: Path, samples: Sequence[Sample[Any]]) -> baselines.Setting:
        """For a model's `build`.  UsageError for a --weights that is empty."""
        if self.weights is not None and not self.weights.strip():
            raise UsageError("--weights is empty: a checkpoint folder, or owner/name[@revision]")
        return baselines.Setting(
            root=root,
            samples=samples,
            weights=self.weights,
            device=self.device,
            dtype=self.dtype,
            batch_size=self.batch_size,
            beams=self.beams,
            max_new_tokens=self.max_new_tokens,
            resolution=self.resolution,
            prompt=self.prompt,
            threads=self.threads,
            fast_resize=self.fast_resize,
        )


@app.command
def run(
    *,
    task: TaskNames,
    model: Annotated[str, Parameter(help="A model's name: `models` lists them.")],
    split: Split = None,
    data: Data = None,
    options: Options = Options(),
    protocol: Annotated[
        str | None,
        Parameter(help="zero_shot: as it is; fine_tuned: on the training splits first [default: the model's]."),
    ] = None,
    limit: Annotated[
        int | None, Parameter(help="Ask about this many images only, drawn with --seed; marked partial.")
    ] = None,
    seed: Seed = 0,
    scorers: Scorers = Scorers(),
    export: Annotated[
        Path | None, Parameter(help="Write predictions in the official formats into this folder as well.")
    ] = None,
    out: Out = RESULTS,
    fresh: Annotated[bool, Parameter(negative=(), help="Ask everything again.")] = False,
    json: Json = False,
) -> None:
    """Ask a model a task's questions, keep the answers, mark them, and print the result with its intervals.

    The same command again resumes where it was stopped; a finished run prints its result and asks nothing.
    """
    entry = baselines.find(model)
    if protocol not in (None, "zero_shot", "fine_tuned"):
        raise UsageError(f"--protocol {protocol}: zero_shot or fine_tuned")
    tasks.select(task)  # a wrong name is said before any data is made
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("run is one process: torchrun starts `finetune`, whose checkpoint `run --weights` then takes")
    for one in tasks.select(task):
        list(splits_of(one, split))  # nor is a wrong split found after hours of training
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: a run asks about at least one image")
    if protocol == "fine_tuned" and entry.protocol != "fine_tuned" and options.weights is None:
        baselines.florence2.refuse(options.setting(Path(), ()))  # nor a wrong option
        options = replace(options, weights=str(_fine_tuned(task, model, data, options.device)))
    data_name, root = root_of(data, model, entry.embedded)
    wanted = _at_hand(tasks.select(task, embedded=data_name == MINIATURE), root, split, task)
    for one in wanted:
        for name in splits_of(one, split):
            manifest.require(one, root, name)  # before anything is asked
    chosen = [(marked, name) for one in wanted for marked in (scorers.of(one),) for name in splits_of(one, split)]
    built: Model | None = None
    records: list[Run] = []
    for one, name in chosen:
        samples = runner.choose(load(one, root, name), limit, seed)
        if built is None or entry.sees_targets:
            built = entry.build(options.setting(root, samples))
        seen = _seen(one, model, options.weights)
        spec = RunSpec(
            data=data_name,
            data_hash=manifest.digest(manifest.annotation_files(one, root, name)),
            task=one.name,
            version=one.version,
            split=name,
            model=model,
            fingerprint=built.fingerprint,
            protocol=_protocol(one, protocol, entry.protocol, seen),
            limit=limit,
            seed=seed,
        )
        folder = RunFolder(store.run_folder(out, spec))
        before = None if fresh else folder.read_run()
        told = {**provenance(command_line()), "seen": seen.said()}
        record = runner.run(one, samples, built, spec, folder, root, told, fresh=fresh)
        if record == before:
            finished = record.provenance.get("date", "before")
            print(f"nothing was asked: this run was finished on {finished}; --fresh asks again", file=sys.stderr)
        records.append(record)
        if export is not None and record.finished:
            _export(one, samples, folder, spec.fingerprint, export / f"{one.name}_{name}")
        if not json:
            show_run(record, folder, json)
    if json:
        print(store.as_json(records[0] if len(records) == 1 else records))
    incomplete = [f"{record.spec.task} {record.spec.split}" for record in records if record.status == "incomplete"]
    if incomplete:
        raise IncompleteError(
            f"{', '.join(incomplete)}: some questions failed, so there is no headline; the same command asks them again"
        )


def _fine_tuned(asked: str, model: str, data: str | None, device: str | None) -> Path:
    """The checkpoint that the model becomes on the tasks' training splits: made, gone on with, or found finished."""
    from harness.cli.finetune import tuned

    taught = [one.name for one in tasks.select(asked) if one.train_splits]
    if not taught:
        raise UsageError(f"--protocol fine_tuned: {asked} has no training split; --protocol zero_shot asks as it is")
    return tuned(model, task=None if asked == "all" else ",".join(taught), data=data, device=device)


def _seen(task: Task[Any], model: str, weights: str | None) -> zero_shot.Seen:
    """Which of a task's data the model's weights have seen, as far as their checkpoint says."""
    if model not in baselines.florence2.ENTRIES:
        return zero_shot.seen(task, None)
    return zero_shot.seen(task, baselines.florence2.checkpoint_folder(model, weights))


def _protocol(task: Task[Any], asked: str | None, usual: str, seen: zero_shot.Seen) -> str:
    """What a run is filed under: as asked, else by what the weights say they have seen, else the model's usual.

    UsageError where what was asked for and what the weights say are at odds.
    """
    if asked == "zero_shot" and seen.splits:
        raise UsageError(f"--protocol zero_shot: these weights were {seen.said()}; leave --protocol out")
    if asked == "fine_tuned" and seen.known and not seen.splits and task.train_splits:
        raise UsageError(f"--protocol fine_tuned: these weights were {seen.said()}; `finetune` does it first")
    return asked or ("fine_tuned" if seen.splits else usual)


def _at_hand(found: list[Task[Any]], root: Path, split: str | None, asked: str) -> list[Task[Any]]:
    """The tasks whose data is there, of several that were not named one by one; it is said which are left out."""
    named = {pattern.strip() for pattern in asked.split(",")}
    lacking = [one for one in found if one.name not in named and manifest.missing(one, root, splits_of(one, split))]
    if not lacking or len(lacking) == len(found):
        return found
    print(f"not there: {', '.join(one.name for one in lacking)}; `data check` says what they lack", file=sys.stderr)
    return [one for one in found if one not in lacking]


def _export(task: Task[Any], samples: Sequence[Sample[Any]], folder: RunFolder, fingerprint: str, to: Path) -> None:
    """The official result file, or folder where the format is one."""
    to.parent.mkdir(parents=True, exist_ok=True)
    path = to if task.predictions.folder else to.with_name(f"{to.name}.json")
    task.predictions.write(path, runner.answered(samples, runner.kept_answers(samples, folder, fingerprint)))
    print(f"predictions: {path}", file=sys.stderr)
