"""What tasks lack, joined with the table of sources, and fetched from a server of this machine."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import progress, tracking
from harness.core import EMBEDDED
from harness.data import manifest
from harness.errors import DataError, ResourceError, UsageError
from harness.evaluation import fetching
from harness.evaluation.fetching import TABLE, Fetching
from harness.fetching import plan, sources
from harness.fetching.network import Network
from tasks import TASKS
from tests import published_files
from tests.origin import Origin, serving
from tests.tracked import sent

ROOT = Path(__file__).parents[3]
NEEDS = {need.path: need for task in TASKS.values() for need in task.files if need.origin != EMBEDDED}


# ---------------------------------------------------------------------------- the project's table


def test_every_file_of_every_task_has_a_source() -> None:
    table = sources.read(TABLE)
    assert len(NEEDS) > 150  # those of ODinW among them
    assert [path for path in NEEDS if plan.need_of(path, table) is None] == []


def test_every_source_is_of_a_task() -> None:
    for source in sources.read(TABLE):
        assert any(source.covers(path) for path in NEEDS), source.name


def test_addresses_of_plain_http_have_a_pinned_sum() -> None:
    """Somebody on the way could change what plain http sends."""
    for source in sources.read(TABLE):
        assert source.sha256 or not any(url.startswith("http://") for url in source.urls), source.name


def test_only_what_is_behind_a_form_or_an_account_is_by_hand() -> None:
    names = {source.name.partition(",")[0] for source in sources.read(TABLE) if source.by_hand}
    assert names == {"Flickr30k images", "Roboflow100-VL", "DocVQA questions", "DocVQA pages"}


def test_page_of_sources_is_generated_from_the_table() -> None:
    page = (ROOT / "docs/sources.md").read_text()
    assert sources.markdown(sources.read(TABLE)) in page, "python -m harness data sources prints the table"


# ---------------------------------------------------------------------------- fetches


@pytest.fixture(scope="module")
def files(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return published_files.published(miniature, tmp_path_factory.mktemp("made"))


@pytest.fixture
def server(files: dict[str, bytes]) -> Iterator[Origin]:
    with serving(dict(files)) as running:
        yield running


def fetch(server: Origin, root: Path, task: str, split: str | None = None, **settings: object) -> Fetching:
    """A fetch that is carried out; its texts are in `said`."""
    root.mkdir(exist_ok=True)
    table = published_files.without_sums(root.parent, n82783=settings.pop("train2014", 82783))  # type: ignore[arg-type]
    started = fetching.fetch(
        task, split, str(root), table=table, network=lambda: Network(server.url, retries=1, first_wait=0.01),
        **settings,  # type: ignore[arg-type]
    )  # fmt: skip
    said.clear()
    said.extend(started)
    return started


said: list[str] = []


def images(root: Path, folder: str) -> list[str]:
    return sorted(path.name for path in (root / folder).glob("*.jpg"))


def test_images_of_a_split_come_one_by_one_after_its_annotations(server: Origin, tmp_path: Path) -> None:
    root = tmp_path / "root"
    fetch(server, root, "refcoco_res").check()
    assert manifest.missing(TASKS["refcoco_res"], root, ["val"]) == ()
    val = images(root, "coco/train2014")
    assert server.count("train2014.zip") == 0 and server.count("train2014/") == len(val)
    fetch(server, root, "refcoco_res", "val,testA").check()
    both = images(root, "coco/train2014")
    assert set(val) < set(both)
    assert server.count("train2014/") == len(both)  # those of val were not fetched again
    assert server.count("refcoco.zip") == 1


def test_images_of_a_large_part_come_by_the_archive(server: Origin, miniature: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    fetch(server, root, "refcoco_res", train2014=40).check()  # a folder of 40 images, more than 10 of which are needed
    assert server.count("train2014.zip") == 1 and server.count("train2014/") == 0
    whole = images(miniature, "coco/train2014")
    assert set(whole) <= set(images(root, "coco/train2014"))


def test_tasks_of_one_file_fetch_it_once(server: Origin, tmp_path: Path) -> None:
    fetch(server, tmp_path / "root", "refcoco,refcoco_res,textvqa,textcaps").check()
    for name in ("refcoco.zip", "train_val_images.zip", "TextVQA_0.5.1_val.json"):
        assert server.count(name) == 1
    paths = [asked.path for asked in server.asked]
    assert len(paths) == len(set(paths))


def test_nothing_is_fetched_where_nothing_is_missing(server: Origin, miniature: Path, tmp_path: Path) -> None:
    fetch(server, tmp_path / "root", "vizwiz").check()
    server.asked.clear()
    fetch(server, tmp_path / "root", "vizwiz").check()
    assert server.asked == [] and said == []


def test_archive_has_only_the_files_of_the_split(server: Origin, tmp_path: Path) -> None:
    """Karpathy's archive has the splits of COCO and of Flickr30k; VQA's of test has test-dev and test-std."""
    root = tmp_path / "root"
    fetch(server, root, "coco_retrieval").check()
    assert (root / "coco/dataset_coco.json").is_file()
    assert not (root / "flickr30k").exists()


def test_images_in_a_folder_of_one_data_set_come_with_its_annotations(server: Origin, tmp_path: Path) -> None:
    """ODinW: annotations and images are in one archive, which is fetched once."""
    root = tmp_path / "root"
    fetch(server, root, "odinw13").check()
    assert manifest.missing(TASKS["odinw13"], root, ["val"]) == ()
    assert {server.count(f"odinw_35/{name}.zip") for name in ("Aquarium", "pistols", "AerialMaritimeDrone")} == {1}
    assert not (root / "odinw/BCCD").exists()  # of odinw35


def test_removed_images_are_fetched_again(server: Origin, tmp_path: Path) -> None:
    root = tmp_path / "root"
    fetch(server, root, "vizwiz").check()
    gone = root / "vizwiz/val" / images(root, "vizwiz/val")[0]
    gone.unlink()
    fetch(server, root, "vizwiz").check()
    assert gone.is_file() and server.count("images/val.zip") == 2


def test_file_that_is_there_in_another_form_is_enough(server: Origin, miniature: Path, tmp_path: Path) -> None:
    """The karpathy_gt file alone has the captions; COCO's and Karpathy's own are then not fetched."""
    root = tmp_path / "root"
    (root / "coco").mkdir(parents=True)
    karpathy = json.loads((miniature / "coco/dataset_coco.json").read_text())
    chosen = [image for image in karpathy["images"] if image["split"] == "test"][:2]
    (root / "coco/coco_karpathy_test_gt.json").write_text(json.dumps({
        "images": [{"id": image["cocoid"]} for image in chosen],
        "annotations": [
            {"id": number, "image_id": image["cocoid"], "caption": "a thing"} for number, image in enumerate(chosen)
        ],
    }))  # fmt: skip
    fetch(server, root, "coco_caption").check()
    assert {asked.path.rpartition("/")[2] for asked in server.asked} == {image["filename"] for image in chosen}


def test_images_behind_a_form_are_said_and_the_rest_is_fetched(server: Origin, miniature: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    fetch(server, root, "flickr30k").check()
    assert said[0].startswith("by hand: flickr30k/flickr30k-images: fill in the form at https://hockenmaier")
    assert len(list((root / "flickr30k/Annotations").iterdir())) == 80
    place = "flickr30k/flickr30k-images.tar.gz"
    (root / place).write_bytes(published_files.archives_by_hand(miniature)[place])
    fetch(server, root, "flickr30k").check()
    assert images(root, "flickr30k/flickr30k-images") == images(miniature, "flickr30k/flickr30k-images")


# ---------------------------------------------------------------------------- plans and errors


def test_dry_run_asks_no_server_and_writes_nothing(server: Origin, tmp_path: Path) -> None:
    root = tmp_path / "root"
    fetch(server, root, "refcoco_res,vqav2", dry_run=True).check()
    assert server.asked == [] and list(root.iterdir()) == []
    table = "\n".join(said)
    assert "COCO train2014" in table and "or single images if few" in table and "Apache-2.0" in table
    assert "COCO val2014" in table  # of vqav2


def test_plan_has_the_published_sizes(tmp_path: Path) -> None:
    """RefCOCO's val has 10,834 expressions, so at most as many of the 82,783 images, and that share of the archive.

    An archive is on the disk twice, single images once.
    """
    table, summary = fetching.fetch("refcoco_res", None, str(tmp_path), dry_run=True, free=lambda root: 10**12)
    images = 10_834 * 13_510_573_713 // 82_783
    assert "54.0 MB" in table and "up to 10,834 images of coco/train2014" in table
    assert f"{images / 1e9:.1f} GB" in table and "13.5 GB" not in table
    assert f"2 sources: up to {(53_993_993 + images) / 1e9:.1f} GB" in summary
    assert f"{(2 * 53_993_993 + images) / 1e9:.1f} GB on the disk" in summary and "1,000.0 GB are free" in summary


def test_plan_of_all_images_has_the_archive(tmp_path: Path) -> None:
    """VQA v2's val names all 40,504 images of val2014."""
    table, _ = fetching.fetch("vqav2", None, str(tmp_path), dry_run=True)
    assert "COCO val2014 " in table and "6.6 GB" in table


def test_full_disk_is_noticed_before_anything_is_fetched(server: Origin, tmp_path: Path) -> None:
    def network() -> Network:
        raise AssertionError("a request")

    started = fetching.fetch("refcoco_res", None, str(tmp_path), network=network, free=lambda root: 10**8)
    with pytest.raises(ResourceError, match=r"needs 108\.0 MB for downloads .* and 100\.0 MB are free"):
        list(started)


def test_unreachable_server_is_said_once_for_each_source(tmp_path: Path) -> None:
    started = fetching.fetch(
        "textcaps", None, str(tmp_path), free=lambda root: 10**12,
        network=lambda: Network("http://127.0.0.1:9", retries=0, first_wait=0.01),
    )  # fmt: skip
    said = list(started)
    assert sum(text.startswith("not fetched: ") for text in said) == 2  # captions and images
    with pytest.raises(
        ResourceError, match=r"not fetched: text.*refused.*never tried by the authors\) \(1 more above\)"
    ):
        started.check()


def test_malformed_annotations_are_a_failure_and_others_go_on(server: Origin, tmp_path: Path) -> None:
    server.files["s3.amazonaws.com/nocaps/nocaps_val_4500_captions.json"] = b'{"images": 3}'
    started = fetch(server, tmp_path / "root", "nocaps,textcaps")
    assert (tmp_path / "root/textvqa/train_images").is_dir()
    with pytest.raises(ResourceError, match=r"nocaps val: .*nocaps_val_4500_captions\.json is not as expected"):
        started.check()


def test_embedded_benchmark_is_not_fetched(server: Origin, tmp_path: Path) -> None:
    fetch(server, tmp_path / "root", "odinw_miniature").check()
    assert "is of the embedded benchmark; give --data miniature" in said[0]


def test_path_without_a_source_is_said_with_its_origin(server: Origin, tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text(TABLE.read_text().split('[[source]]\nname = "COCO 2017')[0])
    started = fetching.fetch("nocaps", None, str(tmp_path / "root"), table=tmp_path / "few.toml")
    assert next(iter(started)) == (
        "by hand: nocaps/nocaps_val_4500_captions.json: the table of sources does not have it; "
        "it comes from https://nocaps.org"
    )


def test_data_root_must_be_named_and_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --data ROOT, or set FLORENCE2_HARNESS_DATA"):
        fetching.fetch("nocaps", None, None)
    with pytest.raises(UsageError, match="the miniature is drawn on this machine"):
        fetching.fetch("nocaps", None, "miniature")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is not a folder"):
        fetching.fetch("nocaps", None, str(tmp_path / "file"))


def test_root_that_is_full_already_needs_no_table_of_others(server: Origin, miniature: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(miniature / "nocaps", root / "nocaps")
    fetch(server, root, "nocaps").check()
    assert server.asked == []


# ---------------------------------------------------------------------------- progress and trackers


def test_fetch_says_how_far_it_is_and_sends_bytes_to_the_trackers(
    server: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Annotations and images are two fetches, each with its own run; the bytes come from other threads."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with tracking.to(["tensorboard"], tmp_path / "tracking"):
        fetch(server, tmp_path / "root", "refcoco_res").check()
    runs = sent(tmp_path / "tracking/tensorboard")
    assert [run.name for run in runs] == ["fetch_refcoco_res"] * 2
    for run in runs:
        assert "task: refcoco_res" in run.texts["facts"] and run.numbers["rate"]
        assert run.numbers["count/failed"][0][1] == 0.0
    val = list((tmp_path / "root/coco/train2014").iterdir())
    assert runs[1].numbers["count/sources"] == [(sum(path.stat().st_size for path in val), 1.0)]
    assert any(re.match(r"fetching: [\d.]+k?B", message) for message in caplog.messages)
