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
])  # fmt: skip
def test_impossible_options_are_refused(call: InFolder, given: tuple[str, ...], said: str) -> None:
    status, out, complaint = call("ablate", *given)
    assert (status, out) == (2, "") and said in complaint
