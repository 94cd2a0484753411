"""The models by name: MODELS.  Importing this package loads no model and does not import torch.

Another package may add models with an entry point in the group `florence2_harness.models`, whose value is an Entry or
several.  A model without an entry point is named `package.module:NAME`; `replay:PATH` names stored answers.  Other
packages are imported only when a name is not one of the project's own models, or when all models are listed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from baselines import (
    blip2,
    blip2_itm,
    clip,
    clip_nano,
    closed_set,
    endpoint,
    floors,
    florence2,
    grounding_dino,
    hf_florence2,
    idefics,
    instructblip,
    internvl,
    kosmos2,
    llava_onevision,
    omdet_turbo,
    oracle,
    owl,
    paligemma,
    qwen_vl,
    rapidocr,
    replay,
    sam,
    sam2,
    siglip,
    smolvlm,
    trivial,
)
from baselines.batched import Batched
from baselines.entry import Entry, NoOptions, Setting
from harness import outside
from harness.errors import UsageError

GROUP = "florence2_harness.models"
FAMILIES = (
    florence2,
    hf_florence2,
    kosmos2,
    blip2,
    instructblip,
    idefics,
    paligemma,
    qwen_vl,
    internvl,
    llava_onevision,
    smolvlm,
    grounding_dino,
    owl,
    omdet_turbo,
    closed_set,
    sam,
    sam2,
    clip,
    clip_nano,
    siglip,
    blip2_itm,
    rapidocr,
    endpoint,
    oracle,
    replay,
    trivial,
    floors,
)
MODELS: Mapping[str, Entry] = {entry.name: entry for family in FAMILIES for entry in family.ENTRIES}
log = logging.getLogger(__name__)


def find(name: str) -> Entry:
    """The model of a name or of `package.module:NAME`; UsageError, with similar names, where there is none."""
    if name in MODELS:
        return MODELS[name]
    if name.startswith("replay:"):
        return replay.of(name.removeprefix("replay:"))
    if ":" in name:
        entries = outside.named(name, Entry, "--model")
        if len(entries) > 1:
            raise UsageError(f"--model {name} names {len(entries)} models; a run needs exactly one")
        return entries[0]
    available = every()
    if name in available:
        return available[name]
    close = get_close_matches(name, available, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {len(available)}."
    raise UsageError(f"no model is called {name!r}; {hint} `python -m harness models` lists them")


def every() -> dict[str, Entry]:
    """The project's own models and those of installed packages, by name.

    A model that cannot be loaded is logged and left out.
    """
    return outside.joined(MODELS, GROUP, Entry, "models")


def origin_of(entry: Entry, named: str) -> dict[str, Any]:
    """The provenance entry of a model that is not the project's own: the name that the user typed."""
    return {} if MODELS.get(entry.name) is entry else {"model from": named}


__all__ = ["MODELS", "Batched", "Entry", "NoOptions", "Setting", "every", "find", "origin_of"]
