"""The prompts of a sample, as they were sent to the model.

A model that records its prompts keeps them with its answers.  Florence-2 keeps a digest of them, and its record names
the form of each kind; the prompts are then made again, and shown only if they have this digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.core import Row, Run, Size
from harness.errors import DataError
from harness.florence2.prompts import FORMS, digest, prompts_of

EXAMPLES = 500  # samples in which the page of a run looks for an example of each kind
SHOWN = 100  # prompts of one sample


def sent(run: Run, row: Row[Any], size: Size | None) -> list[str]:
    """The prompts of a sample, at most `SHOWN`, in the order of its raw outputs; empty if they are not known.

    `size` is that of the image, in pixels.
    """
    if row.answer.prompts:
        return list(row.answer.prompts[:SHOWN])
    question, trail, model = row.sample.question, row.answer.trail, run.provenance.get("model", {})
    forms = model.get("prompts") if isinstance(model, dict) else None
    form = forms.get(question.kind) if isinstance(forms, dict) else None
    if trail is None or not isinstance(form, str) or form not in FORMS.get(question.kind, {}):
        return []
    try:
        texts = prompts_of(question, form, size)
    except DataError:
        return []
    return list(texts[:SHOWN]) if digest(texts) == trail.prompt else []


def examples(run: Run, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """The prompts of the first sample of each kind of question whose prompts are known."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows[:EXAMPLES]:
        kind = row.sample.question.kind
        if kind not in found and (texts := sent(run, row, row.sample.question.size)):
            found[kind] = {"kind": kind, "sample": row.sample.id, "prompts": texts}
    return list(found.values())
