"""The models: MODELS, name to Entry.  Naming one loads nothing, and imports no torch.

A model may come from another package: by an entry point of the group `florence2_harness.models`, whose value is an
Entry or several, or by `package.module:NAME` without one.  Packages are only imported when a model is named that is
not the project's own, or when all are listed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from baselines import florence2, oracle, trivial
from baselines.batched import Batched
from baselines.entry import Entry, NoOptions, Setting
from harness import outside
from harness.errors import UsageError

GROUP = "florence2_harness.models"
MODELS: Mapping[str, Entry] = {entry.name: entry for entry in (*florence2.ENTRIES, *oracle.ENTRIES, *trivial.ENTRIES)}
log = logging.getLogger(__name__)


def find(name: str) -> Entry:
    """A model by name, or by `package.module:NAME`; UsageError, with names that come close, where there is none."""
    if name in MODELS:
        return MODELS[name]
    if ":" in name:
        entries = outside.named(name, Entry, "--model")
        if len(entries) > 1:
            raise UsageError(f"--model {name} names {len(entries)} models; a run is of one")
        return entries[0]
    there = every()
    if name in there:
        return there[name]
    close = get_close_matches(name, there, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(there)};"
    raise UsageError(f"no model is called {name!r}; {hint} `python -m harness models` lists them")


def every() -> dict[str, Entry]:
    """The project's own models and those of installed packages; one that cannot be loaded is logged and left out."""
    return outside.joined(MODELS, GROUP, Entry, "models")


def origin_of(entry: Entry, named: str) -> dict[str, Any]:
    """How a record names a model that is not the project's own: what was typed, and its own name."""
    return {} if MODELS.get(entry.name) is entry else {"model from": named}


__all__ = ["MODELS", "Batched", "Entry", "NoOptions", "Setting", "every", "find", "origin_of"]
