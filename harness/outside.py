"""Tasks and models of other packages: by entry point, or by `package.module:NAME`.

A module is imported only where its name was typed, or where an installed package declares it as an entry point.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Protocol, TypeVar

from harness.errors import UsageError

log = logging.getLogger(__name__)


class Named(Protocol):
    """What has a name of its own."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


def named(name: str, kind: type[T], option: str) -> list[T]:
    """What `package.module:NAME` names: one of a kind, or several; UsageError where it cannot be loaded."""
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise UsageError(f"{option} {name}: the form is package.module:NAME, where NAME is {_a(kind)} or several")
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # anything can go wrong in a module of somebody else's
        raise UsageError(f"{option} {name} cannot be loaded: {type(error).__name__}: {error}") from error
    return loaded(found, name, kind)


def joined(own: Mapping[str, T], group: str, kind: type[T], what: str) -> dict[str, T]:
    """The project's own and those of installed packages, by name.

    An entry point that cannot be loaded is logged and left out, and so is one whose name is taken.
    """
    found = dict(own)
    for point in entry_points(group=group):
        try:
            theirs = loaded(point.load(), point.value, kind)
        except (Exception, SystemExit) as error:  # anything can go wrong in a package of somebody else's
            log.warning("the %s of %s cannot be loaded: %s", what, point.value, error)
            continue
        for one in theirs:
            if found.setdefault(one.name, one) is not one:
                log.warning("%s has %s %r, whose name is taken: it is left out", point.value, what, one.name)
    return found


def loaded(value: object, where: str, kind: type[T]) -> list[T]:
    """A value as a list of a kind; UsageError where it is neither one nor several."""
    several = list(value) if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str) else [value]
    if not several or not all(isinstance(one, kind) for one in several):
        raise UsageError(f"{where} is neither {_a(kind)} nor several ({kind.__module__}.{kind.__name__})")
    return [one for one in several if isinstance(one, kind)]


def _a(kind: type[object]) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
