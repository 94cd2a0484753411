"""The commands `data list`, `data fetch`, `data sources`, `data check`, `data pack` and `data new`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from harness import images
from harness.data import manifest
from tasks import TASKS
from tests import own_files, published_files, refer_files
from tests.harness.cli.calling import ROOT, Call, evaluated, process
from tests.origin import LOGIN, serving, slow


def test_data_check_names_missing_files(here: Call, root: Path, tmp_path: Path) -> None:
    outcome = here("data", "check", "--task", "refcoco", "--data", root, "--split", "val")
    assert outcome.status == 0  # whole, though of two images of the published ones
    assert "differs  4 samples (published: 10,834), 2 images, 4 objects" in outcome.out
    outcome = here("data", "check", "--task", "refcoco", "--data", root, "--split", "testB")
    assert outcome.status == 3 and "testB; it has testA, val" in outcome.out.replace("'", "")
    outcome = here("data", "check", "--task", "refcoco", "--data", tmp_path)
    assert outcome.status == 3
    assert "coco/train2014" in outcome.out and "https://cocodataset.org" in outcome.out


def test_images_are_packed_and_read_from_there(here: Call, miniature: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(miniature / "vizwiz", root / "vizwiz")
    named = ("--task", "vizwiz", "--data", root)
    status, out, err = here("data", "pack", *named)
    assert status == 0 and "80 images packed" in out, err
    assert "0 images packed (0 bytes), 80 before" in here("data", "pack", *named)[1]
    before = evaluated(here, "vizwiz", "--limit", "5", model="florence2-nano")
    shutil.rmtree(root / "vizwiz/val")
    status, out, err = here("run", *named, "--limit", "5", "--model", "florence2-nano", "--json")
    assert status == 0, err
    assert json.loads(out)["metrics"] == before["metrics"]
    status, out, _ = here("data", "check", *named, "--decode")
    assert "packed   vizwiz/val: 80 images" in out
    data = bytearray((root / "vizwiz/val.lmdb/data.mdb").read_bytes())
    data[len(data) // 2] ^= 1
    (root / "vizwiz/val.lmdb/data.mdb").write_bytes(data)
    status, out, err = here("data", "check", *named, "--decode")
    assert status == 3 and ("wrong" in out or "unreadable" in out)
    images.release(images.store_path(root, "vizwiz/val"))  # a file that is mapped must not be cut
    (root / "vizwiz/val.lmdb/data.mdb").write_bytes(b"no LMDB")
    status, out, err = here("data", "check", "--task", "vizwiz,textvqa", "--data", root)
    assert status == 3 and "wrong " in out and "textvqa val:" in out  # and what comes after is checked


def test_shared_image_files_are_reported_by_check_and_run(here: Call, tmp_path: Path) -> None:
    """Twenty image ids, one image file: a copied line, or a file name that the export forgot to number."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "images/x.png")
    images = [{"id": number, "file_name": "x.png", "width": 40, "height": 30} for number in range(20)]
    box = {"category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
    boxes = [{"id": number + 1, "image_id": number, **box} for number in range(20)]
    truth = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    own = ("--task", "coco_detection", "--annotations", tmp_path / "gt.json", "--images", tmp_path / "images")
    checked = here("data", "check", *own)
    assert checked.status == 0
    assert "shared   20 image ids share 1 image file; 20 of them are " in checked.out
    ran = here("run", *own, "--model", "oracle", "--out", tmp_path / "results", "--json")
    assert "20 image ids share 1 image file" in ran.err
    provenance = json.loads(ran.out)["provenance"]
    assert provenance["shared images"].startswith("20 image ids share 1 image file")
    assert provenance["published counts"] == "1 images (published: 5,000), 20 objects (published: 36,781)"


def test_data_check_names_excluded_samples_and_empty_targets_without_images(here: Call, tmp_path: Path) -> None:
    instances = refer_files.instances()
    instances["annotations"][0]["segmentation"] = [[20, 10, 60, 40]]
    instances["annotations"][1]["segmentation"] = [[3, 3, 3, 3, 3, 3]]
    folder = refer_files.write(tmp_path, instances=instances)
    outcome = here("data", "check", "--task", "refcoco_res", "--annotations", folder, "--split", "val")
    assert outcome.status == 3 and "missing  coco/train2014" in outcome.out  # the images
    assert "note     2 samples are excluded: they have an outline without a ring of three points" in outcome.out
    assert "(first: 101, 102)" in outcome.out
    assert "note     1 samples have a target of area 0, which no answer can match (first: 103)" in outcome.out


def test_data_check_strict_refuses_conversions(here: Call, tmp_path: Path) -> None:
    content = {
        "images": [{"id": 7.0, "file_name": "7.jpg", "width": 9, "height": 9}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [],
    }
    (tmp_path / "mine.json").write_text(json.dumps(content))
    check = ("data", "check", "--task", "coco_detection", "--annotations", tmp_path / "mine.json")
    outcome = here(*check)
    assert "mine.json: ids that are floats, read as integers: 1 (first: $.images[0].id)" in outcome.out
    outcome = here(*check, "--strict")
    assert (
        outcome.status == 3
        and "$.images[0].id is the float 7.0; correct the file, or leave --strict out" in outcome.out
    )


def test_data_fetch_fills_a_root_and_checks_it(
    here: Call, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = published_files.published(miniature, tmp_path / "made")
    table, root = published_files.without_sums(tmp_path), tmp_path / "new/root"
    with serving(files) as server:
        monkeypatch.setenv("FLORENCE2_HARNESS_MIRROR", server.url)
        named = ("--task", "refcoco_res", "--data", root, "--sources", table)
        planned = here("data", "fetch", *named, "--dry-run")
        assert planned.status == 0 and "RefCOCO" in planned.out and not root.exists()
        fetched = here("data", "fetch", *named)
        assert fetched.status == 0, fetched.err
        assert "images of coco/train2014" in fetched.out and "refcoco_res val:" in fetched.out
        assert "differs  " in fetched.out and "missing" not in fetched.out.partition("refcoco_res val:")[2]
        again = here("data", "fetch", *named)
        assert again.status == 0 and again.out.startswith("refcoco_res val:")
    assert evaluated_in(here, root) == evaluated(here, "refcoco_res", model="oracle")["metrics"]


def evaluated_in(here: Call, root: Path) -> object:
    outcome = here("run", "--task", "refcoco_res", "--model", "oracle", "--data", root, "--json")
    assert outcome.status == 0, outcome.err
    return json.loads(outcome.out)["metrics"]


def test_data_fetch_that_fails_has_one_line_and_its_status(
    here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = published_files.without_sums(tmp_path)
    page = "dl.fbaipublicfiles.com/textvqa/data/TextVQA_0.5.1_val.json"
    with serving({}) as server:
        monkeypatch.setenv("FLORENCE2_HARNESS_MIRROR", server.url)
        server.faults[page] = [LOGIN]
        outcome = here("data", "fetch", "--task", "textvqa", "--data", tmp_path / "root", "--sources", table)
    assert outcome.status == 6
    assert outcome.complaint.startswith("error: not fetched: textvqa/T") or "train_images" in outcome.complaint
    assert f"https://{page}: an HTML page came, as of a login or an error" in outcome.out
    assert "missing  " in outcome.out  # of the check


def test_data_sources_prints_the_table(here: Call) -> None:
    outcome = here("data", "sources")
    assert (
        outcome.status == 0
        and "| `refer/refcoco/refs(unc).p`, `refer/refcoco/instances.json` | <https://" in outcome.out
    )


def test_data_fetch_of_a_malformed_table_names_it(here: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[[source]]\nname = 3\n")
    outcome = here("data", "fetch", "--task", "vizwiz", "--data", tmp_path, "--sources", tmp_path / "mine.toml")
    assert outcome.status == 3 and "mine.toml: source 1 (3)" in outcome.complaint


def test_interrupted_data_fetch_ends_soon_with_one_line(tmp_path: Path) -> None:
    table, root = published_files.without_sums(tmp_path), tmp_path / "root"
    page = "dl.fbaipublicfiles.com/textvqa/data/TextVQA_0.5.1_val.json"
    command = [sys.executable, "-m", "harness", "data", "fetch", "--task", "textvqa", "--data", str(root)]
    with serving({page: bytes(1_000_000)}) as server:
        server.faults[page] = [slow(0.1)]  # 100 s in all
        environment = {**os.environ, "FLORENCE2_HARNESS_MIRROR": server.url}
        process = subprocess.Popen(
            [*command, "--sources", str(table)], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
            stdout=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # background shells ignore it  # fmt: skip
        while not any(path.stat().st_size for path in root.glob(".fetch/*.part")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.strip().splitlines()[-1].startswith("error: interrupted; finished work is kept")
    assert not (root / "textvqa").exists()


@pytest.mark.slow
def test_all_tasks_run_on_what_data_fetch_brings_into_an_empty_folder(miniature: Path, tmp_path: Path) -> None:
    """The archives behind forms are put where `data fetch` says; everything else comes from the server."""
    files = published_files.published(miniature, tmp_path / "made")
    table, root = published_files.without_sums(tmp_path, n82783=40), tmp_path / "root"
    with serving(files) as server:
        named = ("data", "fetch", "--task", "all", "--data", root, "--sources", table)
        first = process(*named, FLORENCE2_HARNESS_MIRROR=server.url)
        assert first.status == 3 and "flickr30k/flickr30k-images" in first.out
        for place, archive in published_files.archives_by_hand(miniature, tmp_path / "made").items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_bytes(archive)
        second = process(*named, FLORENCE2_HARNESS_MIRROR=server.url)
        assert second.status == 0, second.out
        assert not [asked for asked in server.asked if asked.path not in files]
    published = [task for task in TASKS.values() if not task.name.endswith("_miniature")]
    assert not [task.name for task in published if manifest.missing(task, root, [task.splits[0]])]
    out = tmp_path / "results"
    limits = ("--limit", "1", "--no-meteor", "--out", out)
    ran = process("run", "--task", "all", "--model", "florence2-nano", "--data", root, *limits)
    assert ran.status == 0, ran.err
    evaluated_tasks = {path.name for path in (out / "root").iterdir()}
    assert evaluated_tasks == {
        task.name
        for task in published
        if not task.name.endswith(("_retrieval", "_rerank"))  # embed, match
    }


def test_data_new_says_what_it_found_and_what_to_do_next(here: Call, miniature: Path, tmp_path: Path) -> None:
    content = own_files.instances(miniature, 3)
    table = own_files.as_csv(miniature, content, tmp_path / "photos", ";")
    table.write_text(table.read_text() + "gone.jpg;10;10;cat;1;1;5;5\n")
    outcome = here("data", "new", "--annotations", table, "--to", tmp_path / "shop.toml")
    assert outcome.status == 0, outcome.err
    first, *_, note, last = outcome.out.splitlines()
    assert first.startswith("csv: 3 images, 3 in val; ")
    assert "photos-detect: val 3 samples, 3 images, " in outcome.out
    assert note == "note: images that are not there, left out: 1 (first: gone.jpg)"
    assert last.endswith(f"next: python -m harness run --task all --model florence2-nano --data {tmp_path}/shop.toml")
    assert here("data", "new", "--annotations", table, "--to", tmp_path / "shop.toml", "--strict").status == 3
    assert here("data", "new").status == 2
    table.write_text("")
    outcome = here("data", "new", "--annotations", table, "--to", tmp_path / "shop.toml")
    assert (outcome.status, outcome.complaint) == (3, f"error: {table} is empty")
