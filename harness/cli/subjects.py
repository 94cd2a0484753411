"""What is measured: a model as it was asked for, over a set of queries in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import baselines
import tasks
from harness.cli.options import load, root_of, splits_of
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.speed.systems import Queries, Subject

RANDOM = "random"
NEW_TOKENS = 20  # of random weights, where nothing is said


@dataclass(frozen=True, slots=True)
class Wanted:
    """A point of a sweep."""

    task: str
    images: int
    batch_size: int | None
    beams: int | None
    dtype: str | None
    resolution: int | None
    threads: str | None


def prepared(
    wanted: Wanted, model: str, split: str | None, data: str | None, weights: str | None,
    new_tokens: int | None, device: str | None,
) -> tuple[Subject, Queries, dict[str, Any]]:  # fmt: skip
    """The model, the set of queries with pictures opened, and what a record says of both."""
    from harness.florence2.predictor import Predictor
    from harness.speed.asked import asked_of
    from harness.speed.systems import Subject, drawn

    entry = baselines.find(model)
    if model not in baselines.florence2.ENTRIES:
        raise UsageError(f"{model} is no Florence-2; bench measures {', '.join(baselines.florence2.ENTRIES)}")
    if weights == RANDOM:
        subject = _drawn(wanted, model, new_tokens or NEW_TOKENS, device)
        config = subject.model.config
        return subject, drawn(wanted.images, subject.preprocess.width, config.text.vocab), {}
    name, root = root_of(data, model, entry.embedded)
    [one] = tasks.select(wanted.task)
    [part] = splits_of(one, split)
    asked = {sample.question.image: sample.question for sample in load(one, root, part)}  # one question an image
    questions = list(asked.values())[: wanted.images]

    def built(dtype: str | None) -> Predictor:
        setting = baselines.Setting(
            root=root, weights=weights, device=device, dtype=dtype, batch_size=wanted.batch_size,
            beams=wanted.beams, max_new_tokens=new_tokens, resolution=wanted.resolution,
        )  # fmt: skip
        predictor = entry.build(setting)
        if not isinstance(predictor, Predictor):
            raise UsageError(f"{model} is no network that bench can measure")
        return predictor

    predictor = built(wanted.dtype)
    decoding = replace(predictor.decoding, min_new_tokens=new_tokens or 0)
    subject = Subject(
        predictor.model, predictor.preprocess, decoding, predictor.batch, predictor.sha256, predictor.dtype,
        lambda: built("float32").model,
    )  # fmt: skip
    about = f"{len(questions)} of {name}, {one.name} {part}"
    return subject, asked_of(predictor, questions, about), predictor.provenance


def _drawn(wanted: Wanted, model: str, new_tokens: int, device: str | None) -> Subject:
    """A network of the model's size with random weights, without files."""
    import torch

    from harness.florence2.config import BASE, LARGE, NANO
    from harness.florence2.decoding.search import Decoding
    from harness.florence2.fast.quantised import in_precision
    from harness.florence2.preprocess import Preprocess
    from harness.speed.systems import Subject, random_model

    config = NANO if "nano" in model else BASE if model.startswith("florence2-b") else LARGE
    side = wanted.resolution or config.image_size
    if side < 32:
        raise UsageError(f"--resolution {side}: at least 32 pixels, one cell of the last map")
    mine = baselines.florence2.choose_device(device)
    dtype = baselines.florence2.choose_dtype(wanted.dtype, mine)
    for option, value in (("--beams", wanted.beams), ("--batch-size", wanted.batch_size)):
        if value is not None and value < 1:
            raise UsageError(f"{option} {value}: at least 1")
    if new_tokens > config.text.positions:
        raise UsageError(f"--new-tokens {new_tokens}: this size has positions for {config.text.positions}")
    network = random_model(config)
    network = in_precision(network, torch.device(mine), dtype)
    decoding = Decoding(beams=wanted.beams or 3, max_new_tokens=new_tokens, min_new_tokens=new_tokens)
    batch = wanted.batch_size or (64 if mine.startswith("cuda") else 8)
    return Subject(network, Preprocess(side, side), decoding, batch, RANDOM, dtype, lambda: random_model(config))
