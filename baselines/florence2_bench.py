"""The subjects of `bench` for Florence-2: a checkpoint with a task's questions, or a network with random weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from baselines import florence2
from baselines.entry import Setting
from harness.errors import UsageError
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast import threads
from harness.florence2.fast.choose import accelerated
from harness.florence2.preprocess import Preprocess
from harness.speed.asked import asked_of
from harness.speed.systems import RANDOM, Queries, Request, Subject, drawn, random_model

NEW_TOKENS = 20  # the default for random weights


def prepared(
    setting: Setting, options: florence2.Options, request: Request, source: florence2.Source
) -> tuple[Subject, Queries, dict[str, Any]]:
    """The model to measure, its queries with opened images, and the model's provenance for the record."""
    if setting.weights == RANDOM:
        subject = _with_random_weights(setting, options, request, source)
        config = subject.model.config
        return subject, drawn(request.images, subject.preprocess.width, config.text.vocab), {}
    new_tokens = request.new_tokens
    options = replace(options, max_new_tokens=new_tokens or options.max_new_tokens)
    predictor = florence2.build(setting, options, source)
    decoding = replace(predictor.decoding, min_new_tokens=new_tokens or 0)
    subject = Subject(
        predictor.model, predictor.preprocess, decoding, predictor.batch, predictor.sha256, predictor.dtype,
        lambda: florence2.build(replace(setting, dtype="float32"), replace(options, backend=None), source).model,
    )  # fmt: skip
    return subject, asked_of(predictor, request.questions, request.about), predictor.provenance


def _with_random_weights(
    setting: Setting, options: florence2.Options, request: Request, source: florence2.Source
) -> Subject:
    """A network of the model's size with random weights; needs no files.

    UsageError for more new tokens than the network has positions, and for a backend.
    """
    if options.backend is not None:
        name = options.backend
        raise UsageError(f"--backend {name} needs a checkpoint; --against {name} measures it with random weights")
    config = source.size
    florence2.refuse(setting, options)
    side = options.resolution or config.image_size
    device = florence2.choose_device(setting.device)
    dtype = florence2.choose_dtype(setting.dtype, device)
    new_tokens = request.new_tokens or NEW_TOKENS
    if new_tokens > config.text.positions:
        raise UsageError(f"--new-tokens {new_tokens}: this model has positions for {config.text.positions}")
    network = accelerated(random_model(config), torch.device(device), dtype)
    settings = florence2.search_settings(options)
    decoding = Decoding(max_new_tokens=new_tokens, min_new_tokens=new_tokens, **settings)
    threads.settle(options.threads, network, side, decoding)
    batch = setting.batch_size or (64 if device.startswith("cuda") else 8)
    return Subject(network, Preprocess(side, side), decoding, batch, RANDOM, dtype, lambda: random_model(config))
