"""A packed folder: the same images, whatever happened on the way, and whoever reads."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness import images, runner
from harness.core import Question, Sample, Text
from harness.data import pack
from harness.errors import DataError, ResourceError

FOLDER = "coco/train2014"
NAMES = ("plain.jpg", "with space.png", "é ü 名前.jpg", "sub folder/deeper/x.jpg", "x" * 200 + ".png", "a%20b+c.jpg")
REPOSITORY = Path(__file__).parents[3]


def picture(seed: int, side: int = 24) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


def draw(root: Path, names: tuple[str, ...] = NAMES) -> dict[str, bytes]:
    """Images in their folder; by reference, what their files hold."""
    for seed, name in enumerate(names):
        path = root / FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(path)
    return {f"{FOLDER}/{name}": (root / FOLDER / name).read_bytes() for name in names}


def entries(store: Path) -> dict[bytes, bytes]:
    """All that LMDB itself finds in a store."""
    with lmdb.open(str(store), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {bytes(key): bytes(value) for key, value in transaction.cursor()}


def alter_state(store: Path, state: bytes | None) -> None:
    with lmdb.open(str(store)) as environment, environment.begin(write=True) as transaction:
        if state is None:
            transaction.delete(images.STATE)
        else:
            transaction.put(images.STATE, state)


def test_the_same_bytes_and_pixels_with_the_folder_deleted(tmp_path: Path) -> None:
    files = draw(tmp_path)
    shown = {reference: np.asarray(images.open_rgb(tmp_path, reference)) for reference in files}
    packed = pack.pack(tmp_path, files, folder=FOLDER)
    assert packed == pack.Packed(packed.path, written=len(files), bytes=sum(map(len, files.values())))
    shutil.rmtree(tmp_path / FOLDER)
    for reference, data in files.items():
        assert images.read_bytes(tmp_path, reference) == data
        np.testing.assert_array_equal(np.asarray(images.open_rgb(tmp_path, reference)), shown[reference])
    held = entries_of_copy(packed.path, tmp_path)
    assert held.pop(images.STATE).startswith(b'{"version":1,"complete":true,"count":6')
    assert held == {reference.removeprefix(f"{FOLDER}/").encode(): data for reference, data in files.items()}


def entries_of_copy(store: Path, where: Path) -> dict[bytes, bytes]:
    """LMDB opens a file once in a process, and this one has it open."""
    return entries(Path(shutil.copytree(store, where / "copy")))


def test_packing_again_adds_what_is_lacking(tmp_path: Path) -> None:
    files = draw(tmp_path)
    some = sorted(files)[:2]
    assert pack.pack(tmp_path, some, folder=FOLDER).written == 2
    assert images.read_bytes(tmp_path, some[0]) == files[some[0]]  # a reader has it open from here on
    packed = pack.pack(tmp_path, [*files, *some], folder=FOLDER)
    assert (packed.written, packed.already) == (4, 2)
    shutil.rmtree(tmp_path / FOLDER)
    assert all(images.read_bytes(tmp_path, reference) == data for reference, data in files.items())
    assert pack.pack(tmp_path, files, folder=FOLDER) == pack.Packed(packed.path, already=6)  # and needs no folder
    assert pack.check(tmp_path, FOLDER).count == 6


def test_what_cannot_be_packed_is_listed_and_still_read_from_its_file(tmp_path: Path) -> None:
    files = draw(tmp_path)
    (tmp_path / FOLDER / "text.jpg").write_bytes(b"hello")
    (tmp_path / FOLDER / "empty.jpg").touch()
    (tmp_path / FOLDER / "folder.jpg").mkdir()
    lost = [f"{FOLDER}/{name}.jpg" for name in ("text", "empty", "folder", "nowhere")]
    packed = pack.pack(tmp_path, [*files, *lost], folder=FOLDER)
    assert packed.missing == (f"{FOLDER}/folder.jpg", f"{FOLDER}/nowhere.jpg")
    assert packed.unreadable == (f"{FOLDER}/empty.jpg", f"{FOLDER}/text.jpg")
    assert (packed.written, packed.already) == (6, 0)
    with pytest.raises(DataError, match=r"text\.jpg cannot be decoded"):
        images.open_rgb(tmp_path, lost[0])
    with pytest.raises(
        DataError, match=r"nowhere\.jpg is not there, nor in .*train2014\.lmdb; `python -m harness data"
    ):
        images.open_rgb(tmp_path, lost[3])
    picture(9).save(tmp_path / lost[3])  # it came later, and is not packed yet
    assert images.open_rgb(tmp_path, lost[3]).size == (24, 24)


def test_no_store_is_begun_for_images_that_are_not_there(tmp_path: Path) -> None:
    packed = pack.pack(tmp_path, [f"{FOLDER}/a.jpg"], folder=FOLDER)
    assert packed.missing == (f"{FOLDER}/a.jpg",)
    assert not packed.path.exists()


def test_a_map_that_is_too_small_grows(tmp_path: Path) -> None:
    """Sixteen pages to begin with, for 40 images of about 2 kB in one batch."""
    files = draw(tmp_path, tuple(f"{number}.png" for number in range(40)))
    assert sum(map(len, files.values())) > 65_536
    assert pack.pack(tmp_path, files, folder=FOLDER, first_map=65_536).written == 40
    shutil.rmtree(tmp_path / FOLDER)
    assert all(images.read_bytes(tmp_path, reference) == data for reference, data in files.items())


def test_a_name_too_long_for_lmdb(tmp_path: Path) -> None:
    long = "/".join(["é" * 100] * 3) + "/x.png"  # 3 * 201 + 5 bytes; LMDB takes 511
    files = draw(tmp_path, (long,))
    assert pack.pack(tmp_path, files, folder=FOLDER).written == 1
    shutil.rmtree(tmp_path / FOLDER)
    assert images.read_bytes(tmp_path, f"{FOLDER}/{long}") == files[f"{FOLDER}/{long}"]


# ---------------------------------------------------------------------------- killed, full, not ours

SLOWLY = """
import sys, time
from pathlib import Path
from harness import images, runner
from harness.core import Question, Sample, Text
from harness.data import pack

pack.BATCH_IMAGES = 3
read = images.read_file
images.read_file = lambda path, nor="": (time.sleep(0.05), read(path, nor))[1]
root = Path(sys.argv[1])
references = [f"{sys.argv[2]}/{path.name}" for path in (root / sys.argv[2]).iterdir()]
pack.pack(root, references, folder=sys.argv[2], first_map=65536)
"""


def test_resumption_after_kills(tmp_path: Path) -> None:
    """Whatever is in the store after a kill is whole; nothing of it is used before the end, and then all of it is."""
    files = draw(tmp_path, tuple(f"{number}.png" for number in range(400)))
    store = tmp_path / f"{FOLDER}.lmdb"
    counts = [0]
    for _ in range(3):
        command = [sys.executable, "-c", SLOWLY, str(tmp_path), FOLDER]
        with subprocess.Popen(command, cwd=REPOSITORY) as packing:
            size, deadline = 0, time.monotonic() + 60
            while size <= counts[-1] * 2000 + 30_000 and time.monotonic() < deadline:  # some batches more
                time.sleep(0.01)
                size = (store / "data.mdb").stat().st_size if (store / "data.mdb").exists() else 0
            packing.send_signal(signal.SIGKILL)
        held = entries(store)
        state = held.pop(images.STATE)
        assert all(files[f"{FOLDER}/{key.decode()}"] == data for key, data in held.items())
        assert f'"complete":false,"count":{len(held)},'.encode() in state
        assert images.open_store(store) is None
        images.release(store)
        counts.append(len(held))
    assert counts == sorted(counts) and counts[1] > 0 and counts[-1] < 400
    packed = pack.pack(tmp_path, files, folder=FOLDER)
    assert (packed.written, packed.already) == (400 - counts[-1], counts[-1])
    shutil.rmtree(tmp_path / FOLDER)
    assert all(images.read_bytes(tmp_path, reference) == data for reference, data in files.items())
    state_now = pack.check(tmp_path, FOLDER)
    total = sum(
        int(
            hashlib.sha256(
                name.removeprefix(f"{FOLDER}/").encode() + b"\0" + hashlib.sha256(data).digest()
            ).hexdigest(),
            16,
        )
        for name, data in files.items()
    )
    assert int(state_now.digest, 16) == total % 2**256


def test_an_unfinished_store_is_not_used(tmp_path: Path) -> None:
    """Others' bytes in it never come out, with the folder there or not."""
    files = draw(tmp_path)
    path = pack.pack(tmp_path, files, folder=FOLDER).path
    alter_state(path, b'{"version":1,"complete":false,"count":6,"bytes":1,"digest":"0"}')
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"plain.jpg", b"of someone else")
    assert images.read_bytes(tmp_path, f"{FOLDER}/plain.jpg") == files[f"{FOLDER}/plain.jpg"]
    shutil.rmtree(tmp_path / FOLDER)
    with pytest.raises(images.MissingImage, match=r"plain\.jpg is not there; `python -m harness data check`"):
        images.read_bytes(tmp_path, f"{FOLDER}/plain.jpg")
    with pytest.raises(DataError, match=r"is no finished store; `python -m harness data pack` makes one"):
        pack.check(tmp_path, FOLDER)


def test_a_file_limit_keeps_what_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses to lengthen the file, as a full disk does."""
    files = draw(tmp_path, tuple(f"{number:02}.png" for number in range(60)))
    monkeypatch.setattr(pack, "BATCH_IMAGES", 10)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(ResourceError, match=r"cannot be written: .* free on its disk\); what is in it is kept"):
            pack.pack(tmp_path, files, folder=FOLDER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    packed = pack.pack(tmp_path, files, folder=FOLDER)
    assert packed.already in (10, 20, 30) and packed.written == 60 - packed.already
    assert pack.check(tmp_path, FOLDER).count == 60


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    files = draw(tmp_path)
    (tmp_path / f"{FOLDER}.lmdb").write_text("a file where the store's folder should be")
    with pytest.raises(ResourceError, match=r"train2014\.lmdb cannot be written: .*File exists"):
        pack.pack(tmp_path, files, folder=FOLDER)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_root(tmp_path: Path) -> None:
    files = draw(tmp_path)
    (tmp_path / "coco").chmod(0o555)
    try:
        with pytest.raises(ResourceError, match="Permission denied"):
            pack.pack(tmp_path, files, folder=FOLDER)
    finally:
        (tmp_path / "coco").chmod(0o755)


def test_an_lmdb_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    files = draw(tmp_path)
    store = tmp_path / f"{FOLDER}.lmdb"
    with lmdb.open(str(store)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"theirs", b"1")
    with pytest.raises(DataError, match=r"is an LMDB that this harness did not write; move it elsewhere"):
        pack.pack(tmp_path, files, folder=FOLDER)
    assert entries(store) == {b"theirs": b"1"}
    assert all(images.read_bytes(tmp_path, reference) == data for reference, data in files.items())


@pytest.mark.parametrize("kept", [1, 100, 8192, 9000, 0.5, -4096, -1])
def test_a_store_that_was_cut(tmp_path: Path, kept: float) -> None:
    files = draw(tmp_path)
    data = pack.pack(tmp_path, files, folder=FOLDER).path / "data.mdb"
    size = data.stat().st_size
    os.truncate(data, int(size * kept) if 0 < kept < 1 else int(kept) % size)
    for attempt in (
        lambda: images.open_rgb(tmp_path, f"{FOLDER}/plain.jpg"),
        lambda: pack.pack(tmp_path, files, folder=FOLDER),
        lambda: pack.check(tmp_path, FOLDER),
    ):
        with pytest.raises(DataError, match=r"(is cut short|not an LMDB file).*delete it and") as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert not isinstance(caught.value, images.MissingImage)


def test_a_changed_byte_is_found_by_check(tmp_path: Path) -> None:
    files = draw(tmp_path)
    data = pack.pack(tmp_path, files, folder=FOLDER).path / "data.mdb"
    whole = bytearray(data.read_bytes())
    whole[whole.index(files[f"{FOLDER}/plain.jpg"]) + 500] ^= 1
    data.write_bytes(whole)
    with pytest.raises(DataError, match="does not hold what was packed"):
        pack.check(tmp_path, FOLDER)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (b'{"version":2,"complete":true,"parts":[1]}', r"is of version 2; this harness reads 1; delete it"),
        (b"not json", "is malformed, or of a later version"),
        (b'{"version":1,"complete":true,"count":7}', "holds 6 of its 7 images"),
    ],
)
def test_states_that_are_refused(tmp_path: Path, state: bytes, message: str) -> None:
    files = draw(tmp_path)
    alter_state(pack.pack(tmp_path, files, folder=FOLDER).path, state)
    with pytest.raises(DataError, match=message):
        images.read_bytes(tmp_path, f"{FOLDER}/plain.jpg")
    with pytest.raises(DataError, match=message):
        pack.pack(tmp_path, files, folder=FOLDER)


# ---------------------------------------------------------------------------- who reads


def agree(root: Path, files: dict[str, bytes], seed: int, count: int = 200) -> bool:
    """Whether that many random reads give what was packed."""
    draws = random.Random(seed).choices(sorted(files), k=count)
    return all(images.read_bytes(root, reference) == files[reference] for reference in draws)


def tell(root: Path, files: dict[str, bytes], seed: int, answers: Connection) -> None:
    answers.send(agree(root, files, seed))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read(tmp_path: Path, method: str) -> None:
    files = draw(tmp_path)
    pack.pack(tmp_path, files, folder=FOLDER)
    shutil.rmtree(tmp_path / FOLDER)
    assert agree(tmp_path, files, 0)  # so that a fork inherits an open store
    context = multiprocessing.get_context(method)
    told, answers = context.Pipe(duplex=False)
    workers = [context.Process(target=tell, args=(tmp_path, files, seed, answers)) for seed in (1, 2)]  # type: ignore[attr-defined]
    for worker in workers:
        worker.start()
    for worker in workers:
        assert told.poll(60) and told.recv()
        worker.join(60)
        assert worker.exitcode == 0
    assert agree(tmp_path, files, 3)


def test_threads_read_and_the_process_forks_meanwhile(tmp_path: Path) -> None:
    """Without the wait for threads before a fork, the child would wait for them for ever when it closes the store."""
    files = draw(tmp_path)
    pack.pack(tmp_path, files, folder=FOLDER)
    shutil.rmtree(tmp_path / FOLDER)
    over = threading.Event()

    def read(seed: int) -> bool:
        fine = True
        while not over.is_set():
            fine &= agree(tmp_path, files, seed, 20)
        return fine

    with ThreadPoolExecutor(8) as pool:
        reading = [pool.submit(read, seed) for seed in range(8)]
        exits = [forked_exit(tmp_path, files, seed) for seed in range(20)]
        over.set()
    assert all(one.result() for one in reading)
    assert exits == [0] * 20


def forked_exit(root: Path, files: dict[str, bytes], seed: int) -> int:
    child = os.fork()
    if not child:
        signal.alarm(30)
        os._exit(0 if agree(root, files, seed) else 1)
    return os.waitpid(child, 0)[1]


def test_eight_threads_open_a_store_at_once(tmp_path: Path) -> None:
    files = draw(tmp_path)
    pack.pack(tmp_path, files, folder=FOLDER)
    shutil.rmtree(tmp_path / FOLDER)
    start = threading.Barrier(8)

    def read(seed: int) -> bool:
        start.wait()
        return agree(tmp_path, files, seed)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_one_store_under_several_names_of_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LMDB opens a file once in a process, whatever it is called."""
    files = draw(tmp_path / "root")
    pack.pack(tmp_path / "root", files, folder=FOLDER)
    shutil.rmtree(tmp_path / "root" / FOLDER)
    (tmp_path / "link").symlink_to("root")
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path / "root", tmp_path / "link", Path("root")):
        assert agree(root, files, 0, 5)
    monkeypatch.chdir("/")
    with pytest.raises(images.MissingImage):
        images.read_bytes(Path("root"), f"{FOLDER}/plain.jpg")


def test_the_nearest_store_counts(tmp_path: Path) -> None:
    draw(tmp_path, ("near/x.png", "y.png"))
    pack.pack(tmp_path, [f"{FOLDER}/near/x.png"], folder=f"{FOLDER}/near")
    near = images.read_bytes(tmp_path, f"{FOLDER}/near/x.png")
    picture(7).save(tmp_path / FOLDER / "near/x.png")
    pack.pack(tmp_path, [f"{FOLDER}/near/x.png", f"{FOLDER}/y.png"], folder=FOLDER)
    assert images.read_bytes(tmp_path, f"{FOLDER}/near/x.png") == near
    far = (tmp_path / FOLDER / "y.png").read_bytes()
    shutil.rmtree(tmp_path / FOLDER)
    assert images.read_bytes(tmp_path, f"{FOLDER}/y.png") == far


def test_a_run_hashes_what_was_packed(tmp_path: Path) -> None:
    """A digest is the same from a folder and from a store; a corrupt store stops a run, a missing image does not."""
    files = draw(tmp_path)
    gone = f"{FOLDER}/gone.jpg"
    asked: list[Sample[Text]] = [Sample(name, Question(name, None, "caption"), None, name) for name in (*files, gone)]
    expected = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} | {gone: "missing"}
    assert runner.image_digests(tmp_path, asked) == expected
    data = pack.pack(tmp_path, files, folder=FOLDER).path / "data.mdb"
    shutil.rmtree(tmp_path / FOLDER)
    assert runner.image_digests(tmp_path, asked) == expected
    images.release(data.parent)
    os.truncate(data, 9000)
    with pytest.raises(DataError, match="is cut short"):
        runner.image_digests(tmp_path, asked)


# ---------------------------------------------------------------------------- folders


def test_references_by_folder() -> None:
    references = ["coco/val/a.jpg", "vg/images/1/b.jpg", "vg/images/2/c.jpg", "other/d.jpg", "coco/val/a.jpg"]
    assert pack.by_folder(references, ["coco/val", "vg/images", "vg", "coco/notes.json"]) == {
        "coco/val": ["coco/val/a.jpg"],
        "vg/images": ["vg/images/1/b.jpg", "vg/images/2/c.jpg"],
        "other": ["other/d.jpg"],
    }


@pytest.mark.parametrize("reference", ["coco/train2014x/a.jpg", "a.jpg", "coco/a.jpg"])
def test_a_reference_of_another_folder(tmp_path: Path, reference: str) -> None:
    with pytest.raises(ValueError, match="is not in coco/train2014"):
        pack.pack(tmp_path, [reference], folder=FOLDER)


def test_a_png_is_packed_as_it_is(tmp_path: Path) -> None:
    """Not decoded and written again: a PNG keeps its text."""
    note = PngInfo()
    note.add_text("note", "kept")
    (tmp_path / FOLDER).mkdir(parents=True)
    picture(0).save(tmp_path / FOLDER / "x.png", pnginfo=note)
    pack.pack(tmp_path, [f"{FOLDER}/x.png"], folder=FOLDER)
    shutil.rmtree(tmp_path / FOLDER)
    with Image.open(BytesIO(images.read_bytes(tmp_path, f"{FOLDER}/x.png"))) as image:
        assert image.info["note"] == "kept"
