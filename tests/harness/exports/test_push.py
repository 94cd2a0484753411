"""Pushes to a hub on this machine, by `huggingface_hub` itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from harness.errors import DataError, HarnessError, ResourceError, UsageError
from harness.exports import push
from tests.harness.exports.model_hub import READER, REPOSITORY, WRITER, ModelHub, serving
from tests.harness.exports.test_hub import BENCHMARK, CARD, a_run_for_the_hub

ENTRY = ".eval_results/refcoco_val.yaml"
SECRET = "hf_secret"  # a token that the hub does not know


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A hub whose repository has a card, with the writer's token and an empty cache."""
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with serving(ModelHub({"README.md": CARD.encode()})) as hub:
        path = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + path)
        yield hub


def planned(value: float = 55.25, benchmark: str | None = BENCHMARK) -> push.Push:
    return push.plan(a_run_for_the_hub(value=value), "boxes", REPOSITORY, benchmark)


def test_commit_has_the_card_and_the_entry_and_keeps_the_text(hub: ModelHub) -> None:
    change = planned()
    assert push.commit(change) == f"{hub.url}/{REPOSITORY}/commit/{hub.head}"
    [sent] = hub.commits
    assert set(sent["files"]) == {ENTRY, "README.md"} and sent["parentCommit"] == change.parent
    card = ModelCard(sent["files"]["README.md"].decode())
    assert card.data.license == "mit" and "Text of mine." in card.text and "| Acc@0.5 | 55.2" in card.text
    [entry] = parse_eval_result_entries(yaml.safe_load(sent["files"][ENTRY]))
    assert (entry.dataset_id, entry.value) == ("owner/referring", 55.25)


def test_plan_sends_nothing_and_its_diff_shows_each_line_that_changes(hub: ModelHub) -> None:
    card, entry = planned().files[1], planned().files[0]
    assert not hub.commits and not any(asked.startswith("POST") for asked in hub.asked)
    assert card.diff().startswith("--- a/README.md\n+++ b/README.md\n@@ ")
    assert entry.diff().startswith(f"--- /dev/null\n+++ b/{ENTRY}\n@@ -0,0 +1,")
    added = [line[1:] for line in card.diff().splitlines()[2:] if line.startswith("+")]
    assert "| Acc@0.5 | 55.2 [54.0, 56.5] | 10 |" in added and "license: mit" not in added
    removed = [line for line in card.diff().splitlines()[2:] if line.startswith("-")]
    assert removed == []


def test_same_run_again_changes_no_file(hub: ModelHub) -> None:
    push.commit(planned())
    assert planned().files == ()
    [file] = planned(benchmark=None, value=61.5).files
    assert "-      value: 55.25" in file.diff().splitlines() and "+      value: 61.5" in file.diff().splitlines()


def test_repository_without_a_card_gets_one(hub: ModelHub) -> None:
    hub.files = {}
    push.commit(planned())
    assert "model-index" in ModelCard(hub.files["README.md"].decode()).data.to_dict()


def test_pull_request_leaves_the_branch_and_needs_no_write_access(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    before = hub.head
    assert push.commit(planned(), pull_request=True).endswith("/discussions/1")
    assert hub.head == before and len(hub.pull_requests) == 1


def test_card_that_changed_since_it_was_read_is_not_overwritten(hub: ModelHub) -> None:
    change = planned()
    hub.files["README.md"] += b"A new line.\n"
    with pytest.raises(DataError, match="changed in the meantime; run the same command again"):
        push.commit(change)
    push.commit(planned())
    assert b"A new line." in hub.files["README.md"]


def test_card_that_cannot_be_fetched_is_not_taken_for_a_missing_one(hub: ModelHub) -> None:
    hub.refuse["/resolve/"] = (403, b"")
    with pytest.raises(HarnessError, match=r"^someone/model: reading README\.md: .*\(status 403\)"):
        planned(benchmark=None)


@pytest.mark.parametrize(
    ("part", "status", "error", "says"),
    [
        ("/api/models", 401, DataError, "does not take the token"),
        ("/commit/", 403, DataError, "use a token with write access, or --pull-request"),
        ("/api/models", 404, DataError, "no such repository"),
        ("/commit/", 429, ResourceError, "429 Too Many Requests"),
        ("/commit/", 500, ResourceError, "the commit failed: "),
        ("/api/validate-yaml", 200, DataError, "the commit failed: "),  # a page of a proxy, with status 200
    ],
)
def test_refusal_of_the_hub_is_one_line_without_the_token(
    hub: ModelHub, part: str, status: int, error: type[HarnessError], says: str
) -> None:
    hub.refuse[part] = (status, f"<html>no, {WRITER}</html>".encode())
    with pytest.raises(error, match=says) as refused:
        push.commit(planned())
    assert WRITER not in str(refused.value) and "\n" not in str(refused.value) and not hub.commits


def test_token_that_the_hub_does_not_know_is_not_printed(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with caplog.at_level(logging.DEBUG), pytest.raises(DataError, match=r"`hf auth login` \(status 401\)") as refused:
        planned()
    assert SECRET not in str(refused.value) + caplog.text and SECRET in hub.tokens


@pytest.mark.parametrize("token", ["hf_sec ret", "hf_secrét", "hf_\x01secret"])
def test_token_that_no_header_can_hold_is_refused_unseen(
    hub: ModelHub, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as environment:
        environment.setenv("HF_TOKEN", token)
        with pytest.raises(UsageError, match="log in again") as refused:
            planned()
    assert "ret" not in str(refused.value).replace("character", "") and not hub.asked


def test_public_repository_is_planned_without_a_token_and_not_changed(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    change = planned()
    with pytest.raises(UsageError, match="push needs a token with write access"):
        push.commit(change)
    assert hub.tokens == {None} and not hub.commits


def test_hub_that_cannot_be_reached_is_an_error(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # the port "discard", closed
    with pytest.raises(ResourceError, match="the hub cannot be reached: "):
        planned()


def test_metadata_that_the_hub_refuses_and_that_it_warns_of_are_told(
    hub: ModelHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.files["README.md"] = b"---\nlicense: 3\n---\n"
    with pytest.raises(DataError, match=r'Invalid metadata in README\.md\. - "license" must be a string'):
        push.commit(planned())
    hub.files["README.md"] = b"text\n"
    push.commit(planned())
    assert "empty or missing license" in caplog.text and len(hub.commits) == 1


@pytest.mark.parametrize("repository", ["model", "a/b/c", "", "a/b c", "a/../b"])
def test_repository_of_another_form_is_refused(hub: ModelHub, repository: str) -> None:
    with pytest.raises(UsageError, match="OWNER/NAME"):
        push.plan(a_run_for_the_hub(), "boxes", repository)
    assert not hub.asked


def test_run_on_the_miniature_is_refused_before_the_hub_is_asked(hub: ModelHub) -> None:
    with pytest.raises(UsageError, match="for a model card"):
        push.plan(a_run_for_the_hub(data="miniature"), "boxes", REPOSITORY)
    assert not hub.asked
