"""Errors: the docstring's table, the classes and their exit statuses agree."""

from __future__ import annotations

import re

from harness import errors
from harness.errors import HarnessError


def test_docstring_table_lists_every_error_with_its_exit_status() -> None:
    classes = {kind.__name__: kind.exit_status for kind in HarnessError.__subclasses__()}
    table = re.findall(r"^      (\w+Error) +(\d+) ", errors.__doc__ or "", re.MULTILINE)
    assert {name: int(status) for name, status in table} == classes
    assert len(table) == len(classes)


def test_exit_statuses_of_errors_differ_from_success_bug_and_interruption() -> None:
    """0 is success, 1 is a bug, and 130 is an interrupted command."""
    assert not {kind.exit_status for kind in HarnessError.__subclasses__()} & {0, 1, 130}


def test_every_error_derives_from_harness_error() -> None:
    defined = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(kind, HarnessError) for kind in defined)
