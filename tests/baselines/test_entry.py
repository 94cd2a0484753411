"""Entries: names, options and settings that the command line can use, and those that it refuses."""

from __future__ import annotations

import re
from dataclasses import dataclass, make_dataclass
from typing import Any

import pytest

from baselines.entry import GENERAL, Entry, NoOptions, Setting
from baselines.trivial import WholeImage
from harness.errors import ResourceError, UsageError


@dataclass(frozen=True)
class Options:
    share: float = 0.5


def entry(**changes: Any) -> Entry:
    return Entry(**{"name": "one", "about": "", "build": lambda setting, options: WholeImage(), **changes})


@pytest.mark.parametrize(("name", "options", "message"), [
    ("a/b", NoOptions, "the model name 'a/b' is not valid"),
    ("x" * 300, NoOptions, "up to 100 letters"),
    ("<b>", NoOptions, "the model name '<b>'"),
    ("fine", dict, "a frozen dataclass is expected"),
])  # fmt: skip
def test_invalid_name_or_options_class_is_refused(name: str, options: type, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        entry(name=name, options=options)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (("limit", int, 3), "its option 'limit' has the name of an option of the harness"),
        (("share", float), "its option 'share' has no default"),
    ],
)
def test_option_that_clashes_or_has_no_default_is_refused(field: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        entry(options=make_dataclass("Options", [field]))


def test_options_are_built_from_values_and_unknown_ones_refused() -> None:
    assert entry(options=Options).options_from({"share": 0.25}) == Options(0.25)
    with pytest.raises(UsageError, match="model one has no option 'beams'; it has share"):
        entry(options=Options).options_from({"beams": 3})
    with pytest.raises(UsageError, match="it has no options of its own"):
        entry().options_from({"beams": 3})


def test_settings_that_the_model_does_not_take_are_refused() -> None:
    with pytest.raises(UsageError, match="--device, --batch-size: model one takes no such setting"):
        entry(uses=frozenset({"weights"})).load(Setting(device="cpu", batch_size=2))
    with pytest.raises(UsageError, match="--weights is empty"):
        entry(uses=frozenset({"weights"})).load(Setting(weights=" "))
    assert Setting(dtype="int8", batch_size=1).given == ["dtype", "batch_size"]


def test_load_checks_then_builds_with_setting_and_options() -> None:
    built: list[object] = []

    def build(setting: Setting, options: Options) -> WholeImage:
        built.append((setting, options))
        return WholeImage()

    def refuse(setting: Setting, options: Options) -> None:
        if options.share > 1:
            raise ResourceError("too much")

    model = entry(build=build, options=Options, refuse=refuse, uses=frozenset({"device"}))
    model.load(Setting(device="cpu"), share=0.75)
    assert built == [(Setting(device="cpu"), Options(0.75))]
    with pytest.raises(ResourceError, match="too much"):
        model.load(Setting(), share=2.0)
    assert len(built) == 1


def test_number_of_examples_depends_on_the_options() -> None:
    assert entry().shots_of({}) == 0
    taking = entry(options=Options, shots=lambda options: int(options.share * 8))
    assert (taking.shots_of({}), taking.shots_of({"share": 0.25})) == (4, 2)
    with pytest.raises(UsageError, match="has no option 'beams'"):
        taking.shots_of({"beams": 3})


def test_kinds_may_depend_on_the_options() -> None:
    more = entry(
        options=Options,
        kinds_of=lambda options: frozenset({"refer", "segment"} if options.share > 0.9 else {"refer"}),
    )
    assert more.answers({}) == {"refer"}
    assert more.answers({"share": 1.0}) == {"refer", "segment"}
    assert entry().answers({}) == GENERAL
    with pytest.raises(UsageError, match="has no option 'shore'"):
        more.answers({"shore": 1.0})
