"""The parquet files of a split: in a folder, in the hub's cache, and from a hub on loopback."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.data import hub as data_hub
from harness.data.hub import Repository, fetch, in_folder, is_split_files, of_split, repository
from harness.errors import DataError, ResourceError, UsageError
from tests.baselines.test_hub import reach
from tests.hub import COMMIT, Hub, serving

REPO = "someone/data"
NAMES = (
    "data/testA-00000-of-00001.parquet",
    "data/test-00000-of-00002-9ac41c0db1646ae3.parquet",
    "data/test-00001-of-00002-40fc1b3f8b9a6a11.parquet",
    "README.md",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with two splits, whose names begin alike."""
    path = tmp_path / "repository"
    for name in NAMES:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(f"content of {name}")
    return path


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that serves the folder, with an empty cache."""
    with serving({(REPO, "main"): folder}) as hub:
        reach(hub.url, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
        yield hub


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("hf://lmms-lab/RefCOCO", Repository("lmms-lab/RefCOCO")),
        ("hf://datasets/lmms-lab/RefCOCO", Repository("lmms-lab/RefCOCO")),
        ("hf://lmms-lab/RefCOCO@v1.2", Repository("lmms-lab/RefCOCO", "v1.2")),
        ("hf://a/b@refs/convert/parquet", Repository("a/b", "refs/convert/parquet")),
        ("/data", None),
        ("miniature", None),
    ],
)
def test_repository_of_data(data: str, expected: Repository | None) -> None:
    assert repository(data) == expected


@pytest.mark.parametrize("data", ["hf://", "hf://RefCOCO", "hf://a/b/c", "hf://a/b@", "hf://a/b@../x", "hf://a/.."])
def test_repository_of_another_form_is_a_usage_error(data: str) -> None:
    with pytest.raises(UsageError, match="expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION"):
        repository(data)


def test_of_split_takes_the_split_and_not_one_that_begins_alike() -> None:
    assert of_split(NAMES, "testA", "x") == [NAMES[0]]
    assert of_split(NAMES, "test", "x") == [NAMES[1], NAMES[2]]


@pytest.mark.parametrize(
    ("names", "split", "message"),
    [
        (NAMES, "val", r"here has no parquet file of split 'val'; it has README\.md, .*named val-00000-of-00001"),
        ((), "val", "it has no parquet files"),
        (NAMES[:2], "test", r"lacks 1 of the 2 files of split 'test' \(first: test-00001-of-00002\)"),
        (("val-00000-of-00002.parquet", "val-00001-of-00003.parquet"), "val", "mixes the files of two versions"),
        (("a/val-00000-of-00001.parquet", "b/val-00000-of-00001.parquet"), "val", "in several folders"),
    ],
)
def test_of_split_without_all_files_is_a_data_error(names: tuple[str, ...], split: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        of_split(names, split, "here")


@pytest.mark.parametrize(
    "name", ["val-00000-of-00001.parquet", "data/val-00000-of-00001.parquet", "default/val/0000.parquet"]
)
def test_in_folder_reads_each_layout(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("x")
    assert is_split_files(tmp_path)
    assert in_folder(tmp_path, "val").paths == (tmp_path / name,)


def test_folder_of_official_files_is_not_taken_for_parquet(tmp_path: Path) -> None:
    """An exported table of runs beside official files is no split of a data set."""
    (tmp_path / "coco/val2017").mkdir(parents=True)
    (tmp_path / "runs.parquet").write_text("x")
    assert not is_split_files(tmp_path)
    assert not is_split_files(tmp_path / "none")


def test_huge_folder_is_looked_at_in_part_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_hub, "MOST_ENTRIES", 10)
    for number in range(50):
        (tmp_path / f"{number}.jpg").touch()
    assert not is_split_files(tmp_path)


def test_fetch_downloads_the_files_of_the_split_only(hub: Hub) -> None:
    files = fetch(Repository(REPO), "test")
    assert files.origin == f"hf://{REPO}@{COMMIT}"
    assert [path.read_text() for path in files.paths] == [f"content of {name}" for name in NAMES[1:3]]
    assert not any("testA" in asked or "README" in asked for asked in hub.asked)


def test_fetch_of_cached_files_makes_no_request(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fetch(Repository(REPO), "test")
    hub.asked.clear()
    assert fetch(Repository(REPO), "test") == first
    assert fetch(Repository(REPO, COMMIT), "test") == first
    assert hub.asked == []
    reach("http://127.0.0.1:9", monkeypatch)  # no network
    assert fetch(Repository(REPO), "test") == first


def test_fetch_of_a_split_that_is_cached_in_part_downloads_the_rest(hub: Hub) -> None:
    first = fetch(Repository(REPO), "test")
    first.paths[1].unlink()
    assert fetch(Repository(REPO), "test").paths[1].read_text() == f"content of {NAMES[2]}"


def test_fetch_without_network_is_a_resource_error(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(Repository(REPO), "test")
    reach("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ResourceError, match=r"hf://someone/data: listing its files failed .*or give --data FOLDER"):
        fetch(Repository(REPO), "testA")


def test_interrupted_download_is_a_resource_error_and_resumes(hub: Hub, folder: Path) -> None:
    (folder / NAMES[0]).write_bytes(bytes(range(256)) * 4096)
    hub.break_after = 1 << 19
    with pytest.raises(ResourceError, match=r"fetching data/testA-00000-of-00001\.parquet failed .*same command"):
        fetch(Repository(REPO), "testA")
    hub.break_after = None
    assert fetch(Repository(REPO), "testA").paths[0].read_bytes() == bytes(range(256)) * 4096


def test_fetch_of_a_split_whose_part_is_missing_on_the_hub_is_a_data_error(hub: Hub, folder: Path) -> None:
    (folder / NAMES[1]).unlink()
    with pytest.raises(DataError, match=r"hf://someone/data lacks 1 of the 2 files of split 'test'"):
        fetch(Repository(REPO), "test")


def test_fetch_says_what_the_hub_lacks_or_wants(hub: Hub) -> None:
    with pytest.raises(DataError, match=r"hf://no/one: the hub has no such data set, or it is private"):
        fetch(Repository("no/one"), "test")
    with pytest.raises(DataError, match=r"hf://someone/data@v9: the hub has no revision 'v9' of this data set"):
        fetch(Repository(REPO, "v9"), "test")
    with pytest.raises(DataError, match=r"no parquet file of split 'val'; it has data/test-00000"):
        fetch(Repository(REPO), "val")
    hub.gated.add(REPO)
    with pytest.raises(DataError, match=rf"accept its terms at {hub.url}/datasets/{REPO}, then `hf auth login`"):
        fetch(Repository(REPO), "test")


def test_name_that_leads_out_of_the_repository_is_not_downloaded(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sibling:
        rfilename = "../../test-00000-of-00001.parquet"

    class About:
        siblings, sha = (Sibling(),), COMMIT

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *args, **options: About())
    with pytest.raises(DataError, match="no parquet file of split 'test'; it has no parquet files"):
        fetch(Repository(REPO), "test")


def test_commit_that_changes_during_a_download_is_a_data_error(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sibling:
        rfilename = NAMES[0]

    class About:
        siblings, sha = (Sibling(),), "0" * 40

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *args, **options: About())
    with pytest.raises(DataError, match="changed while it was downloaded"):
        fetch(Repository(REPO), "testA")


def test_copy_of_the_cache_is_read_as_a_folder(hub: Hub, tmp_path: Path) -> None:
    snapshot = fetch(Repository(REPO), "test").paths[0].parents[1]
    shutil.copytree(snapshot, tmp_path / "copied")
    assert [path.name for path in in_folder(tmp_path / "copied", "test").paths] == [Path(n).name for n in NAMES[1:3]]


def test_commit_that_datasets_cached_without_a_branch_is_used(hub: Hub, tmp_path: Path) -> None:
    """As lmms-eval leaves it; with two commits in the cache, the hub says which one is the branch's."""
    first = fetch(Repository(REPO), "test")
    folder = tmp_path / "cache/datasets--someone--data"
    shutil.rmtree(folder / "refs")
    hub.asked.clear()
    assert fetch(Repository(REPO), "test") == first and hub.asked == []
    shutil.copytree(folder / "snapshots" / COMMIT, folder / "snapshots" / ("0" * 40))
    assert fetch(Repository(REPO), "test") == first and hub.asked != []
