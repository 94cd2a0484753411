"""Frozen prompts, scores and answers; and `freeze`, which must not hide a changed answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.gates import answers, frozen
from harness.gates.verdicts import Verdict

FOLDER = Path(__file__).parents[3] / "baselines/frozen"


def test_golden_prompts_cover_every_kind_and_form() -> None:
    from harness.florence2.prompts import FORMS

    golden = frozen.golden_prompts()
    assert set(golden) == {f"{kind} {form}" for kind, forms in FORMS.items() for form in forms}
    assert golden["caption brief"] == ["What does the image describe?"]  # processing_florence2.py
    # The processor quantises into 1000 bins.  x: 33.6 / 640 x 1000 = 52.5, bin 52; 596.8 / 640 x 1000 = 932.5, bin 932.
    # y: 159.6 / 480 x 1000 = 332.5, bin 332; 371.76 / 480 x 1000 = 774.5, bin 774.
    assert "<loc_52><loc_332><loc_932><loc_774>" in golden["name category"][0]


def test_frozen_prompts_are_kept_and_a_missing_file_is_broken(tmp_path: Path) -> None:
    assert {verdict.state for verdict in frozen.judged(FOLDER, ["prompts"])} == {"kept"}
    [missing] = frozen.judged(tmp_path, ["prompts"])
    assert (missing.state, missing.more) == ("broken", "gate --freeze")


def test_task_without_frozen_scores_is_broken(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "frozen", ignore=shutil.ignore_patterns("vizwiz"))
    [verdict] = frozen.judged(tmp_path / "frozen", ["scoring vizwiz"])
    assert (verdict.state, verdict.measured) == ("broken", "none are kept")


def test_freeze_with_changed_answers_of_the_same_version_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = Verdict("answers int8, 1 beam", "broken", "answers as they were", "refer: token 3", reason="raise it")
    monkeypatch.setattr(answers, "judged", lambda *_: [changed])
    with pytest.raises(UsageError, match=r"refer: token 3.*nothing was frozen"):
        frozen.freeze(tmp_path)
    assert not list(tmp_path.iterdir())
