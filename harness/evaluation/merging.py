"""Joins the shards of runs, which independent jobs asked, into whole runs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import runner, store
from harness.core import Run, RunSpec, Sample
from harness.errors import DataError, UsageError
from harness.evaluation.plan import loaded_of
from harness.evaluation.request import RESULTS, Scorers
from harness.provenance import provenance
from harness.runner import Queried
from harness.shards import Shard, parse, places_of
from harness.store import RunFolder

log = logging.getLogger(__name__)
COMMAND = ("harness.merge",)


@dataclass(frozen=True, slots=True)
class Part:
    """The folder and the record of one shard, and which part of the run it is."""

    shard: Shard
    folder: RunFolder
    record: Run


@dataclass(frozen=True, slots=True)
class Merged:
    """A run and its folder; the names of the shards of which answers are missing, such as "3/16"."""

    run: Run
    folder: RunFolder
    missing: tuple[str, ...]


def merge(
    folders: Sequence[Path],
    *,
    data: str | None = None,
    task: str | None = None,
    scorers: Scorers | None = None,
    out: Path = RESULTS,
    command: Sequence[str] = COMMAND,
) -> Iterator[Merged]:
    """The runs whose shards are under these folders, each joined and scored in its folder under `out`.

    `task` is `package.module:NAME` for runs of another package's task.  A run with missing answers is incomplete: the
    `run` command without --shard asks for them, and so does the command of a missing shard, with another merge.

    UsageError where a folder is not there or no shard is found; DataError where the annotations are not the runs' own.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}; `merge` takes folders of results (what --out named)")
    by_run: dict[RunSpec, list[Part]] = {}
    for part in _parts(folders):
        by_run.setdefault(part.record.spec, []).append(part)
    if not by_run:
        where = ", ".join(map(str, folders))
        raise UsageError(f"there are no shards under {where}; `run --shard 1/16 --out FOLDER` makes one")
    for spec, parts in by_run.items():
        yield _merged(spec, parts, data, task, scorers or Scorers(), out, command)


def _parts(folders: Iterable[Path]) -> Iterator[Part]:
    """The shards under folders; one whose record names no shard is logged and left out."""
    seen: set[Path] = set()
    for top in folders:
        for folder, record in store.shards(top):
            if folder.path.resolve() in seen:
                continue
            seen.add(folder.path.resolve())
            try:
                yield Part(parse(str(record.provenance.get("shard", ""))), folder, record)
            except UsageError:
                log.warning("%s: its record names no shard; left out", folder.path)


def _merged(
    spec: RunSpec, parts: Sequence[Part], data: str | None, named: str | None, scorers: Scorers, out: Path,
    command: Sequence[str],
) -> Merged:  # fmt: skip
    """One run, from all shards that were found of it."""
    task, loaded, _ = loaded_of(parts[0].record, data, named)
    if task.version != spec.version:
        raise DataError(
            f"the shards of {spec.task} were asked for version {spec.version} of the task, and this is version "
            f"{task.version}: merge them with the version that asked, then `score` the run"
        )
    scored = scorers.of(task)
    folder = RunFolder(store.run_folder(out, spec))
    with folder.locked():
        twice = runner.gather(loaded.samples, spec.fingerprint, folder, [part.folder for part in parts])
        answers = runner.kept_answers(loaded.samples, folder, spec.fingerprint)
        unanswered = [sample for sample in loaded.samples if sample.id not in answers]
        missing = _shards(loaded.samples, unanswered, parts[0].shard.count)
        recorded = {name: reason for part in parts for name, reason in _failures(part).items()}
        reasons = {name: recorded.get(name, f"shard {shard} has no answer") for name, shard in missing.items()}
        record = parts[0].record
        facts = {name: value for name, value in record.provenance.items() if name not in ("shard", "failures")}
        now = provenance(command)
        merged_by = {name: now[name] for name in ("date", "command", "commit")}
        base = Run(
            schema=store.SCHEMA,
            id=store.run_id(spec),
            spec=spec,
            status="running",
            headline=task.headline,
            provenance={**facts, "shards": _described(parts, twice), "merged": merged_by},
        )
        asked = sum(part.record.counts.get("asked now", 0) for part in parts)
        run = runner.conclude(scored, loaded.samples, base, folder, Queried(asked, reasons, _timings(parts)))
        folder.write_run(run)
    return Merged(run, folder, tuple(map(str, sorted(set(missing.values())))))


def _shards(samples: Sequence[Sample[Any]], unanswered: Sequence[Sample[Any]], count: int) -> dict[str, Shard]:
    """The shard, of `count`, to which each unanswered sample belongs, by its id."""
    places = places_of(samples)
    return {sample.id: Shard(places[sample.cluster] % count + 1, count) for sample in unanswered}


def _failures(part: Part) -> dict[str, str]:
    """The failures that a shard recorded, by sample id."""
    return dict(part.record.provenance.get("failures", {}))


def _described(parts: Sequence[Part], twice: int) -> dict[str, Any]:
    """The shards of a run in its record: their numbers, how many answers came twice, and the machines with a count."""
    machines = Counter(_machine(part.record.provenance) for part in parts)
    return {
        "of": sorted({part.shard.count for part in parts}),
        "found": len(parts),
        "answered twice": twice,
        "machines": dict(machines.most_common(20)),
    }


def _machine(facts: Mapping[str, Any]) -> str:
    """The device of a shard, and the versions that a number can depend on."""
    model = facts.get("model", {})
    machine = facts.get("machine")
    processor = machine.get("processor", "") if isinstance(machine, Mapping) else ""
    packages = facts.get("packages")
    torch = packages.get("torch") if isinstance(packages, Mapping) else None
    return f"{model.get('device', 'cpu')}, {processor}, harness {facts.get('harness', '?')}, torch {torch}"


def _timings(parts: Sequence[Part]) -> dict[str, Any]:
    """Seconds of all shards together, and rates of one process: what all gave, per second of all."""
    timed = [part.record.timings for part in parts if "answers/s" in part.record.timings]
    seconds = sum(timings["seconds"] for timings in timed)
    if not seconds:
        return {}
    rates = {
        name: sum(timings[name] * timings["seconds"] for timings in timed) / seconds
        for name in ("answers/s", "images/s", "tokens/s")
    }
    peaks = {
        name: max(timings[name] for timings in timed if name in timings)
        for name in ("peak memory MiB", "peak GPU memory MiB")
        if any(name in timings for timings in timed)
    }
    return {"seconds": seconds, **peaks, **rates}
