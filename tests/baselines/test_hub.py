"""Checkpoint files from a hub on loopback, from the cache, and errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from baselines.hub import cached, fetch, has
from harness.errors import CheckpointError, ResourceError
from tests.hub import COMMIT, Hub, serving

REPO = "someone/model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository of four files."""
    path = tmp_path / "repository"
    path.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors", "README.md"):
        (path / name).write_text(f"content of {name}")
    return path


def reach(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the client use the hub at this address; it reads the environment only when it is imported."""
    path = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + path)


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that serves the folder as revision v1, with an empty cache."""
    with serving({(REPO, "v1"): folder}) as hub:
        reach(hub.url, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield hub


def get(revision: str = "v1", repo: str = REPO, **changes: tuple[str, ...]) -> Path:
    names: dict[str, tuple[str, ...]] = {
        "needed": ("config.json",),
        "optional": ("tokenizer.json", "vocab.json"),
        "one_of": ("a.bin", "model.safetensors"),
        **changes,
    }
    return fetch(repo, revision, why="the test needs", **names)


def test_fetch_gets_needed_optional_and_one_of_the_weight_files(hub: Hub) -> None:
    path = get()
    assert {file.name for file in path.iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}
    assert (path / "model.safetensors").read_text() == "content of model.safetensors"
    assert path.name == COMMIT
    assert cached(REPO, "v1", ("a.bin", "model.safetensors")) == str(path)


def test_cached_files_need_no_request(hub: Hub) -> None:
    path = get()
    hub.asked.clear()
    assert get() == path
    assert hub.asked == []


def test_nothing_cached_is_an_empty_place(hub: Hub) -> None:
    assert cached(REPO, "v1", ("model.safetensors",)) == ""
    assert hub.asked == []


def test_missing_needed_or_weight_file_is_a_checkpoint_error(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match=r"needs someone/model at revision v1, which has no other\.json"):
        get(needed=("other.json",))
    with pytest.raises(CheckpointError, match=r"which has none of a\.bin, b\.bin"):
        get(one_of=("a.bin", "b.bin"))


def test_unknown_revision_or_repository_is_a_checkpoint_error(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match="the hub has no such revision; give --weights FOLDER"):
        get("v2")
    with pytest.raises(CheckpointError, match="the hub has no such repository, or it is private"):
        get(repo="someone/else")


def test_hub_that_cannot_be_reached_is_a_checkpoint_error(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    reach("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
    with pytest.raises(CheckpointError, match="not on this machine, and the hub cannot be reached"):
        get()


def test_optional_file_that_is_not_cached_is_left_out_with_a_warning_without_a_network(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A later version may look for a file that an earlier one, which filled the cache, did not."""
    path = get()
    reach("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
    assert get(optional=("new.json", "tokenizer.json", "newer.json")) == path
    assert "the hub cannot be reached; not known to have new.json, newer.json" in caplog.text
    with pytest.raises(CheckpointError, match="not on this machine, and the hub cannot be reached"):
        get(needed=("new.json",))


def test_fetch_without_weight_files_gets_the_others(hub: Hub) -> None:
    assert {file.name for file in get(one_of=()).iterdir()} == {"config.json", "tokenizer.json"}


def test_has_fetches_a_file_that_is_there(hub: Hub) -> None:
    assert has(REPO, "config.json", "v1", "the test needs")
    assert (Path(cached(REPO, "v1", ("config.json",))) / "config.json").read_text() == "content of config.json"
    assert not has(REPO, "other.json", "v1", "the test needs")


def test_unreachable_hub_is_asked_once_for_optional_files(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt takes 24 seconds, and a run of many tasks fetches again for each."""
    get()
    reach("http://127.0.0.1:9/other", monkeypatch)
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    assert not has(REPO, "new.json", "v1", "the test needs")
    assert waits
    waits.clear()
    get(optional=("new.json", "newer.json"))
    assert not has(REPO, "newest.json", "v1", "the test needs")
    assert waits == []


def test_interrupted_download_is_a_resource_error_and_resumes(hub: Hub, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 4096)  # 1 MiB
    hub.break_after = 1 << 19
    with pytest.raises(
        ResourceError, match=r"fetching model\.safetensors broke off \(.*\); the same command resumes it"
    ):
        get()
    hub.break_after = None
    assert (get() / "model.safetensors").read_bytes() == bytes(range(256)) * 4096
