"""Tasks by name."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from tasks import TASKS, select


@pytest.mark.parametrize(("given", "expected"), [
    ("refcoco", ["refcoco"]),
    ("refcocog_res,refcoco", ["refcocog_res", "refcoco"]),
    ("refcoco, refcoco", ["refcoco"]),
    ("*_res", ["refcoco_res", "refcoco_plus_res", "refcocog_res"]),
    (["refcoco", "refcocog*"], ["refcoco", "refcocog", "refcocog_res"]),
    ("all", list(TASKS)),
    ("coco_*", ["coco_caption", "coco_detection"]),
    ("odinw*", ["odinw13", "odinw35", "odinw_miniature"]),
])  # fmt: skip
def test_select(given: str | list[str], expected: list[str]) -> None:
    assert [task.name for task in select(given)] == expected


@pytest.mark.parametrize(("given", "said"), [
    ("refcoco_rse", "did you mean refcoco_res"),
    ("voc*", "no task is called 'voc\\*'; there are 17"),
    ("refcoco,", "no task is called ''"),
    ([], "no task was named"),
])  # fmt: skip
def test_what_names_no_task(given: str | list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        select(given)
