"""Tasks and models of other packages, by entry point or by `package.module:NAME`.

A module is imported only if its name was typed, or if an installed package declares it as an entry point.
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
    """An object with a name, such as a Task or an Entry."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


def named(name: str, kind: type[T], option: str) -> list[T]:
    """The objects of `kind` that `package.module:NAME` names: one object, or a sequence or set of them.

    UsageError, naming the command-line option, if the form is wrong, the import fails, or NAME is something else.
    """
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise UsageError(f"{option} {name}: the form is package.module:NAME, where NAME is {_a(kind)} or several")
    try:
        value: object = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (Exception, SystemExit) as error:  # a module of another project may raise anything
        raise UsageError(f"{option} {name} cannot be loaded: {type(error).__name__}: {error}") from error
    return loaded(value, name, kind)


def joined(own: Mapping[str, T], group: str, kind: type[T], what: str) -> dict[str, T]:
    """The project's own objects and those that installed packages declare in an entry point group, by name.

    An entry point is logged and left out if it cannot be loaded or if its name is taken.  `what` names the objects in
    log messages.
    """
    by_name = dict(own)
    for point in entry_points(group=group):
        try:
            declared = loaded(point.load(), point.value, kind)
        except (Exception, SystemExit) as error:  # a package of another project may raise anything
            log.warning("the %s of %s cannot be loaded: %s", what, point.value, error)
            continue
        for item in declared:
            if by_name.setdefault(item.name, item) is not item:
                log.warning("%s has %s %r, whose name is taken: it is left out", point.value, what, item.name)
    return by_name


def loaded(value: object, where: str, kind: type[T]) -> list[T]:
    """The value as a list of objects of `kind`; UsageError, naming `where`, if it is neither one nor several."""
    items = list(value) if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str) else [value]
    if not items or not all(isinstance(item, kind) for item in items):
        raise UsageError(f"{where} is neither {_a(kind)} nor several ({kind.__module__}.{kind.__name__})")
    return [item for item in items if isinstance(item, kind)]


def _a(kind: type[object]) -> str:
    """The name of a class with its article."""
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
