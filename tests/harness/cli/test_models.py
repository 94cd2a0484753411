"""The command `models`."""

from __future__ import annotations

import json
from pathlib import Path

import baselines
from tests.harness.cli.calling import Call


def test_every_model_is_listed_with_where_its_weights_lie(here: Call) -> None:
    outcome = here("models", "--json")
    listed = {one["name"]: one for one in json.loads(outcome.out)}
    assert listed.keys() == baselines.every().keys()
    assert listed["florence2-b"]["repo"] == "microsoft/Florence-2-base"
    assert Path(listed["florence2-nano"]["at_hand"], "model.safetensors").is_file()
    table = here("models").out.splitlines()
    assert [line.split()[0] for line in table[1:]] == list(listed)
