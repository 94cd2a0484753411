"""What can be asked: MODELS, name to Entry.  Naming one loads nothing, and imports no torch."""

from __future__ import annotations

from difflib import get_close_matches

from baselines import florence2
from baselines.entry import Entry, Setting
from baselines.oracle import Oracle, OracleQuantised
from baselines.trivial import WholeImage
from harness.core import Model
from harness.errors import UsageError

MODELS: dict[str, Entry] = {
    **florence2.ENTRIES,
    "oracle": Entry(
        about="answers with the target: the ceiling, and the self-test of every task",
        build=lambda setting: _plain("oracle", setting, Oracle(setting.samples)),
        sees_targets=True,
        at_hand=lambda: "needs none",
        embedded=True,
    ),
    "oracle-quantised": Entry(
        about="the target through Florence-2's 1,000 location bins: the most such a model can score",
        build=lambda setting: _plain("oracle-quantised", setting, OracleQuantised(setting.samples)),
        sees_targets=True,
        at_hand=lambda: "needs none",
        embedded=True,
    ),
    "whole-image": Entry(
        about="points at the whole image: the floor",
        build=lambda setting: _plain("whole-image", setting, WholeImage()),
        at_hand=lambda: "needs none",
        embedded=True,
    ),
}


def _plain(name: str, setting: Setting, model: Model) -> Model:
    """A model that has no options."""
    setting.refuse_options(name)
    return model


def find(name: str) -> Entry:
    """A model by name; UsageError, with names that come close, where there is none."""
    if name in MODELS:
        return MODELS[name]
    close = get_close_matches(name, MODELS, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(MODELS)};"
    raise UsageError(f"no model is called {name!r}; {hint} `python -m harness models` lists them")


__all__ = ["MODELS", "Entry", "Setting", "find"]
