"""The subject of `bench` for an endpoint: streamed requests, without retries, of a task's questions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from baselines.endpoint.client import Unanswered
from baselines.endpoint.model import Endpoint
from baselines.endpoint.options import Options, resolved
from baselines.entry import Setting
from harness.errors import ResourceError, UsageError
from harness.speed.remote import Completed, Remote
from harness.speed.systems import Request


def prepared(setting: Setting, options: Options, request: Request) -> tuple[Remote, None, dict[str, Any]]:
    """The endpoint as a system whose queries are the first prompts of the questions, with their images encoded.

    UsageError for an exact number of new tokens, which the protocol does not have; DataError for a question that cannot
    be asked.
    """
    if request.new_tokens is not None:
        raise UsageError("--new-tokens: a server decides when an answer ends; --max-new-tokens limits it")
    options = replace(resolved(options), endpoint=None, retries=0)
    model = Endpoint(setting, options)
    bodies = []
    for question in request.questions:
        ask, texts, image = model.asked(question)
        bodies.append({**model.body(ask, texts[0], image), "stream_options": {"include_usage": True}})
    client = model.client()

    def complete(query: int) -> Completed:
        try:
            reply = client.complete(bodies[query], stream=True)
        except Unanswered as error:
            raise ResourceError(f"{model.base_url} did not answer a query of the benchmark: {error}") from error
        return Completed(reply.text, reply.generated, reply.first)

    remote = Remote(
        complete,
        len(bodies),
        model.pace.most,
        model.base_url,
        str(options.served),
        request.about,
        on_close=client.close,
    )
    return remote, None, model.provenance
