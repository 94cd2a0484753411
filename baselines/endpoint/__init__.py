"""The model `endpoint`: any model behind an OpenAI-compatible server.  Importing this package opens no connection."""

from __future__ import annotations

from baselines.endpoint.model import Endpoint
from baselines.endpoint.options import Options, kinds_of, refuse
from baselines.entry import Entry

ENTRIES = (
    Entry(
        name="endpoint",
        about="a model behind an OpenAI-compatible server (--base-url, --served, --prompts)",
        build=Endpoint,
        options=Options,
        kinds_of=kinds_of,
        refuse=refuse,
    ),
)
