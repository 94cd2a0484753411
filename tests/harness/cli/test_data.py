"""The commands `data list`, `data check` and `data pack`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from harness import images
from tests.harness.cli.calling import Call, evaluated


def test_data_check_names_what_is_missing(here: Call, root: Path, tmp_path: Path) -> None:
    told = here("data", "check", "--task", "refcoco", "--data", root, "--split", "val")
    assert told.status == 0  # whole, though of two images of the published ones
    assert "differs  4 samples (published: 10,834), 2 images, 4 objects" in told.out
    told = here("data", "check", "--task", "refcoco", "--data", root, "--split", "testB")
    assert told.status == 3 and "testB; it has testA, val" in told.out.replace("'", "")
    told = here("data", "check", "--task", "refcoco", "--data", tmp_path)
    assert told.status == 3
    assert "coco/train2014" in told.out and "https://cocodataset.org" in told.out


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
