"""The commands of the data engine: `engine annotate`, `calibrate`, `import`, `filter`, `refine` and so on."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators

from baselines.endpoint.options import Options
from harness import tracking
from harness.cli.options import ONE_PROCESS, Device, LogTo, Workers, key_values
from harness.data_engine.annotate import Asking
from harness.data_engine.asking import Budget
from harness.data_engine.audit_estimates import AuditResult
from harness.data_engine.audit_verdicts import DECISIONS
from harness.data_engine.calibration import Curve
from harness.data_engine.filtering import is_stale
from harness.data_engine.shards import Engine
from harness.data_engine.stories import numbers, reasons, story
from harness.data_engine.waterfall import Flow, waterfall
from harness.errors import UsageError
from harness.evaluation import engine as python
from harness.evaluation import engine_page, rewriting
from harness.evaluation.engine_flags import SUSPECT
from harness.evaluation.specialists import Named
from harness.report import text
from harness.report.engine_rounds import tables as rounds_tables
from harness.shards import parse as parse_shard
from harness.sinks import line

app = App()
engine_app = App(
    name="engine", help="The data engine: specialists annotate images, filters decide what is kept, as for FLD-5B."
)
app.command(engine_app)
SHOWN = 20  # annotations of a reason
Folder = Annotated[Path, Parameter(help="Folder of the engine")]


@engine_app.command
def annotate(
    *,
    data: Annotated[str, Parameter(help="Folder of images, a data root, or 'miniature' (embedded scenes)")],
    to: Annotated[Path, Parameter(help="Folder of the engine, which is made or resumed")],
    recipe: Annotated[
        str | None, Parameter(help="Recipe: fld, nano, or a TOML file [default: the folder's own, else fld]")
    ] = None,
    specialist: Annotated[
        list[str] | None,
        Parameter(help="KIND=MODEL, such as detect=owlv2-b; may be repeated [default: the recipe's]", negative=()),
    ] = None,
    categories: Annotated[str, Parameter(help="Names with commas, for detectors that need some")] = "",
    benchmarks: Annotated[
        Path | None,
        Parameter(help="Data root whose evaluation images are kept out [default: $FLORENCE2_HARNESS_DATA]"),
    ] = None,
    limit: Annotated[int | None, Parameter(help="Number of images, the first by name [default: all]")] = None,
    shard: Annotated[str | None, Parameter(help="Part of the images, such as 3/16, for independent jobs")] = None,
    device: Device = None,
    batch_size: Annotated[int | None, Parameter(help="Batch size [default: the model's own]")] = None,
    source: Annotated[str, Parameter(help="Source of the images, for exports")] = "",
    licence: Annotated[str, Parameter(help="Licence of the images, for exports")] = "",
    workers: Workers = ONE_PROCESS,
    log_to: LogTo = None,
) -> None:
    """Ask specialists about every image, keep what they answer, and filter it.

    The same command resumes an interrupted one, and asks nothing twice.  A specialist is any model of `models`, and can
    be evaluated by `run` before it is trusted.

    python -m harness engine annotate --data miniature --to ENGINE --recipe nano

    python -m harness engine annotate --data photos --to ENGINE --specialist detect=owlv2-b --categories cat,dog
    """
    named: dict[str, list[Named]] = {}
    for each in specialist or ():
        kind, equals, model = each.partition("=")
        if not equals or not model:
            raise UsageError(f"--specialist {each}: KIND=MODEL, such as detect=owlv2-b")
        named.setdefault(kind.strip(), []).append(model.strip())
    listed = [name.strip() for name in categories.split(",") if name.strip()]
    with tracking.to(log_to or ()):
        done = python.annotate(
            data, to, recipe=recipe, specialists=named, categories=listed,
            benchmarks=benchmarks, limit=limit, shard=None if shard is None else parse_shard(shard), device=device,
            batch_size=batch_size, source=source, licence=licence, spread=workers.spread(),
        )  # fmt: skip
    rows = [_asked(kind, name, asked) for (kind, name), asked in done.asked.items()]
    print(text.table(("kind", "specialist", "questions", "asked now", "unreadable", "failed", "why"), rows))
    print(line(f"images: {done.engine.count:,}, {done.dropped_images:,} of them dropped"))
    _print_flows(done.engine)


@engine_app.command
def calibrate(
    folder: Folder,
    /,
    *,
    truth: Annotated[
        str | None,
        Parameter(
            help="TASK:SPLIT, a split for training such as coco_detection:train2017 [default: the embedded scenes']"
        ),
    ] = None,
    precision: Annotated[float, Parameter(help="Precision that a threshold must reach, from 0 to 1")] = 0.9,
    data: Annotated[str | None, Parameter(help="Data root of the truth [default: the engine's]")] = None,
    limit: Annotated[int | None, Parameter(help="Number of images with truth [default: all]")] = None,
) -> None:
    """Choose the threshold of each specialist's scores on images with truth, and filter again.

    The lowest threshold with the precision is chosen.  The curves are kept in the recipe.

    python -m harness engine calibrate ENGINE --truth coco_detection:train2017 --precision 0.9
    """
    curves = python.calibrate(folder, truth=truth, precision=precision, data=data, limit=limit)
    header = ("specialist", "images", "regions", "threshold", "precision", "recall")
    print(text.table(header, [_calibrated(each) for each in curves]))
    python.filter(folder)


@engine_app.command(name="import")
def import_(
    folder: Folder,
    /,
    *,
    coco: Annotated[Path | None, Parameter(help="File of objects or captions in COCO's format")] = None,
    verdicts: Annotated[
        list[Path] | None,
        Parameter(help="File of verdicts on the sample of an audit; may be repeated", negative=()),
    ] = None,
    name: Annotated[str | None, Parameter(help="Name of the origin [default: that of the file or sample]")] = None,
    licence: Annotated[str, Parameter(help="Licence of the annotations, for exports")] = "",
) -> None:
    """Import annotations of people, which filters never move or drop, and filter again.

    python -m harness engine import ENGINE --coco instances_train2017.json --name coco --licence "CC BY 4.0"
    python -m harness engine import ENGINE --verdicts verdicts-Ann.jsonl
    """
    done = python.import_people(folder, coco=coco, verdicts=verdicts or (), name=name, licence=licence)
    print(line(f"{done.annotations:,} annotations by {done.origin.name}"))
    for reason, count in sorted(done.left_out.items()):
        print(line(f"left out: {count:,} {reason}"))
    _print_flows(Engine.open(folder))


@engine_app.command
def flag(
    folder: Folder,
    /,
    *,
    least: Annotated[float, Parameter(help="Score from which an image is listed, from 0 to 1")] = SUSPECT,
) -> None:
    """Score images for nudity, and list the highest scores; nothing is dropped, and much is missed.

    The scores are kept: `engine filter ENGINE --set images.nsfw=0.8` drops by them.

    python -m harness engine flag ENGINE
    """
    done = python.flag(folder, least=least)
    print(line(f"images scored now: {done.scored:,}; with a score of {least:g} or more: {len(done.images):,}"))
    for reference, score in done.images[:SHOWN]:
        print(line(f"{score:.2f} {reference}"))


@engine_app.command(name="filter")
def filter_(
    folder: Folder,
    /,
    *,
    set_: Annotated[
        list[str] | None,
        Parameter(name="--set", help="STAGE.SETTING=VALUE, such as boxes.nms=0.6; may be repeated", negative=()),
    ] = None,
    recipe: Annotated[str | None, Parameter(help="Recipe whose stages replace the folder's [default: none]")] = None,
) -> None:
    """Decide again what is kept.  Nothing is asked, and nothing that was answered is lost.

    python -m harness engine filter ENGINE --set boxes.nms=0.6 --set boxes.scores.owlv2-b=0.3
    """
    filtered = python.filter(folder, set_ or (), recipe=recipe)
    print(line(f"shards with new verdicts: {filtered.made:,}; unchanged: {filtered.already:,}"))
    _print_flows(Engine.open(folder))


@engine_app.command
def refine(
    folder: Folder,
    /,
    *,
    rounds: Annotated[int, Parameter(help="Number of rounds that the folder shall have")] = 1,
    model: Annotated[str | None, Parameter(help="Model that is taught [default: the start of the recipe]")] = None,
    weights: Annotated[
        str | None,
        Parameter(help="Checkpoint folder or hub repository that every round begins from [default: its own]"),
    ] = None,
    teaching: Annotated[str | None, Parameter(help="Recipe of the training [default: the model's]")] = None,
    set_: Annotated[
        list[str] | None,
        Parameter(name="--set", help="Setting of that recipe, as in --set steps=500; may be repeated", negative=()),
    ] = None,
    taught: Annotated[
        list[str] | None, Parameter(help="Kind of question that is taught; may be repeated [default: all]", negative=())
    ] = None,
    kind: Annotated[
        list[str] | None,
        Parameter(
            help="Kind of question that the taught model is asked [default: the recipe's of regions]", negative=()
        ),
    ] = None,
    folds: Annotated[int, Parameter(help="Parts of the images; a model is taught for each, without it")] = 10,
    truth: Annotated[
        str | None,
        Parameter(help="TASK:SPLIT, a split for training that a round is judged on [default: the embedded scenes']"),
    ] = None,
    data: Annotated[str | None, Parameter(help="Data root of the truth [default: the engine's]")] = None,
    precision: Annotated[float, Parameter(help="Precision of what the taught model alone adds, from 0 to 1")] = 0.9,
    device: Device = None,
    batch_size: Annotated[int | None, Parameter(help="Batch size of asking [default: the model's own]")] = None,
) -> None:
    """Teach a model what is kept, have it annotate the images again, and combine it with the specialists.

    A round is promoted only if it is better on images with truth; else it is recorded, and nothing is built on it.  The
    same command resumes an interrupted one, and asks nothing twice.

    python -m harness engine refine ENGINE --model florence2-nano --folds 2 --set steps=400 --set optimiser=muon
    """
    states = python.refine(
        folder, rounds=rounds, model=model, weights=weights, teaching=teaching, changes=key_values(set_),
        taught=taught or (), kinds=kind or (), folds=folds, truth=truth, data=data, precision=precision, device=device,
        batch_size=batch_size,
    )  # fmt: skip
    for table in rounds_tables(states):
        print(text.table(table.head, table.rows))
        for note in table.notes:
            print(line(note))


@engine_app.command
def inspect(
    folder: Folder,
    /,
    *,
    image: Annotated[str | None, Parameter(help="Image whose story is printed, by its path in the data")] = None,
    why: Annotated[str | None, Parameter(help="Rule or stage whose verdicts are printed, such as boxes.score")] = None,
    toml: Annotated[bool, Parameter(negative=(), help="The recipe as TOML")] = False,
) -> None:
    """Print what an engine holds: from raw to kept by kind, specialist and reason.

    python -m harness engine inspect ENGINE --image photos/1.jpg

    python -m harness engine inspect ENGINE --why boxes.score
    """
    opened = Engine.open(folder)
    if opened.rounds and not toml and is_stale(opened):
        stale = "answers or settings are newer than the verdicts: `engine filter` brings them up to date"
        print(line(stale), file=sys.stderr)
    if toml:
        print(opened.recipe.toml())
    elif image is not None:
        _print_story(opened, image)
    elif why is not None:
        _print_reasons(opened, why)
    else:
        print(line(f"recipe {opened.recipe.name}; images: {opened.count:,} of {opened.data}"))
        _print_flows(opened)
        failed = [row for round_ in opened.rounds for row in opened.answers(round_) if row["failure"]]
        if failed:
            print(line(f"questions that failed: {len(failed):,}, first: {failed[0]['failure']}"))


@engine_app.command
def audit(
    engine: Folder,
    /,
    *,
    verdicts: Annotated[
        list[Path] | None,
        Parameter(help="File of verdicts, from the page or exported by Label Studio; may be repeated", negative=()),
    ] = None,
    sample: Annotated[int, Parameter(help="Number of annotations to judge")] = 400,
    least: Annotated[int, Parameter(help="Smallest number of each stratum: kind, origin, score and status")] = 20,
    seed: Annotated[int, Parameter(help="Random seed of the sample", validator=validators.Number(gte=0))] = 0,
) -> None:
    """Draw a sample of kept and dropped annotations for people to judge, or estimate from their verdicts.

    python -m harness engine audit ENGINE
    python -m harness engine audit ENGINE --verdicts verdicts-Ann.jsonl --verdicts verdicts-Bob.jsonl
    """
    if verdicts:
        _print_estimates(python.audited(engine, verdicts))
        return
    made = python.audit(engine, sample=sample, least=least, seed=seed)
    strata = len({item.stratum for item in made.sample.items})
    images = len({item.image for item in made.sample.items})
    print(line(f"{len(made.sample.items):,} annotations of {strata} strata, on {images:,} images"))
    for name in ("page.html", "second.html", "label-studio.json"):
        if (made.folder / name).exists():
            print(line(str(made.folder / name)))


@engine_app.command
def export(
    engine: Folder,
    /,
    *,
    as_: Annotated[
        str, Parameter(name="--as", help="Format: coco (CVAT reads it too), jsonl, parquet, webdataset or label-studio")
    ],
    to: Annotated[Path, Parameter(help="File to write, or an empty folder for webdataset")],
    licence: Annotated[
        list[str] | None,
        Parameter(
            help="Licence of what is exported; may be repeated; unknown, or any [default: every known one, and an "
            "unknown one is an error]",
            negative=(),
        ),
    ] = None,
) -> None:
    """Write what the engine keeps in a format of other tools.

    python -m harness engine export ENGINE --as coco --to instances.json
    """
    counts = python.export(engine, as_, to, licences=licence)
    print(line(f"{counts.annotations:,} annotations of {counts.images:,} images: {to}"))
    for reason, count in sorted(counts.left_out.items()):
        print(line(f"left out: {count:,} {reason}"))


@engine_app.command
def rewrite(
    folder: Folder,
    /,
    *,
    base_url: Annotated[
        str | None, Parameter(help="Address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
    ] = None,
    served: Annotated[str | None, Parameter(help="Name of the language model on the server")] = None,
    endpoint: Annotated[str | None, Parameter(help="TOML file with the server's options (docs/endpoint.md)")] = None,
    length: Annotated[
        Literal["brief", "detailed", "more_detailed"], Parameter(help="Length of the texts: their band of words")
    ] = "detailed",
    share: Annotated[float, Parameter(help="Share of the images, from 0 to 1")] = 1.0,
    requests: Annotated[int | None, Parameter(help="Largest number of requests [default: no limit]")] = None,
    tokens: Annotated[int | None, Parameter(help="Largest number of tokens, estimated [default: no limit]")] = None,
    dry_run: Annotated[bool, Parameter(negative=(), help="Count the requests, and ask nothing")] = False,
) -> None:
    """Have a language model write texts from the facts of each image; those that invent something are refused.

    Replies are kept: the same command resumes, and asks nothing twice.

    python -m harness engine rewrite ENGINE --base-url http://127.0.0.1:8000/v1 --served qwen3-8b --share 0.01 --dry-run
    """
    options = Options(base_url=base_url, served=served, endpoint=endpoint)
    if dry_run:
        needed = rewriting.forecast(folder, options, length=length, share=share)
        most = f"{needed.requests:,} to {needed.most_requests:,} requests"
        print(line(f"images: {needed.images:,}; {most}, about {needed.tokens:,} tokens if each first text is accepted"))
        return
    done = rewriting.rewrite(folder, options, length=length, share=share, budget=Budget(requests, tokens))
    rows = [(outcome, f"{count:,}") for outcome, count in done.tally.outcomes.most_common()]
    print(text.table(("outcome", "images"), rows))
    print(line(f"requests: {done.budget.made:,}; about {done.budget.spent:,} tokens"))


@engine_app.command
def report(folder: Folder, /, *, to: Annotated[Path, Parameter(help="Folder of the report")]) -> None:
    """Write what is kept beside the paper's figures, and what became of the rest, as a page with tables and figures.

    python -m harness engine report ENGINE --to report
    """
    print(line(str(engine_page.report(folder, to))))


def _asked(kind: str, name: str, asked: Asking) -> Sequence[str]:
    why = asked.reasons.most_common(1)
    numbers = (asked.questions, asked.asked, asked.unreadable, asked.failed)
    return (kind, name, *(f"{number:,}" for number in numbers), why[0][0] if why else "")


def _calibrated(curve: Curve) -> Sequence[str]:
    at = None if curve.chosen is None else curve.at(curve.chosen)
    chosen = "" if curve.chosen is None else f"{curve.chosen:.4g}"
    measured = ("", "") if at is None else (f"{at[0]:.1f}", f"{at[1]:.1f}")
    return (curve.origin, f"{curve.images:,}", f"{max(curve.kept, default=0):,}", chosen, *measured)


def _print_flows(engine: Engine) -> None:
    """The table from raw to kept."""
    if not engine.rounds:
        print(line("no annotations yet"))
        return
    flows = waterfall(engine.records(dropped=True), engine.origins).flows
    print(text.table(("kind", "origin", "raw", "kept", "not kept"), [row for flow in flows for row in _flow(flow)]))


def _print_estimates(result: AuditResult) -> None:
    rows = [
        (
            each.group, f"{each.annotations:,}", f"{each.judged} of {each.drawn}",
            *(text.number(each.of[decision]) for decision in DECISIONS), str(each.unjudged) if each.unjudged else "",
        )
        for each in result.shares
    ]  # fmt: skip
    print(text.table(("group", "annotations", "judged", *DECISIONS, "strata without verdict"), rows))
    print(line("shares in percent of the group, with 95 % intervals; people err, and the shares with them"))
    for pair in result.agreement:
        names = " and ".join(name or "a person without a name" for name in pair.people)
        both = f"{pair.items} annotations, {text.number(pair.equal)} % equal"
        value, low, high = pair.kappa.value, pair.kappa.low, pair.kappa.high
        ends = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
        print(line(f"{names}: {both}, kappa {'undefined' if value is None else f'{value:.2f}{ends}'}"))


def _flow(flow: Flow) -> Iterator[Sequence[str]]:
    why = ", ".join(f"{count:,} {status} by {stage}" for status, stage, count in flow.reasons)
    yield (flow.kind, flow.origin, f"{flow.raw:,}", f"{flow.kept:,}", why)


def _print_story(engine: Engine, image: str) -> None:
    for record in engine.records(dropped=True):
        if record.image.reference == image:
            for told in story(record, engine.origins):
                print(line(told))
            if record.image.stage:
                by = f", for {record.image.by}" if record.image.by else ""
                print(line(f"the image was dropped by {record.image.stage}{by}"))
            return
    first = next(iter(engine.images())).reference
    raise UsageError(f"--image {image}: {engine.path} has no such image; its first is {first}")


def _print_reasons(engine: Engine, rule: str) -> None:
    found = 0
    rows = []
    for reason in reasons(engine.records(), engine.origins, rule):
        found += 1
        if found <= SHOWN:
            verdict = reason.verdict
            compared = numbers(verdict).removeprefix(": ")
            rows.append((reason.reference, reason.annotation, reason.origin, verdict.stage, compared, reason.by))
    if not found:
        stages = ", ".join(stage.name for stage in engine.recipe.stages)
        raise UsageError(f"--why {rule}: no verdict that holds is of this rule; stages are {stages}")
    print(text.table(("image", "annotation", "by", "rule", "measured", "won"), rows))
    if found > SHOWN:
        print(line(f"and {found - SHOWN:,} more"))
