"""The options of a model on the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

import baselines
from baselines import Entry
from harness.cli import model_options as options
from harness.errors import UsageError
from tests.harness.cli.calling import Call


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


@pytest.mark.parametrize("name", ["florence2-nano", "oracle"])
def test_help_of_run_has_the_options_of_the_model(name: str, here: Call) -> None:
    entry = baselines.find(name)
    out = here("run", "--model", name, "--help").out
    for field in fields(entry.options):
        assert f"--{field.name.replace('_', '-')}" in out
    assert ("--beams" in out) == (name == "florence2-nano")
