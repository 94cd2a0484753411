"""The command `ablate`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.conftest import Call as InFolder


def test_ls_names_damaged_record(call: InFolder, tmp_path: Path) -> None:
    from harness.protocols.ablate import cells_of, record_path
    from harness.protocols.studies import STUDIES

    cell = cells_of(STUDIES["prompts"], [0])["generic", 0]
    path = record_path(tmp_path, "small", cell)
    path.parent.mkdir(parents=True)
    path.write_text('{"evaluations": []}')
    status, _, said = call("ablate", "--study", "prompts", "--only-report", "--out", tmp_path, "--to", tmp_path / "to")
    assert status == 3
    assert path.name in said and "delete it to run the cell again" in said


@pytest.mark.parametrize(("given", "said"), [
    (("--study", "granularty"), "granularity, prompts"),
    (("--study", "prompts", "--seeds", "0"), "--seeds 0: at least 1"),
    (("--study", "prompts", "--arm", "loud"), "--arm loud: no such arm; there are"),
    (("--study", "prompts", "--set", "steps=3"), "--choosing, --level and --set are of the study"),
    (("--study", "engine", "--level", "0", "--no-report"), "--level 0: at least 1, and above 0"),
    (("--study", "engine", "--arm", "loud"), "--arm loud: no such arm; there are truth, raw"),
    (("--study", "engine", "--set", "step=3"), "the study has no 'step'"),
    (("--study", "engine", "--jobs", "2"), "the study engine makes its cells one after the other: no --jobs"),
])  # fmt: skip
def test_impossible_options_are_refused(call: InFolder, given: tuple[str, ...], said: str) -> None:
    status, out, complaint = call("ablate", *given)
    assert (status, out) == (2, "") and said in complaint


def test_report_of_the_engine_study_without_records_says_that_the_gate_is_not_made(
    call: InFolder, tmp_path: Path
) -> None:
    status, out, _ = call("ablate", "--study", "engine", "--only-report", "--out", tmp_path, "--to", tmp_path / "to")
    assert status == 0 and out.strip().endswith("engine.md")
    assert "| none | – | not made |" in (tmp_path / "to/engine.md").read_text()
