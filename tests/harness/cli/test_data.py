"""The commands `data list`, `data check`, `data pack` and `data new`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from PIL import Image

from harness import images
from tests import own_files, refer_files
from tests.harness.cli.calling import Call, evaluated


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
