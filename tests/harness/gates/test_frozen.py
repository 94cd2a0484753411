"""What is frozen: prompts, scores and answers; and that freezing covers up no changed answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.gates import answers, frozen
from harness.gates.verdicts import Verdict

FOLDER = Path(__file__).parents[3] / "baselines/frozen"


def test_golden_prompts_are_of_every_kind_and_form() -> None:
    from harness.florence2.prompts import FORMS

    golden = frozen.golden_prompts()
    assert set(golden) == {f"{kind} {form}" for kind, forms in FORMS.items() for form in forms}
    assert golden["caption brief"] == ["What does the image describe?"]  # processing_florence2.py
    # 33.6 / 640 x 1000 = 52.5 -> bin 52, and so on; the processor quantises into 1000 bins
    assert "<loc_52><loc_332><loc_932><loc_774>" in golden["name category"][0]


def test_prompts_of_a_folder_are_compared_and_a_torn_file_is_said(tmp_path: Path) -> None:
    assert {one.state for one in frozen.judged(FOLDER, ["prompts"])} == {"kept"}
    [torn] = frozen.judged(tmp_path, ["prompts"])
    assert (torn.state, torn.more) == ("broken", "gate --freeze")


def test_task_without_frozen_scores_is_red(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "frozen", ignore=shutil.ignore_patterns("vizwiz"))
    [found] = frozen.judged(tmp_path / "frozen", ["scoring vizwiz"])
    assert (found.state, found.came) == ("broken", "none are kept")


def test_nothing_is_frozen_while_answers_of_the_same_version_differ(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    red = Verdict("answers int8, 1 beam", "broken", "answers as they were", "refer: token 3", chance="raise it")
    monkeypatch.setattr(answers, "judged", lambda *_: [red])
    with pytest.raises(UsageError, match=r"refer: token 3.*nothing was frozen"):
        frozen.freeze(tmp_path)
    assert not list(tmp_path.iterdir())
