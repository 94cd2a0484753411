"""Names that every tracker takes."""

from __future__ import annotations

import pytest

from harness.tracking.events import plain


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Acc@0.5 low", "Acc_0.5_low"), ("count/failed", "count/failed"), ("AP-50", "AP-50"), ("größe", "größe"),
     ("a\nb\x1b", "a_b_")],
)  # fmt: skip
def test_plain_name_has_letters_digits_and_four_signs(name: str, expected: str) -> None:
    assert plain(name) == expected
