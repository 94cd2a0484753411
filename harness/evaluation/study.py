"""Studies: trains and evaluates the cells without a record, and writes the table and the figure."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.florence2 import choose_device
from harness import published, tracking
from harness.cluster.ray_calls import RayCalls
from harness.cluster.ray_cluster import Spread
from harness.errors import ResourceError
from harness.evaluation.evaluate import evaluate
from harness.evaluation.request import Request, Scorers
from harness.progress import Progress
from harness.provenance import provenance
from harness.report import studies as shown

if TYPE_CHECKING:
    from harness.protocols.ablate import Cell, World
    from harness.protocols.studies import Evaluation, Study

RUNS = Path("runs/ablations")
SPLITS = {"coco_caption": "test", "coco_detection": "val2017", "flickr30k": "test", "refcoco_res": "val"}
MODEL = "florence2-nano"  # its entry loads the checkpoint of a cell
log = logging.getLogger(__name__)


def run_cells(
    studies: Sequence[Study], arms: list[str] | None, seeds: range, world: str, jobs: int | None, device: str | None,
    minutes: float | None, out: Path, command: list[str], spread: Spread | None = None,
) -> None:  # fmt: skip
    """Runs the cells of the studies that have no record, `jobs` in parallel, each in a process of its own.

    With `spread`, on the workers of a Ray cluster, each on its own device; they need not share the folder of results.
    No cell starts after `minutes`.  ResourceError where a process dies; finished cells keep their records.
    """
    queue = _missing(studies, arms, seeds, world, out)
    device = choose_device(device) if spread is None else device
    jobs = jobs or (4 if device is not None and device.startswith("cuda") else min(4, os.cpu_count() or 1))
    end = time.monotonic() + 60 * minutes if minutes is not None else None
    with _pool(jobs, len(queue), spread) as pool, Progress("running", len(queue), unit="cells") as progress:
        jobs = pool.workers if isinstance(pool, RayCalls) else jobs
        threads = 1 if isinstance(pool, RayCalls) else max(1, (os.cpu_count() or 1) // jobs)
        log.info("%d cells to run, %d in parallel", len(queue), jobs)
        pending: dict[Future[dict[str, Any]], tuple[str, Cell]] = {}
        while queue or pending:
            while queue and len(pending) < jobs and (end is None or time.monotonic() < end):
                title, cell = queue.pop(0)
                call = pool.submit(run_cell, cell, world, RUNS.absolute(), out.absolute(), device, command, threads)
                pending[call] = title, cell
            if not pending:
                break
            finished = next(as_completed(list(pending)))
            title, cell = pending[finished]
            try:
                record = finished.result()
            except BrokenProcessPool as error:
                cells = ", ".join(title for title, _ in pending.values())
                raise ResourceError(
                    f"a process died (out of memory?) while it ran {cells}; run the same command again to resume, "
                    "with fewer cells in parallel: --jobs 1"
                ) from error
            except ResourceError as error:
                raise ResourceError(f"{title}: {error}; the same command resumes") from error
            del pending[finished]
            _keep(out, world, cell, record)
            log.info("%s: %.0f s", title, record["seconds"])
            _send(title, out, world, cell, record)
            progress.update()


def _pool(jobs: int, cells: int, spread: Spread | None) -> ProcessPoolExecutor | RayCalls:
    """The executor of cells: processes of this machine, or the workers of a cluster."""
    if spread is not None:
        return RayCalls(spread)
    return ProcessPoolExecutor(min(jobs, max(1, cells)), multiprocessing.get_context("spawn"))


def _keep(out: Path, world: str, cell: Cell, record: Mapping[str, Any]) -> None:
    """Writes the record of a cell that was written on another machine only."""
    from harness.protocols import ablate

    if ablate.read_record(out, world, cell) is None:
        ablate.write_record(out, world, cell, record)


def _send(title: str, out: Path, world: str, cell: Cell, record: Mapping[str, Any]) -> None:
    """Sends a finished cell to the trackers, as a run."""
    from harness.protocols import ablate

    values: dict[str, float] = {"speed/seconds": record["seconds"]}
    for evaluation, by_task in record["evaluations"].items():
        for task, number in by_task.items():
            name = f"{evaluation or 'as trained'}/{task} {number['metric']}"
            bounds = {name: number["value"], f"{name} low": number.get("low"), f"{name} high": number.get("high")}
            values |= {key: value for key, value in bounds.items() if value is not None}
    facts: dict[str, str | int] = {"world": world, "seed": cell.seed, "arm": cell.arm.about, "cell": cell.identity}
    with tracking.run(title, facts):
        tracking.log(values, sum(phase.steps for phase in cell.arm.phases))
        tracking.artifact(ablate.record_path(out, world, cell))


def _missing(
    studies: Sequence[Study], arms: list[str] | None, seeds: range, world: str, out: Path
) -> list[tuple[str, Cell]]:
    """The title and cell of each cell without a record; equal cells of several studies once."""
    missing: dict[str, tuple[str, Cell]] = {}
    for study in studies:
        for (arm, seed), cell in _cells(study, seeds, world).items():
            if (not arms or arm in arms) and _record(out, world, cell) is None:
                missing.setdefault(cell.identity, (f"{study.name}: {arm}, seed {seed}", cell))
    return list(missing.values())


def _cells(study: Study, seeds: Sequence[int], world: str) -> dict[tuple[str, int], Cell]:
    from harness.protocols import ablate, studies

    return ablate.cells_of(study, seeds, studies.full) if world == "full" else ablate.cells_of(study, seeds)


def _record(out: Path, world: str, cell: Cell) -> dict[str, Any] | None:
    from harness.protocols import ablate

    return ablate.read_record(out, world, cell)


def run_cell(
    cell: Cell, world: str, runs: Path, out: Path, device: str | None, command: list[str], threads: int
) -> dict[str, Any]:
    """The record of one cell, trained and evaluated in this process, on a CPU with this number of threads.

    Training states go to `runs`, and the record to `out`.  `device` None: a GPU if this machine has one.
    """
    import torch

    from harness.protocols import ablate

    chosen = choose_device(device)
    if chosen == "cpu":
        torch.set_num_threads(threads)
    root = _root(world)

    def evaluate(checkpoint: Path, evaluation: Evaluation, scratch: Path) -> Mapping[str, Mapping[str, Any]]:
        return _evaluated(checkpoint, evaluation, scratch, root, chosen)

    return ablate.run_cell(cell, _world(world), runs, out, evaluate, provenance(command), device=chosen)


def _world(name: str) -> World:
    from harness.protocols.ablate import World
    from tasks.miniature import small_world, training

    if name == "full":
        return World("full", training.every_scene, training.FIRST_TRAINING_SEED)
    return World("small", small_world.small_scene, small_world.FIRST_TRAINING_SEED)


def _root(world: str) -> Path:
    from tasks import miniature

    return miniature.ensure() if world == "full" else miniature.ensure_small()


def _evaluated(
    checkpoint: Path, evaluation: Evaluation, scratch: Path, root: Path, device: str
) -> dict[str, dict[str, Any]]:
    """The metric of each task of METRICS, with the evaluation's prompts, resolution and search."""
    from harness.florence2.prompts import FORMS
    from harness.protocols.studies import METRICS

    prompts = ",".join(f"{kind}={evaluation.form}" for kind, forms in FORMS.items() if evaluation.form in forms) or None
    numbers: dict[str, dict[str, Any]] = {}
    for name, metric in METRICS.items():
        request = Request(
            task=name, model=MODEL, name="cell", split=SPLITS[name], data=str(root), weights=str(checkpoint),
            device=device, dtype="float32", batch_size=64, out=scratch / "answers", scorers=Scorers(meteor=False),
            options={
                "beams": 1, "max_new_tokens": 100, "resolution": evaluation.side, "prompt": prompts,
                **evaluation.search,
            },
        )  # fmt: skip
        run = evaluate(request)
        numbers[name] = {"metric": metric, **asdict(run.metrics[metric]), "seconds": run.timings["seconds"]}
    return numbers


def render(study: Study, seeds: Sequence[int], world: str, out: Path, to: Path) -> Path:
    """Writes `NAME.md`, `.csv`, `.svg` and `.png` of a study's records; the path of `NAME.md`."""
    result = result_of(study, seeds, world, out)
    to.mkdir(parents=True, exist_ok=True)
    (to / f"{study.name}.md").write_text(shown.markdown(result))
    (to / f"{study.name}.csv").write_text(shown.table(result))
    if result.run:
        shown.draw(result, to / study.name)
    return to / f"{study.name}.md"


def result_of(study: Study, seeds: Sequence[int], world: str, out: Path) -> shown.StudyResult:
    """What the records of a study say.

    An evaluation that a record lacks is shown as not run; the others of the record are shown.
    """
    from harness.protocols.studies import MARGINS, METRICS

    seconds: dict[tuple[str, str], dict[int, float]] = {}
    values: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    cells = _cells(study, seeds, world)
    done = 0
    for (name, seed), cell in cells.items():
        # Without evaluations, the cell matches any record of the same training, complete or not.
        record = _record(out, world, replace(cell, arm=replace(cell.arm, evaluations={})))
        done += record is not None
        for evaluation in study.arms[name].evaluations:
            by_seed = values.setdefault((name, evaluation), {})
            if record is not None and evaluation in record["evaluations"]:
                numbers = record["evaluations"][evaluation]
                by_seed[seed] = {task: number["value"] for task, number in numbers.items()}
                if all("seconds" in number for number in numbers.values()):
                    spent = sum(number["seconds"] for number in numbers.values())
                    seconds.setdefault((name, evaluation), {})[seed] = spent
    paper = {name: dict(zip(METRICS, numbers, strict=True)) for name, numbers in study.paper.items()}
    abouts = {name: arm.about for name, arm in study.arms.items()}
    ordered = {key: values[key] for name in study.arms for key in values if key[0] == name}
    results = shown.results_of(ordered, (study.against, ""), abouts, paper)
    return shown.StudyResult(
        study.name, study.question, study.against, study.says, study.locator, results, METRICS, done, len(cells), world,
        _claims(study), paper, MARGINS, _costs(study, seconds),
    )  # fmt: skip


def _costs(study: Study, seconds: Mapping[tuple[str, str], Mapping[int, float]]) -> dict[tuple[str, str], shown.Spread]:
    """The seconds of each evaluation over those of the baseline, for a study that compares searches."""
    if not any(evaluation.search for arm in study.arms.values() for evaluation in arm.evaluations.values()):
        return {}
    base = seconds.get((study.against, ""), {})
    return {
        key: shown.Spread.of([spent / base[seed] for seed, spent in by_seed.items()])
        for key, by_seed in seconds.items()
        if key != (study.against, "") and by_seed.keys() <= base.keys()
    }


def _claims(study: Study) -> list[tuple[str, str, str]]:
    """Claim, verdict and note of each claim that the study covers."""
    claims = {claim.id: claim for claim in published.claims()}
    return [(claims[name].claim, claims[name].verdict, claims[name].note) for name in study.claims]
