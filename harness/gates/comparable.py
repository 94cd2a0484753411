"""Whether a promise may compare two runs: they must have the same samples and the same settings.

Weights, device, number of threads and batch size may always differ: a gate tests the weights, and the others change no
answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.comparison import Side
from harness.core import Run, Sample
from harness.errors import DataError

SETTINGS = ("model", "samples", "prompts", "resolution", "precision", "decoding", "other settings")
KEYS = {"resolution": "input", "precision": "precision", "decoding": "decoding"}  # setting to key of provenance
FREE = ("weights sha256", "parameters", "device", "threads", "batch size", "prompts", *KEYS.values())


def refuse_unlike(base: Side, run: Side, differs: Sequence[str]) -> None:
    """DataError, naming each difference between the settings of two runs, except those that the promise allows.

    `base` is the reference.  `differs` are names of SETTINGS.
    """
    unlike = {name: values for name, values in differences(base, run).items() if name not in differs}
    if unlike:
        listed = "; ".join(f"{name}: {values}" for name, values in unlike.items())
        names = ", ".join(f'"{name}"' for name in unlike)
        raise DataError(
            f"the runs are not alike: {listed}; use the same settings for both, or allow it: differs = [{names}]"
        )


def differences(base: Side, run: Side) -> dict[str, str]:
    """The SETTINGS in which two runs differ, each with the value of the reference versus that of the run."""
    differing: dict[str, str] = {}
    base_model, run_model = _entry(base.run), _entry(run.run)
    if base_model != run_model:
        differing["model"] = f"{base_model} versus {run_model}"
    base_ids, run_ids = ({sample.id for sample in side.samples} for side in (base, run))
    if base_ids != run_ids:
        differing["samples"] = (
            f"{len(base_ids):,} versus {len(run_ids):,}, of which {len(base_ids & run_ids):,} are the same"
        )
    base_settings, run_settings = _settings(base.run), _settings(run.run)

    def values(key: str) -> str:
        return f"{_short(base_settings.get(key))} versus {_short(run_settings.get(key))}"

    base_prompts, run_prompts = (_prompts(settings, base.samples) for settings in (base_settings, run_settings))
    if base_prompts != run_prompts:
        differing["prompts"] = f"{_short(base_prompts)} versus {_short(run_prompts)}"
    keys = sorted(base_settings.keys() | run_settings.keys())
    unlike = [key for key in keys if base_settings.get(key) != run_settings.get(key)]
    differing |= {name: values(key) for name, key in KEYS.items() if key in unlike}
    if others := [key for key in unlike if key not in FREE]:
        differing["other settings"] = ", ".join(f"{key} {values(key)}" for key in others)
    return differing


def _entry(run: Run) -> str:
    """The name of the entry of a run's model; records before version 0.14 hold the model's name only."""
    return str(run.provenance.get("entry", run.spec.model))


def _settings(run: Run) -> Mapping[str, Any]:
    """The settings that the model was queried with, from its provenance."""
    settings = run.provenance.get("model", {})
    return settings if isinstance(settings, Mapping) else {}


def _prompts(settings: Mapping[str, Any], samples: Sequence[Sample[Any]]) -> dict[str, Any]:
    """The prompt form of each question kind that the samples have."""
    forms = settings.get("prompts", {})
    kinds = {sample.question.kind for sample in samples}
    return {kind: form for kind, form in forms.items() if kind in kinds} if isinstance(forms, Mapping) else {}


def _short(value: Any) -> str:
    """The value as text of at most 160 characters."""
    text = str(value)
    return text if len(text) <= 160 else f"{text[:160]}..."
