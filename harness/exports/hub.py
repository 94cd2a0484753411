"""A run for a model's repository on the Hugging Face hub.

    .eval_results/TASK_SPLIT.yaml    an entry of a benchmark's leaderboard (huggingface.co/docs/hub/eval-results)
    README.md                        the card: `model-index` in its metadata, and a section with the table of metrics

`.eval_results` takes benchmark data sets of the hub alone, so it is written where the user names one.  `model-index`
is the older form, which the hub shows for any data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import store
from harness.core import Run
from harness.errors import DataError, UsageError
from harness.report.text import number
from harness.sinks import cell, file_name, line

FOLDER, CARD = ".eval_results", "README.md"
TYPES = {"Acc": "accuracy", "CIDEr": "cider", "BLEU": "bleu", "METEOR": "meteor", "ROUGE": "rouge", "mAP": "mean_ap",
         "mIoU": "mean_iou", "ANLS": "anls"}  # fmt: skip


def write(run: Run, folder: Path, about: str, benchmark: str | None = None) -> list[Path]:
    """Writes the files of a run into `folder`, and returns their paths.

    A card that is there keeps its text and its other metadata; the section of this run is replaced.  `about` says what
    the task is.  `benchmark` is OWNER/NAME:TASK_ID, a benchmark data set and a task of its eval.yaml.

    UsageError for a run without a headline, of the embedded data or of a sample, and for a `benchmark` of another form.
    """

    def before(name: str) -> bytes:
        return (folder / name).read_bytes() if (folder / name).is_file() else b""

    texts = files(run, about, before, benchmark)
    for name, text in texts.items():
        store.replace_file(folder / name, text.encode())
    return [folder / name for name in texts]


def files(run: Run, about: str, before: Callable[[str], bytes], benchmark: str | None = None) -> dict[str, str]:
    """The text of each file of a run by its name in the repository; `before` gives what a file holds, b"" for no file.

    Errors as in `write`; DataError for a file that cannot be read.
    """
    _refuse(run)
    texts = {}
    if benchmark is not None:
        name = f"{FOLDER}/{file_name(f'{run.spec.task}_{run.spec.split}')}.yaml"
        texts[name] = entries_with(run, benchmark, decoded(before(name), name))
    texts[CARD] = card_with(run, about, decoded(before(CARD), CARD))
    return texts


def decoded(content: bytes, name: str) -> str:
    """The text of a file with its own line ends; DataError for a file that is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not a text in UTF-8 (byte {error.start})") from error


def entries_with(run: Run, benchmark: str, text: str = "") -> str:
    """The YAML of `.eval_results` with this run's entry in place of an earlier one of the same benchmark's task."""
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    name, colon, task = benchmark.partition(":")
    if not colon or not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or not re.fullmatch(r"[\w.-]+", task):
        raise UsageError(f"--benchmark {benchmark}: OWNER/NAME:TASK_ID, with a task of the data set's eval.yaml")
    date = str(run.provenance.get("date", ""))[:10]
    result = EvalResultEntry(
        dataset_id=name, task_id=task, value=_value(run), notes=_notes(run),
        date=date if re.fullmatch(r"\d{4}-\d\d-\d\d", date) else None,
    )  # fmt: skip
    try:
        entries = yaml.safe_load(text) or []
        kept = [each for each in entries if (each["dataset"]["id"], each["dataset"]["task_id"]) != (name, task)]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(f"{FOLDER}: its entries cannot be read: {' '.join(str(error).split())}") from error
    written = [*kept, *eval_result_entries_to_yaml([result])]
    return str(yaml.safe_dump(written, sort_keys=False, allow_unicode=True))


def card_with(run: Run, about: str, card: str) -> str:
    """The text of a card with this run in its metadata and in a section of its own."""
    import yaml
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

    head = re.match(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", card, re.S)
    try:
        metadata = (yaml.safe_load(head[1]) or {}) if head else {}
    except yaml.YAMLError as error:
        raise DataError(f"README.md: its metadata is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(metadata, dict):
        raise DataError("README.md: its metadata is no table of YAML")
    body = card[head.end() :] if head else card
    name, results = run.spec.model, list[EvalResult]()
    if "model-index" in metadata:
        try:
            name, results = model_index_to_eval_results(metadata["model-index"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise DataError(f"README.md: its model-index cannot be read: {error!r}") from error
    result = EvalResult(
        task_type="image-text-to-text",
        dataset_type=run.spec.data,
        dataset_name=f"{run.spec.task} ({run.spec.protocol})",
        dataset_config=f"{run.spec.task}, {run.spec.protocol}",  # the hub joins results that differ in their name alone
        dataset_split=run.spec.split,
        metric_type=_metric_type(run.headline),
        metric_name=run.headline,
        metric_value=_value(run),
    )
    results = [kept for kept in results if not kept.is_equal_except_value(result)]
    metadata["model-index"] = eval_results_to_model_index(name, [*results, result])
    named = file_name(f"{run.spec.task} {run.spec.split} {run.spec.protocol}")
    begin, end = (f"<!-- florence2-harness {word} {named} -->" for word in ("begin", "end"))
    section = f"{begin}\n{_section(run, about)}\n{end}"
    if begin in body and end in body:
        before, _, rest = body.partition(begin)
        body = f"{before}{section}{rest.partition(end)[2]}"
    else:
        body = f"{body.rstrip()}\n\n{section}\n".lstrip("\n")
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n{body}"


def _section(run: Run, about: str) -> str:
    rows = [f"| {cell(name)} | {cell(number(each))} | {each.n:,} |" for name, each in run.metrics.items()]
    facts = [f"- {cell(name)}: {cell(value)}" for name, value in _facts(run).items()]
    table = ["| metric | value [95 % interval] | samples |", "|---|---|---|", *rows]
    return "\n".join([f"## {cell(run.spec.task)}, {cell(run.spec.split)}", "", cell(about), "", *table, "", *facts])


def _facts(run: Run) -> Mapping[str, str]:
    provenance = run.provenance
    facts: dict[str, str] = {
        "data": run.spec.data,
        "protocol": run.spec.protocol,
        "code": f"florence2-harness {provenance.get('harness')}",
        "date": str(provenance.get("date", ""))[:10],
        "seen in training": str(provenance.get("seen", "not known")),
        "run": run.id,
    }
    return {name: value for name, value in facts.items() if value}


def _notes(run: Run) -> str:
    """The metric with its interval, and how it was measured, on one line."""
    images = run.counts.get("images", 0)
    shown = f"{run.headline} {number(run.metrics[run.headline])} (95 % interval over {images:,} images)"
    return line(
        f"{shown}; {run.spec.task} {run.spec.split}, {run.spec.protocol}; florence2-harness "
        f"{run.provenance.get('harness')}, run {run.id}"
    )


def _value(run: Run) -> float:
    value = run.metrics[run.headline].value
    return round(float(value or 0.0), 2)  # `_refuse` has refused None


def _metric_type(headline: str) -> Any:
    return next((kind for start, kind in TYPES.items() if headline.startswith(start)), headline.lower())


def _refuse(run: Run) -> None:
    headline = run.metrics.get(run.headline)
    if run.spec.data == "miniature":
        raise UsageError("a number on the embedded miniature is not comparable with any, so it is not for a model card")
    if run.status != "complete" or headline is None or headline.value is None:
        raise UsageError(f"run {run.id} is {run.status} and has no headline over a whole split for a model card")
    if store.edited(run):
        raise UsageError(f"the record of run {run.id} was edited; `score {run.id}` writes it again")
