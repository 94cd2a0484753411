"""The types of parquet columns, in words: `string`, `integer`, `number`, `image` or `list of ...`.

A column is named by its dotted path.  A list of records and a record of lists have the same paths and types.

Numbers of float32 columns become the shortest decimal that float32 does not distinguish from them.  This restores any
number of up to six significant digits, such as 59.05 (as float64: 59.04999923706055).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

LIST = "list of "
IMAGE = "image"


def described(schema: Any, path: str) -> str | None:
    """The type of a column in the words of `Table.columns`, by dotted path; None if there is none."""
    import pyarrow.types as types

    first, *fields = path.split(".")
    if first not in schema.names:
        return None
    kind, lists = schema.field(first).type, 0

    def inner(kind: Any) -> tuple[Any, int]:
        depth = 0
        while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            kind, depth = kind.value_type, depth + 1
        return (kind.value_type if types.is_dictionary(kind) else kind), depth

    kind, lists = inner(kind)
    for name in fields:
        if not types.is_struct(kind) or kind.get_field_index(name) < 0:
            return None
        kind, more = inner(kind.field(name).type)
        lists += more
    return LIST * lists + _plain(kind)


def _plain(kind: Any) -> str:
    """The name of a type that is no list."""
    import pyarrow.types as types

    if types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return IMAGE if at >= 0 and _plain(kind.field(at).type) == IMAGE else "record"
    if types.is_binary(kind) or types.is_large_binary(kind):
        return IMAGE
    if types.is_string(kind) or types.is_large_string(kind):
        return "string"
    return "integer" if types.is_integer(kind) else {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


def fits(declared: str, found: str) -> bool:
    """Whether a type that was found is the declared one; a `number` may be an integer or a float."""
    if declared.endswith("number"):
        lists = declared.removesuffix("number")
        return found in (f"{lists}integer", f"{lists}float32", f"{lists}float64")
    return declared == found


def shorten(value: Any, path: Sequence[str]) -> None:
    """Replaces the float32 numbers at a path of a row by their shortest decimals, in place."""
    if isinstance(value, list):
        for each in value:
            shorten(each, path)
    elif isinstance(value, dict) and path[1:]:
        shorten(value[path[0]], path[1:])
    elif isinstance(value, dict):
        value[path[0]] = shortest(value[path[0]])


def shortest(value: Any) -> Any:
    """Numbers that were float32, at any depth of lists, as the shortest decimals that float32 reads as the same."""
    if isinstance(value, list):
        return [shortest(each) for each in value]
    return float(str(np.float32(value))) if isinstance(value, float) else value
