"""Evaluate Florence-2 and its rivals: the public Python interface.

    import harness

    model = harness.load_model("florence2-nano-ft")
    model.ask("photo.jpg", "refer", "the red house").draw()
    run = harness.evaluate("refcoco_res", "florence2-nano-ft", limit=50)
    harness.read_runs("results").pivot_table("value", "task", "model")

A name is imported when it is first used, so `import harness` is fast and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.19.0"

if TYPE_CHECKING:
    from harness.core import (
        Answer,
        Boxes,
        Estimate,
        Failure,
        FileNeed,
        Grounded,
        Mask,
        Phrase,
        Polygons,
        PredictionFormat,
        Quads,
        Question,
        Run,
        Sample,
        Score,
        Size,
        Source,
        Task,
        Text,
    )
    from harness.evaluation import engine
    from harness.evaluation.api import compare, evaluate, read_runs, score
    from harness.evaluation.interface import LoadedModel, Reply, load_model

_PLACES = {
    "harness.core": (
        "Answer", "Boxes", "Estimate", "Failure", "FileNeed", "Grounded", "Mask", "Phrase", "Polygons",
        "PredictionFormat", "Quads", "Question", "Run", "Sample", "Score", "Size", "Source", "Task", "Text",
    ),
    "harness.evaluation.api": ("compare", "evaluate", "read_runs", "score"),
    "harness.evaluation.interface": ("LoadedModel", "Reply", "load_model"),
}  # fmt: skip
_ROOMS = {"engine": "harness.evaluation.engine"}  # modules with functions of their own
_PLACE_OF = {name: module for module, names in _PLACES.items() for name in names}
__all__ = [
    "Answer", "Boxes", "Estimate", "Failure", "FileNeed", "Grounded", "LoadedModel", "Mask", "Phrase", "Polygons",
    "PredictionFormat", "Quads", "Question", "Reply", "Run", "Sample", "Score", "Size", "Source", "Task", "Text",
    "__version__", "compare", "engine", "evaluate", "load_model", "read_runs", "score",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """A public name, imported on first use; AttributeError, with the names that exist, for another."""
    if name in _ROOMS:
        return import_module(_ROOMS[name])
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'harness' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_PLACE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
