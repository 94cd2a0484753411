"""What is missing, which source comes first, and the space that it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ResourceError
from harness.fetching import plan
from harness.fetching.sources import Source

SINGLE = Source(
    name="single", kind="images", urls=("https://a/{name}",), path="coco/val", licence="L", tried=True
)  # fmt: skip
ZIP = Source(
    name="zip", kind="zip", urls=("https://a/val.zip", "https://b/val.zip"), licence="L", tried=True, bytes=4_000,
    count=40, members={"**/*.jpg": "coco/val/"},
)  # fmt: skip
FILE = Source(name="file", kind="file", urls=("https://a/x.json",), path="x.json", licence="M", tried=True, bytes=70)
TABLE = (SINGLE, ZIP, FILE)


def names(count: int) -> list[str]:
    return [f"{number}.jpg" for number in range(count)]


@pytest.mark.parametrize(("count", "first"), [(1, "single"), (10, "single"), (11, "zip"), (40, "zip")])
def test_single_images_come_first_up_to_a_quarter_of_the_archive(count: int, first: str) -> None:
    need = plan.need_of("coco/val", TABLE, folder=True, names=names(count))  # 10 of 40 are a quarter
    assert need is not None and need.sources[0].name == first
    assert {source.name for source in need.sources} == {"single", "zip"}  # the other is the fallback


def test_single_images_have_the_mean_size_of_the_archive() -> None:
    need = plan.need_of("coco/val", TABLE, folder=True, names=names(3))
    assert need is not None
    [job] = plan.jobs_of([need])
    assert job.bytes() == 300  # 3 of 40 images in 4,000 bytes


@pytest.mark.parametrize(("most", "first"), [(10, "single"), (11, "zip"), (None, "zip")])
def test_upper_bound_of_images_decides_before_they_are_known(most: int | None, first: str) -> None:
    need = plan.need_of("coco/val", TABLE, folder=True, most=most)
    assert need is not None and need.sources[0].name == first
    [job] = plan.jobs_of([need])
    assert job.bytes() == (1_000 if first == "single" else 4_000)  # 10 of 40 images in 4,000 bytes
    [(_, gives, *_)] = plan.rows([job])
    assert gives == ("up to 10 images of coco/val" if first == "single" else "coco/val")


def test_path_without_a_source_has_no_need() -> None:
    assert plan.need_of("y.json", TABLE) is None


def test_needs_of_one_source_are_one_job() -> None:
    whole = plan.need_of("coco/val", (ZIP,), folder=True)
    part = plan.need_of("coco/val/sub", (ZIP,), folder=True)
    other = plan.need_of("x.json", TABLE)
    assert whole is not None and part is not None and other is not None
    jobs = plan.jobs_of([whole, other, part])
    assert [(job.source.name, [need.path for need in job.needs]) for job in jobs] == [
        ("zip", ["coco/val", "coco/val/sub"]),
        ("file", ["x.json"]),
    ]


def test_missing_images_are_those_without_a_file(tmp_path: Path) -> None:
    need = plan.need_of("coco/val", TABLE, folder=True, names=names(3))
    (tmp_path / "coco/val").mkdir(parents=True)
    (tmp_path / "coco/val/1.jpg").write_bytes(b"x")
    assert need is not None
    left = need.missing(tmp_path)
    assert left is not None and left.names == ("0.jpg", "2.jpg")


def test_empty_folder_is_missing_and_filled_one_is_not(tmp_path: Path) -> None:
    need = plan.need_of("coco/val", (ZIP,), folder=True)
    assert need is not None
    (tmp_path / "coco/val").mkdir(parents=True)
    assert need.missing(tmp_path) is need
    (tmp_path / "coco/val/1.jpg").write_bytes(b"x")
    assert need.missing(tmp_path) is None


def test_archives_need_their_size_twice_less_what_is_there(tmp_path: Path) -> None:
    needs = [plan.need_of("coco/val", (ZIP,), folder=True), plan.need_of("x.json", TABLE)]
    jobs = plan.jobs_of(need for need in needs if need is not None)
    assert plan.space(jobs, tmp_path) == 2 * 4_000 + 70
    part = plan.part_of(tmp_path, ZIP.urls[0])
    part.parent.mkdir()
    part.write_bytes(bytes(1_000))
    assert plan.space(jobs, tmp_path) == 2 * 4_000 + 70 - 1_000
    plan.require_space(jobs, tmp_path, lambda root: 7_070)
    with pytest.raises(ResourceError, match=r"needs 7\.1 kB .* and 7\.1 kB are free"):
        plan.require_space(jobs, tmp_path, lambda root: 7_069)


def test_free_space_is_that_of_the_nearest_existing_folder(tmp_path: Path) -> None:
    assert plan.free_bytes(tmp_path / "not/there") > 0


def test_rows_name_source_paths_address_size_and_licence() -> None:
    few = plan.need_of("coco/val", TABLE, folder=True, names=names(3))
    whole = plan.need_of("coco/val", TABLE, folder=True)
    assert few is not None and whole is not None
    assert plan.rows(plan.jobs_of([few])) == [
        ("single", "3 images of coco/val", "https://a/... (and 1 more)", "300 B", "L")
    ]
    [row] = plan.rows(plan.jobs_of([whole]))
    assert row[2] == "https://a/val.zip (and 2 more), or single images if few"
