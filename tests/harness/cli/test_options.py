"""Options that several commands share: a model's own, and how settings are read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

import baselines
from baselines import Entry
from harness.cli import options
from harness.cli.options import Workers
from harness.cluster.ray_cluster import Spread
from harness.errors import UsageError
from harness.tracking.events import TRACKERS, Kind
from tests.harness.cli.calling import Call
from tests.harness.conftest import Call as InFolder


@dataclass(frozen=True, kw_only=True)
class Options:
    """Two options of a rival."""

    share: float = 0.5
    "Side of the box"
    loud: bool = False


ENTRY = Entry(name="rival", about="", build=lambda setting, options: None, options=Options)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(("line", "name"), [
    (["--task", "refcoco", "--model", "oracle"], "oracle"),
    (["--model=oracle", "--help"], "oracle"),
    (["--task", "refcoco"], None),
    (["--model"], None),
    (["--model", "--help"], None),
])  # fmt: skip
def test_model_of_a_command_line(line: list[str], name: str | None) -> None:
    found = options.model_named(line)
    assert (found.name if found else None) == name


def test_unknown_model_of_a_command_line_is_refused() -> None:
    with pytest.raises(UsageError, match="no model is called 'gpt'"):
        options.model_named(["--model", "gpt"])


def test_only_changed_options_are_given_to_a_model() -> None:
    assert options.changed_options(Options()) == {}
    assert options.changed_options(Options(share=0.5, loud=True)) == {"loud": True}


def test_help_of_a_field_is_the_string_below_it() -> None:
    assert options.field_help(Options) == {"share": "Side of the box"}
    assert options.field_help(type("Made", (), {})) == {}  # its source is not to be had


def test_options_of_a_sweep_are_lists_of_text() -> None:
    kind, default = options.listed_options(ENTRY)
    assert {field.name for field in fields(kind.__origin__)} == {"share", "loud"}
    assert default.share is None


def test_key_values() -> None:
    assert options.key_values(None) == {}
    assert options.key_values(["rate=1e-5", " steps = 10=10"]) == {"rate": "1e-5", "steps": "10=10"}
    with pytest.raises(UsageError, match="--set rate: key=value"):
        options.key_values(["rate"])


@pytest.mark.parametrize("name", ["florence2-nano", "oracle"])
def test_help_of_run_has_the_options_of_the_model(name: str, here: Call) -> None:
    entry = baselines.find(name)
    out = here("run", "--model", name, "--help").out
    for field in fields(entry.options):
        assert f"--{field.name.replace('_', '-')}" in out
    assert ("--beams" in out) == (name == "florence2-nano")


def test_workers_without_ray_are_one_process() -> None:
    assert Workers().spread() is None


def test_workers_on_ray_have_the_given_options_and_defaults() -> None:
    spread = Workers(executor="ray", workers=3, chunk=8, ship_images=True).spread()
    assert spread == Spread(address="local", workers=3, gpus_per_worker=None, chunk=8, ship_images=True)


@pytest.mark.parametrize(("given", "option"), [
    ({"workers": 2}, "--workers"), ({"address": "auto"}, "--address"), ({"gpus_per_worker": 0.5}, "--gpus-per-worker"),
    ({"ship_images": True}, "--ship-images"), ({"chunk": 8}, "--chunk"),
])  # fmt: skip
def test_option_of_workers_without_ray_is_refused(given: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} is an option of --executor ray"):
        Workers(**given).spread()


@pytest.mark.parametrize("command", [
    ("run", "--task", "refcoco", "--model", "oracle", "--data", "miniature"),
    ("finetune", "--task", "refcoco", "--model", "florence2-nano", "--data", "miniature"),
    ("train", "--recipe", "nano"),
    ("bench", "--model", "whole-image", "--data", "miniature"),
    ("ablate", "--study", "prompts"),
    ("data", "fetch", "--task", "refcoco", "--data", "."),
    ("engine", "annotate", "--data", "miniature", "--to", "engine"),
], ids=" ".join)  # fmt: skip
def test_command_refuses_a_tracker_that_is_not_installed_before_it_works(
    call: InFolder, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "mlflow", Kind("mlflow.MLflow", "no_such_package", "pip install it"))
    status, out, said = call(*command, "--log-to", "mlflow")
    assert (status, out) == (2, "")
    assert said.endswith("error: --log-to mlflow: no_such_package is not installed: pip install it")
    assert not list(tmp_path.iterdir())
