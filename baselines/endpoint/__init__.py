"""The model `endpoint`: any model behind an OpenAI-compatible server.  Importing this package opens no connection."""

from __future__ import annotations

from typing import Any

from baselines.endpoint.model import Endpoint
from baselines.endpoint.options import Options, kinds_of, refuse
from baselines.entry import Entry, Setting


def _bench(setting: Setting, options: Options, request: Any) -> Any:
    from baselines.endpoint.bench import prepared

    return prepared(setting, options, request)


ENTRIES = (
    Entry(
        name="endpoint",
        about="a model behind an OpenAI-compatible server (--base-url, --served, --prompts)",
        build=Endpoint,
        options=Options,
        kinds_of=kinds_of,
        refuse=refuse,
        uses=frozenset({"batch_size"}),
        bench=_bench,
    ),
)
