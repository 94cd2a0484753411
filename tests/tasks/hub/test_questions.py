"""Forms of questions."""

from __future__ import annotations

import pytest

from tasks.hub import FORMS
from tests.tasks.hub.rows import ROWS, look


@pytest.mark.parametrize(("task", "split"), [("textvqa", "test"), ("vizwiz", "test"), ("vqav2", "test-dev")])
def test_answers_of_a_hidden_split_are_left_out(task: str, split: str) -> None:
    """Copies fill them with nothing, or with empty texts."""
    form = FORMS[task](split)
    assert "test" in form.add({**ROWS[task], "answers": [""] * 10 if task != "vqav2" else None}, look)
    assert b'"answers":["' not in b"".join(form.files().values())
    assert len(form.files()) == 1
