"""What forms share."""

from __future__ import annotations

import json

import pytest

from harness.core import Size
from tasks.hub.forms import Json, array, from_corners, records, width_and_height


def test_from_corners_restores_the_box_of_two_decimals() -> None:
    assert from_corners([265.35, 143.46, 265.35 + 116.49, 143.46 + 309.57]) == [265.35, 143.46, 116.49, 309.57]


def test_records_of_both_layouts_are_equal() -> None:
    expected = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert records({"a": [1, 2], "b": ["x", "y"]}) == records(expected) == expected
    assert records(None) == [] == records({"a": [], "b": []})
    with pytest.raises(ValueError, match="shorter"):
        records({"a": [1, 2], "b": ["x"]})


def test_json_of_lists_is_json() -> None:
    content = Json.of("images", "annotations")
    content.add("images", {"id": 1, "name": "a"})
    assert json.loads(content.encoded()) == {"images": [{"id": 1, "name": "a"}], "annotations": []}
    assert json.loads(array([])) == [] and json.loads(array([b"1", b"2"])) == [1, 2]
    assert width_and_height(Size(4, 3)) == {"width": 4, "height": 3}
