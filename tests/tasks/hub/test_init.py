"""The table of copies, and the forms that turn rows into official annotation files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tasks import TASKS, hub
from tasks.hub import FORMS, Copy, form_of, table
from tests import copies as written
from tests.tasks.hub.rows import ROWS, look

EVERY = table().copies
BY_REPO = {copy.repo: copy for copy in EVERY}


@pytest.mark.parametrize("copy", EVERY, ids=[copy.repo for copy in EVERY])
def test_copy_names_tasks_splits_and_forms_that_exist(copy: Copy) -> None:
    assert copy.form in FORMS and copy.sources and (copy.tasks or copy.images)
    assert not set(copy.tasks) & set(copy.images)
    for name in (*copy.tasks, *copy.images):
        task = TASKS[name]
        assert set(copy.splits) & {*task.splits, *task.hidden_splits, *task.train_splits}
    assert copy.not_official.keys() <= copy.splits.keys()
    form_of(copy, next(iter(copy.splits)))


def test_every_repository_has_one_row_and_every_task_a_copy_or_a_reason() -> None:
    assert len(BY_REPO) == len(EVERY)
    held = {name for copy in EVERY for name in (*copy.tasks, *copy.images)}
    embedded = {"odinw_miniature", "rf100_vl_miniature"}
    assert held | table().none.keys() == TASKS.keys() - embedded and not held & table().none.keys()


@pytest.mark.parametrize("task", sorted(written.COPIES))
def test_declared_columns_are_those_of_the_data_set_card(task: str) -> None:
    """The tests write files with the columns of the cards; see `sources` in the table."""
    repo, split, ours, columns, _ = written.COPIES[task]
    copy = BY_REPO[repo]
    assert {name.partition(".")[0] for name in (*copy.columns, copy.image)} <= columns.keys()
    assert copy.splits[ours] == split and task in copy.tasks


def test_digest_changes_with_what_decides_the_files_and_not_with_words() -> None:
    copy = BY_REPO["lmms-lab/NoCaps"]
    assert msgspec.structs.replace(copy, lacks=("other",), sources=()).digest == copy.digest
    assert msgspec.structs.replace(copy, columns={}).digest != copy.digest
    assert msgspec.structs.replace(copy, settings={"a": 1}).digest != copy.digest


def test_categories_of_coco_have_the_ids_of_its_annotation_files() -> None:
    """91 numbers, of which COCO's detection annotations leave out eleven."""
    settings = BY_REPO["detection-datasets/coco"].settings
    absent = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
    assert settings["ids"] == [number for number in range(1, 92) if number not in absent]
    assert len(settings["names"]) == 80
    by_id = dict(zip(settings["ids"], settings["names"], strict=True))
    # COCO's documentation: 1 person, 18 dog, 44 bottle, 62 chair, 90 toothbrush
    assert [by_id[number] for number in (1, 18, 44, 62, 90)] == ["person", "dog", "bottle", "chair", "toothbrush"]


def _form(name: str) -> Any:
    copy = next(copy for copy in EVERY if copy.form == name)
    return form_of(copy, next(split for split in copy.splits))


@pytest.mark.parametrize("name", sorted(FORMS))
def test_form_takes_its_row_and_refuses_one_with_a_null(name: str) -> None:
    assert ROWS.keys() == FORMS.keys()
    form = _form(name)
    assert form.add(ROWS[name], look).endswith(".jpg")
    form.files()
    nullable = {"answers", "question_type", "answer_type"} if name in ("textvqa", "vizwiz", "vqav2") else set()
    for field in ROWS[name].keys() - nullable:
        with pytest.raises(ValueError, match=r"null|None|got"):
            _form(name).add({**ROWS[name], field: None if field != "objects" else [None]}, look)


def test_version_of_the_forms_is_part_of_the_digest() -> None:
    assert EVERY[0].digest.startswith(f"{hub.VERSION} ")


def test_every_copy_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs/evaluate.md").read_text()
    assert [copy.repo for copy in EVERY if f"`{copy.repo}`" not in text] == []
