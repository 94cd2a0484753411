"""Whether two runs may be compared by a promise: the same samples, asked in the same way.

The weights, the device, the number of threads and the batch size may always differ: the first is what a gate tests, the
others change no answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.comparison import Side
from harness.core import Run, Sample
from harness.errors import DataError

SETTINGS = ("model", "samples", "prompts", "resolution", "precision", "decoding", "other settings")
KEYS = {"resolution": "input", "precision": "precision", "decoding": "decoding"}  # of a model's provenance
FREE = ("weights sha256", "device", "threads", "batch size", "prompts", *KEYS.values())


def refuse_unlike(base: Side, made: Side, differs: Sequence[str]) -> None:
    """DataError that names every setting in which two runs differ, except those that the promise allows."""
    unlike = {name: said for name, said in differences(base, made).items() if name not in differs}
    if unlike:
        told = "; ".join(f"{name}: {said}" for name, said in unlike.items())
        allowed = ", ".join(f'"{name}"' for name in unlike)
        raise DataError(
            f"the runs are not alike: {told}; make the reference in the same way, or allow it: differs = [{allowed}]"
        )


def differences(base: Side, made: Side) -> dict[str, str]:
    """The settings in which two runs differ, each with the values of the reference and of the run."""
    found: dict[str, str] = {}
    names = [_entry(side.run) for side in (base, made)]
    if names[0] != names[1]:
        found["model"] = f"{names[0]} versus {names[1]}"
    ids = [{sample.id for sample in side.samples} for side in (base, made)]
    if ids[0] != ids[1]:
        found["samples"] = f"{len(ids[0]):,} versus {len(ids[1]):,}, of which {len(ids[0] & ids[1]):,} are the same"
    ways = [_way(side.run) for side in (base, made)]
    prompts = [_prompts(way, base.samples) for way in ways]
    if prompts[0] != prompts[1]:
        found["prompts"] = f"{_short(prompts[0])} versus {_short(prompts[1])}"
    for name, key in KEYS.items():
        if ways[0].get(key) != ways[1].get(key):
            found[name] = f"{_short(ways[0].get(key))} versus {_short(ways[1].get(key))}"
    other = sorted(key for key in ways[0].keys() | ways[1].keys() if key not in FREE)
    unlike = [key for key in other if ways[0].get(key) != ways[1].get(key)]
    if unlike:
        found["other settings"] = ", ".join(
            f"{key} {_short(ways[0].get(key))} versus {_short(ways[1].get(key))}" for key in unlike
        )
    return found


def _entry(run: Run) -> str:
    """The entry that a run's model is of; records before version 0.14 have the model's name alone."""
    return str(run.provenance.get("entry", run.spec.model))


def _way(run: Run) -> Mapping[str, Any]:
    """What the model's provenance says of how it was asked."""
    way = run.provenance.get("model", {})
    return way if isinstance(way, Mapping) else {}


def _prompts(way: Mapping[str, Any], samples: Sequence[Sample[Any]]) -> dict[str, Any]:
    """The forms of the prompts of the kinds that are asked about."""
    forms = way.get("prompts", {})
    kinds = {sample.question.kind for sample in samples}
    return {kind: form for kind, form in forms.items() if kind in kinds} if isinstance(forms, Mapping) else {}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 160 else f"{text[:160]}..."
