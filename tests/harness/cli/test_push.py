"""The command `push`, to a hub on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness.cli.calling import Call
from tests.harness.cli.conftest import root as root
from tests.harness.exports.model_hub import REPOSITORY, WRITER, ModelHub
from tests.harness.exports.test_push import hub as hub


@pytest.fixture
def run(here: Call, root: Path) -> str:
    """The id of a whole run on the files of a user."""
    outcome = here("run", "--task", "refcoco", "--model", "oracle", "--data", root, "--json")
    assert outcome.status == 0, outcome.err
    return str(json.loads(outcome.out)["id"])


def test_push_sends_what_its_dry_run_shows_and_nothing_the_second_time(here: Call, run: str, hub: ModelHub) -> None:
    options = ("--benchmark", "owner/name:val")
    shown = here("push", run, REPOSITORY, *options, "--dry-run")
    assert shown.status == 0 and not hub.commits and shown.out.rstrip().endswith("without --dry-run, this change is")
    assert "+++ b/.eval_results/refcoco_val.yaml" in shown.out and "+## refcoco, val" in shown.out
    sent = here("push", run, REPOSITORY, *options)
    assert sent.status == 0 and f"pushed: {hub.url}/{REPOSITORY}/commit/" in sent.out and len(hub.commits) == 1
    again = here("push", run, REPOSITORY, *options)
    assert again.status == 0 and "nothing to push" in again.out and len(hub.commits) == 1
    assert not any(WRITER in text for outcome in (shown, sent, again) for text in (outcome.out, outcome.err))


def test_card_of_the_repository_shows_no_control_sequence_on_the_terminal(here: Call, run: str, hub: ModelHub) -> None:
    hub.files["README.md"] = b"\x1b[31mred\x1b[0m\n"
    outcome = here("push", run, REPOSITORY, "--dry-run")
    assert outcome.status == 0 and " [31mred [0m" in outcome.out and "\x1b" not in outcome.out


def test_refused_push_is_one_line_and_its_status(here: Call, run: str, hub: ModelHub) -> None:
    assert here("push", run, "model", "--dry-run").status == 2
    hub.refuse["/commit/"] = (403, b"")
    outcome = here("push", run, REPOSITORY)
    assert outcome.status == 3 and outcome.complaint.startswith(f"error: {REPOSITORY}: the commit: the token may not")
