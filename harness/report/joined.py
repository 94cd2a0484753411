"""Whether a published figure may stand beside a run: the same model, the published weights and the whole split."""

from __future__ import annotations

from harness.core import Run
from harness.published import SETTINGS, WEIGHTS
from harness.store import edited


def why_not(run: Run) -> str:
    """The reason why no published figure may stand beside a run, in a few words; "" where one may.

    The record says which model and weights answered, and how the counts of the data differ from the published counts.
    """
    spec, provenance = run.spec, run.provenance
    if spec.data == "miniature":
        return "the embedded benchmark"
    if provenance.get("copy"):
        return "its data is a copy, not the official files"
    if spec.model not in WEIGHTS:
        return f"no source publishes {spec.model}"
    if reason := _other_weights(run):
        return reason
    if (setting := SETTINGS.get(spec.model, "")) not in spec.fingerprint:
        return f"its published figures are with {setting}"
    if spec.limit is not None:
        return f"a sample of at most {spec.limit:,} images"
    if run.status != "complete":
        return f"the run is {run.status}"
    if edited(run):
        return "the record was edited after scoring"
    if provenance.get("contradicted"):
        return "its kept answers contradict the record"
    counts = provenance.get("published counts")
    if counts is None:
        return "its data was not compared with the published counts"
    return "" if counts == "same" else f"its data has {counts}"


def _other_weights(run: Run) -> str:
    """How the weights of a run differ from the published ones of its model; "" where they are the same."""
    published, provenance = WEIGHTS[run.spec.model], run.provenance
    weights = provenance.get("weights from") or provenance.get("weights revision")
    if weights is None:
        return f"the record does not name its weights; published are {published}"
    if weights != published:
        return f"its weights are {weights}, published are {published}"
    entry = provenance.get("entry")
    return "" if entry == run.spec.model else f"its model is {entry}"
