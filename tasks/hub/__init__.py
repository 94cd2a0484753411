"""Copies of data sets on the hub, by the table hub.toml; forms turn their rows into official annotation files."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from tasks.hub.captions import Karpathy, Nocaps, TextCaps
from tasks.hub.forms import VERSION, Form
from tasks.hub.objects import Detection, ImagesOnly
from tasks.hub.questions import TextVqa, VizWiz, VqaV2
from tasks.hub.refer import Refer, ReferWithIds


class Copy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A copy of a data set: a row of hub.toml, which documents the fields."""

    repo: str
    form: str
    splits: dict[str, str]
    columns: dict[str, str]
    sources: tuple[str, ...]
    image: str = "image"
    settings: dict[str, Any] = {}
    tasks: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    not_official: dict[str, str] = {}
    lacks: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """What decides the files that the rows become, as text."""
        read = (self.form, self.splits, self.columns, self.image, self.settings)
        return f"{VERSION} {msgspec.json.encode(read, order='sorted').decode()}"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    copies: tuple[Copy, ...]
    none: dict[str, str]


@cache
def table() -> _File:
    """The table of copies, and the tasks without one."""
    content = tomllib.loads((Path(__file__).parents[1] / "hub.toml").read_text("utf-8"))
    return msgspec.convert(content, _File)


def form_of(copy: Copy, split: str) -> Form:
    """The form of a copy for a split of the task."""
    return FORMS[copy.form](split, **copy.settings)


FORMS: Mapping[str, Callable[..., Form]] = {
    "refer": Refer,
    "refer_with_ids": ReferWithIds,
    "karpathy": Karpathy,
    "nocaps": Nocaps,
    "textcaps": TextCaps,
    "textvqa": TextVqa,
    "vizwiz": VizWiz,
    "vqav2": VqaV2,
    "detection": Detection,
    "images_only": ImagesOnly,
}
