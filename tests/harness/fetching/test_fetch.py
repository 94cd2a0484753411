"""Plans carried out against a server of this machine: fallbacks, sums, kills, two processes, a full disk."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import DataError, ResourceError
from harness.fetching import plan
from harness.fetching.fetch import Fetcher
from harness.fetching.ledger import Ledger
from harness.fetching.network import Network
from harness.fetching.plan import Need
from harness.fetching.sources import Source, read
from tests import origin
from tests.origin import Origin, serving
from tests.published_files import zipped

JPEG = b"\xff\xd8\xff\xe0"
IMAGES = {f"{number:02d}.jpg": JPEG + bytes([number]) * 3000 for number in range(30)}
ZIP = zipped({f"val/{name}": content for name, content in IMAGES.items()})
JSON = b'{"a": 1}' * 1000
TABLE = """
[[source]]
name = "file"
kind = "file"
urls = ["https://one/x.json", "https://two/x.json"]
path = "d/x.json"
licence = "L"
tried = true

[[source]]
name = "single"
kind = "images"
urls = ["https://one/val/{name}", "https://two/val/{name}"]
path = "d/val"
licence = "L"
tried = true

[[source]]
name = "zip"
kind = "zip"
urls = ["https://one/val.zip"]
count = 30
licence = "L"
tried = true
[source.members]
"**/*.jpg" = "d/val/"
"""


@pytest.fixture
def server() -> Iterator[Origin]:
    files = {"one/x.json": JSON, "two/x.json": JSON, "one/val.zip": ZIP}
    with serving(files | {f"one/val/{name}": content for name, content in IMAGES.items()}) as running:
        yield running


@pytest.fixture
def table(tmp_path: Path) -> tuple[Source, ...]:
    (tmp_path / "table.toml").write_text(TABLE)
    return read(tmp_path / "table.toml")


def need(table: tuple[Source, ...], path: str = "d/x.json", names: list[str] | None = None) -> Need:
    found = plan.need_of(path, table, folder=path == "d/val", names=names)
    assert found is not None
    return found


def fetch(server: Origin, root: Path, *needs: Need, free: int = 1 << 40) -> list[str]:
    with Network(server.url, retries=2, first_wait=0.01) as network:
        return Fetcher(root, network, free=lambda root: free).run(plan.jobs_of(needs))


def content(root: Path) -> dict[str, bytes]:
    """The files of a data root, without those on the way."""
    files = (path for path in root.rglob("*") if path.is_file() and ".fetch" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def on_the_way(root: Path) -> list[str]:
    """What is left of downloads and unpacking."""
    return sorted(path.name for path in (root / ".fetch").iterdir() if not path.name.endswith((".lock", "ed.json")))


# ---------------------------------------------------------------------------- what comes


def test_file_is_placed_and_recorded(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    assert fetch(server, tmp_path, need(table)) == []
    assert (tmp_path / "d/x.json").read_bytes() == JSON and on_the_way(tmp_path) == []
    entry = Ledger(tmp_path).read()["https://one/x.json"]
    assert (entry.sha256, entry.bytes) == (hashlib.sha256(JSON).hexdigest(), len(JSON))


def test_few_images_come_one_by_one(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    names = list(IMAGES)[:7]  # of 30
    assert fetch(server, tmp_path, need(table, "d/val", names)) == []
    assert content(tmp_path / "d") == {f"val/{name}": IMAGES[name] for name in names}
    assert server.count("val.zip") == 0 and len(server.asked) == 7


def test_many_images_come_as_the_archive(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    assert fetch(server, tmp_path, need(table, "d/val", list(IMAGES)[:8])) == []
    assert content(tmp_path / "d") == {f"val/{name}": data for name, data in IMAGES.items()}
    assert [asked.path for asked in server.asked] == ["one/val.zip"]
    assert on_the_way(tmp_path) == []  # the archive is not kept


def test_images_that_are_there_are_not_fetched_again(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    names = list(IMAGES)[:5]
    fetch(server, tmp_path, need(table, "d/val", names[:3]))
    server.asked.clear()
    assert fetch(server, tmp_path, need(table, "d/val", names)) == []
    assert sorted(asked.path for asked in server.asked) == [f"one/val/{name}" for name in names[3:]]


# ---------------------------------------------------------------------------- fallbacks


def test_next_address_is_taken_where_one_fails(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    del server.files["one/x.json"]
    assert fetch(server, tmp_path, need(table)) == []
    assert "https://two/x.json" in Ledger(tmp_path).read()


def test_archive_is_the_fallback_of_single_images(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    for name in IMAGES:
        del server.files[f"one/val/{name}"]
    assert fetch(server, tmp_path, need(table, "d/val", list(IMAGES)[:2])) == []
    assert (tmp_path / "d/val/00.jpg").read_bytes() == IMAGES["00.jpg"] and server.count("val.zip") == 1


def test_single_images_are_the_fallback_of_an_archive(
    server: Origin, table: tuple[Source, ...], tmp_path: Path
) -> None:
    server.files["one/val.zip"] = b"<html>maintenance</html>"
    assert fetch(server, tmp_path, need(table, "d/val", list(IMAGES))) == []
    assert content(tmp_path / "d") == {f"val/{name}": data for name, data in IMAGES.items()}


def test_missing_image_is_fetched_from_the_archive(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    del server.files["one/val/01.jpg"]
    assert fetch(server, tmp_path, need(table, "d/val", ["00.jpg", "01.jpg"])) == []
    assert (tmp_path / "d/val/01.jpg").read_bytes() == IMAGES["01.jpg"]


def test_all_reasons_are_given_where_every_address_fails(
    server: Origin, table: tuple[Source, ...], tmp_path: Path
) -> None:
    server.faults["one/x.json"] = [origin.LOGIN]
    del server.files["two/x.json"]
    [message] = fetch(server, tmp_path, need(table))
    assert message.startswith("d/x.json: https://one/x.json: an HTML page came")
    assert "https://two/x.json: status 404, there is no such file" in message and "\n" not in message
    assert content(tmp_path / "d") == {} and on_the_way(tmp_path) == []


def test_address_that_was_never_tried_is_marked(server: Origin, tmp_path: Path) -> None:
    (tmp_path / "table.toml").write_text(TABLE.replace("tried = true", "tried = false"))
    server.files.clear()
    [message] = fetch(server, tmp_path, need(read(tmp_path / "table.toml")))
    assert "only read of, and never tried by the authors" in message


def test_other_jobs_are_finished_where_one_fails(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    del server.files["one/val.zip"]
    for name in IMAGES:
        del server.files[f"one/val/{name}"]
    [message] = fetch(server, tmp_path, need(table), need(table, "d/val", list(IMAGES)))
    assert "d/val" in message and (tmp_path / "d/x.json").read_bytes() == JSON
    assert not (tmp_path / "d/val").exists()


def test_image_that_is_no_image_is_refused(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    server.files["one/val/00.jpg"] = b"not found"
    del server.files["one/val.zip"]
    [message] = fetch(server, tmp_path, need(table, "d/val", ["00.jpg"]))
    assert "what came is not an image; it begins with b'not found'" in message
    assert not (tmp_path / "d/val").exists()


def test_image_name_cannot_lead_out_of_the_root(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    server.files["one/val/../../../evil.jpg"] = JPEG
    [message] = fetch(server, tmp_path / "root", need(table, "d/val", ["../../../evil.jpg"]))
    assert "is not a path below the data root" in message and not list(tmp_path.rglob("evil*"))


# ---------------------------------------------------------------------------- sums


def pinned(tmp_path: Path, sha256: str) -> tuple[Source, ...]:
    (tmp_path / "table.toml").write_text(TABLE.replace("licence", f'sha256 = "{sha256}"\nlicence', 1))
    return read(tmp_path / "table.toml")


def test_file_of_another_sum_is_refused_and_the_next_address_taken(server: Origin, tmp_path: Path) -> None:
    table = pinned(tmp_path, hashlib.sha256(JSON).hexdigest())
    server.files["one/x.json"] = JSON.replace(b"1", b"2")
    assert fetch(server, tmp_path, need(table)) == []
    assert (tmp_path / "d/x.json").read_bytes() == JSON
    assert list(Ledger(tmp_path).read()) == ["https://two/x.json"]


def test_wrong_sum_everywhere_leaves_nothing(server: Origin, tmp_path: Path) -> None:
    [message] = fetch(server, tmp_path, need(pinned(tmp_path, "ab" * 32)))
    sha = hashlib.sha256(JSON).hexdigest()[:16]
    assert f"sha256 {sha}... of 8,000 bytes, but the table of sources says abababababababab..." in message
    assert not (tmp_path / "d").exists() and on_the_way(tmp_path) == []


def test_file_that_its_publisher_replaced_is_refused(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    fetch(server, tmp_path, need(table))
    (tmp_path / "d/x.json").unlink()
    server.files["one/x.json"] = JSON.replace(b"1", b"2")
    del server.files["two/x.json"]
    [message] = fetch(server, tmp_path, need(table))
    assert "but the first fetch gave (see " in message and "was replaced by its publisher" in message
    assert not (tmp_path / "d/x.json").exists()


def test_sum_of_an_archive_that_cannot_be_used_is_not_kept(
    server: Origin, table: tuple[Source, ...], tmp_path: Path
) -> None:
    """Else the right archive would be refused later, as another than the first."""
    wanted = need(table[2:], "d/val", list(IMAGES))
    server.files["one/val.zip"] = ZIP[:-100]
    [message] = fetch(server, tmp_path, wanted)
    assert "is not a whole zip archive" in message and Ledger(tmp_path).read() == {}
    server.files["one/val.zip"] = ZIP
    assert fetch(server, tmp_path, wanted) == []


def test_sum_that_the_hub_states_is_compared(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    server.faults["one/x.json"] = [origin.redirect("/two/x.json", X_Linked_Etag=f'"{"cd" * 32}"')]
    del server.files["two/x.json"]
    server.files["two/x.json"] = JSON[:-1] + b" "
    [source, *_] = table
    only_one = Need("d/x.json", (Source(name="f", kind="file", urls=source.urls[:1], path="d/x.json", licence="",
                                        tried=True),))  # fmt: skip
    [message] = fetch(server, tmp_path, only_one)
    assert "but the hub says cdcdcdcdcdcdcdcd..." in message


def test_malformed_record_is_an_error_before_anything_is_fetched(
    server: Origin, table: tuple[Source, ...], tmp_path: Path
) -> None:
    (tmp_path / ".fetch").mkdir()
    (tmp_path / ".fetch/fetched.json").write_text("[]")
    with pytest.raises(DataError, match=r"fetched\.json is not a record"):
        fetch(server, tmp_path, need(table))
    assert server.asked == []


# ---------------------------------------------------------------------------- interruptions


PROGRAM = """
import sys
from pathlib import Path
from harness.fetching import plan
from harness.fetching.fetch import Fetcher
from harness.fetching.network import Network
from harness.fetching.sources import read
url, table, root, path, *names = sys.argv[1:]
need = plan.need_of(path, read(Path(table)), folder=path == "d/val", names=names or None)
with Network(url, first_wait=0.01) as network:
    print("\\n".join(Fetcher(Path(root), network).run(plan.jobs_of([need]))), flush=True)
"""


def start(server: Origin, folder: Path, path: str, *names: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", PROGRAM, server.url, str(folder / "table.toml"), str(folder / "root"), path]
    return subprocess.Popen([*arguments, *names], stdout=subprocess.PIPE, text=True)


def wait_for(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_download_leaves_nothing_and_is_resumed(
    server: Origin, table: tuple[Source, ...], tmp_path: Path
) -> None:
    server.faults["one/x.json"] = [origin.slow(0.2)]
    root, part = tmp_path / "root", plan.part_of(tmp_path / "root", "https://one/x.json")
    process = start(server, tmp_path, "d/x.json")
    wait_for(lambda: part.is_file() and part.stat().st_size > 1000)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert content(root) == {}
    size = part.stat().st_size
    assert 0 < size < len(JSON)
    assert fetch(server, root, need(table)) == []
    assert server.asked[-1].headers["range"] == f"bytes={size}-"
    assert content(root) == {"d/x.json": JSON}


def test_killed_images_are_not_placed_and_are_resumed(
    server: Origin, table: tuple[Source, ...], tmp_path: Path
) -> None:
    """Half a folder of images would be taken for the whole."""
    names = list(IMAGES)[:7]
    server.faults[f"one/val/{names[-1]}"] = [origin.slow(10)]
    root = tmp_path / "root"
    process = start(server, tmp_path, "d/val", *names)
    wait_for(lambda: len(list(root.rglob("*.jpg"))) == 6)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert content(root) == {}
    server.asked.clear()
    assert fetch(server, root, need(table, "d/val", names)) == []
    assert [asked.path for asked in server.asked] == [f"one/val/{names[-1]}"]
    assert len(content(root)) == 7 and on_the_way(root) == []


def test_archive_that_was_not_unpacked_is_not_fetched_again(
    server: Origin, table: tuple[Source, ...], tmp_path: Path
) -> None:
    """The disk fills before the archive is unpacked; then there is space again."""
    needs = need(table[2:], "d/val", list(IMAGES))
    whole = plan.part_of(tmp_path, "https://one/val.zip").with_suffix("")
    with Network(server.url, first_wait=0.01) as network:
        fetcher = Fetcher(tmp_path, network, free=lambda root: 1000 if whole.exists() else 1 << 40)
        [message] = fetcher.run(plan.jobs_of([needs]))
    assert "unpacking" in message and "1.0 kB that are free" in message
    assert content(tmp_path / "d") == {}
    server.asked.clear()
    assert fetch(server, tmp_path, need(table[2:], "d/val", list(IMAGES))) == []
    assert server.asked == [] and len(content(tmp_path / "d")) == 30 and on_the_way(tmp_path) == []


def test_leftovers_of_a_killed_unpacking_are_not_placed(
    server: Origin, table: tuple[Source, ...], tmp_path: Path
) -> None:
    half = tmp_path / ".fetch/zip.unpacking/d/val"
    half.mkdir(parents=True)
    (half / "00.jpg").write_bytes(JPEG)  # cut off
    (half / "99.jpg").write_bytes(JPEG)
    assert fetch(server, tmp_path, need(table, "d/val", list(IMAGES))) == []
    assert content(tmp_path / "d") == {f"val/{name}": data for name, data in IMAGES.items()}


def test_second_process_is_told_of_the_first(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    server.faults["one/x.json"] = [origin.slow(0.2)]
    process = start(server, tmp_path, "d/x.json")
    wait_for(lambda: server.asked)
    [message] = fetch(server, tmp_path / "root", need(table))
    assert "another process is fetching file into" in message and "then run this again" in message
    assert process.communicate()[0].strip() == ""
    assert content(tmp_path / "root") == {"d/x.json": JSON}
    assert len(server.asked) == 1


@pytest.mark.parametrize(("path", "factor"), [("d/x.json", 1), ("d/val", 2)])
def test_file_of_unknown_size_that_does_not_fit_is_not_begun(
    server: Origin, table: tuple[Source, ...], tmp_path: Path, path: str, factor: int
) -> None:
    """The server's Content-Length says how much comes.  An archive is unpacked beside itself."""
    length = len(JSON) if path == "d/x.json" else len(ZIP)
    wanted = need(table, path, list(IMAGES) if path == "d/val" else None)
    [message] = fetch(server, tmp_path, wanted, free=factor * length - 1)
    assert "on the disk of" in message and "are free" in message
    assert content(tmp_path / "d") == {} and on_the_way(tmp_path) == [] and len(server.asked) == 1
    assert fetch(server, tmp_path, wanted, free=factor * length) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_folder_that_cannot_be_written_is_named(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o500)
    with pytest.raises(ResourceError, match=r"cannot write .*Permission denied"):
        fetch(server, root, need(table))


def test_root_that_is_a_file_is_named(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"cannot write .*Not a directory"):
        fetch(server, tmp_path / "file", need(table))


# ---------------------------------------------------------------------------- by hand


def test_archive_by_hand_is_unpacked_and_kept(server: Origin, tmp_path: Path) -> None:
    source = Source(
        name="form", kind="zip", urls=(), licence="L", tried=True, members={"**/*.jpg": "d/val/"},
        by_hand="fill in the form", place="d/val.zip",
    )  # fmt: skip
    [message] = fetch(server, tmp_path, need((source,), "d/val"))
    assert f"fill in the form as {tmp_path}/d/val.zip; the same command then unpacks it" in message
    (tmp_path / "d").mkdir()
    (tmp_path / "d/val.zip").write_bytes(ZIP)
    assert fetch(server, tmp_path, need((source,), "d/val")) == []
    assert len(content(tmp_path / "d")) == 31 and (tmp_path / "d/val.zip").read_bytes() == ZIP
    assert server.asked == [] and json.loads(json.dumps(on_the_way(tmp_path))) == []


# ---------------------------------------------------------------------------- a stranger's data root


@pytest.mark.parametrize("name", ["{part}", "{part}.json", "file.lock", "fetched.lock"])
def test_link_in_a_strangers_root_is_not_written_through(
    server: Origin, table: tuple[Source, ...], tmp_path: Path, name: str
) -> None:
    root = tmp_path / "root"
    part = plan.part_of(root, "https://one/x.json")
    (root / ".fetch").mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    (root / ".fetch" / name.replace("{part}", part.name)).symlink_to(tmp_path / "mine")
    [message] = fetch(server, root, need(table))
    assert "is a link" in message and "remove it" in message
    assert (tmp_path / "mine").read_text() == "mine"


def test_folder_of_work_that_is_a_link_is_refused(server: Origin, table: tuple[Source, ...], tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "mine").mkdir()
    (root / ".fetch").symlink_to(tmp_path / "mine")
    with pytest.raises(DataError, match=r"\.fetch is a link"):
        fetch(server, root, need(table))
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize("name", ["zip.unpacking", "zip.unpacking/d", "single.images", "single.images/d"])
def test_staging_folder_with_a_link_is_refused(
    server: Origin, table: tuple[Source, ...], tmp_path: Path, name: str
) -> None:
    root = tmp_path / "root"
    (tmp_path / "mine").mkdir()
    (root / ".fetch" / name).parent.mkdir(parents=True, exist_ok=True)
    (root / ".fetch" / name).symlink_to(tmp_path / "mine")
    names = list(IMAGES)[:3] if "images" in name else list(IMAGES)
    [message] = fetch(server, root, need(table, "d/val", names))
    assert "is a link, through which nothing is written" in message
    assert list((tmp_path / "mine").iterdir()) == []


def test_file_in_place_of_a_folder_is_named_and_others_go_on(
    server: Origin, table: tuple[Source, ...], tmp_path: Path
) -> None:
    (tmp_path / "d").write_text("a file")
    other = Source(name="o", kind="file", urls=("https://two/x.json",), path="e/x.json", licence="", tried=True)
    [message] = fetch(server, tmp_path, need(table), Need("e/x.json", (other,)))
    assert "/d" in message and ("File exists" in message or "Not a directory" in message)
    assert (tmp_path / "e/x.json").read_bytes() == JSON
