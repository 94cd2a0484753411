"""Images of an engine: the hash against its definition and imagehash, near duplicates, benchmarks (E8)."""

from __future__ import annotations

import hashlib
import logging
import pickle
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.core import Size
from harness.data_engine import images
from harness.data_engine.hashes import FLAT, perceptual_hash
from harness.data_engine.images import BenchmarkImages, ImageFilter
from harness.data_engine.records import ImageRow
from harness.errors import DataError, UsageError
from tasks import TASKS

Change = Callable[[Image.Image], Image.Image]


def row(reference: str, hash_: int | None, size: tuple[int, int] = (64, 64), sha256: str = "") -> ImageRow:
    return ImageRow(reference=reference, sha256=sha256 or reference, size=Size(*size), hash=hash_)


def pictures(root: Path, count: int) -> list[Path]:
    """Images of different scenes of the embedded benchmark."""
    return sorted((root / "coco/val2017").iterdir())[:count]


def test_duplicate_with_human_annotations_is_kept_then_the_larger() -> None:
    rows = [row("a", 7, (90, 90)), row("b", 7 ^ 1, (40, 40)), row("c", 7 ^ 2, (80, 80)), row("d", 2**63 + 7 * 2**20)]
    decided = ImageFilter()(rows)
    assert [(item.stage, item.by) for item in decided] == [
        ("", ""), ("images.duplicate", "a"), ("images.duplicate", "a"), ("", ""),
    ]  # fmt: skip
    decided = ImageFilter()(rows, human=["b"])
    assert [(item.stage, item.by) for item in decided] == [
        ("images.duplicate", "b"), ("", ""), ("images.duplicate", "b"), ("", ""),
    ]  # fmt: skip


def test_images_that_are_near_through_a_third_are_both_kept() -> None:
    a, b, c = 0b1111, 0b11111111, 0b111111110000  # 4 bits from a to b, 8 from a to c, 8 from b to c
    c = b ^ 0b111100000000  # 4 bits from b, 8 from a
    decided = ImageFilter()([row("a", a, (9, 90)), row("b", b, (50, 50)), row("c", c, (40, 40))])
    assert [item.stage for item in decided] == ["images.small", "", "images.duplicate"]
    decided = ImageFilter()([row("a", a, (90, 90)), row("b", b, (50, 50)), row("c", c, (40, 40))])
    assert [item.stage for item in decided] == ["", "images.duplicate", ""]


def test_flat_images_are_duplicates_only_of_equal_files() -> None:
    files = [("a", FLAT[1], "red"), ("b", FLAT[1], "blue"), ("c", FLAT[1], "red"), ("d", FLAT[0], "black")]
    rows = [row(name, value, sha256=digest) for name, value, digest in files]
    known = BenchmarkImages(("bench/x", "bench/y"), np.array(FLAT, np.uint64), ("grey", "black"))
    decided = ImageFilter()(rows, known)
    assert [(item.stage, item.by) for item in decided] == [
        ("", ""), ("", ""), ("images.duplicate", "a"), ("images.benchmark", "bench/y"),
    ]  # fmt: skip


def slowly(rows: list[ImageRow], known: BenchmarkImages, human: set[str]) -> dict[str, tuple[str, str]]:
    """The decisions by the rules of the module, one image after the other."""
    found = {}
    kept: list[ImageRow] = []
    same = dict(zip(known.digests, known.references, strict=True))
    for row in rows:
        near = [
            reference
            for reference, value in zip(known.references, known.hashes.tolist(), strict=True)
            if row.hash is not None and (row.hash ^ value).bit_count() <= 8
        ]
        if min(row.size) < 32:
            found[row.reference] = "images.small", ""
        elif row.sha256 in same or near:
            found[row.reference] = "images.benchmark", same.get(row.sha256) or near[0]
    left = [row for row in rows if row.reference not in found]
    left.sort(key=lambda row: (row.sha256 not in human, -row.size.width * row.size.height, row.reference))
    first = {row.sha256: row for row in reversed(left)}
    for row in left:
        if first[row.sha256] is row:
            best = next((each for each in kept if near_each(row, each)), row)
            kept += [row] if best is row else []
            found[row.reference] = ("", "") if best is row else ("images.duplicate", best.reference)
    for row in left:
        if (owner := first[row.sha256]) is not row:
            found[row.reference] = "images.duplicate", found[owner.reference][1] or owner.reference
    return found


def near_each(one: ImageRow, other: ImageRow) -> bool:
    """Whether two hashes differ in at most four bits."""
    return one.hash is not None and other.hash is not None and (one.hash ^ other.hash).bit_count() <= 4


@pytest.mark.parametrize("seed", range(8))
def test_decisions_on_many_images_are_those_of_a_slow_loop(seed: int) -> None:
    """Hashes a few bits apart, equal files, people's images, unread ones and benchmarks' among 150 images."""
    draw = random.Random(seed)
    centres = [draw.getrandbits(64) | 1 for _ in range(12)]

    def hash_() -> int:
        value = draw.choice(centres)
        for _ in range(draw.randrange(5)):
            value ^= 1 << draw.randrange(64)
        return value

    by_file = {f"file {n}": hash_() if draw.random() < 0.95 else None for n in range(90)}
    sizes = {name: (draw.choice((20, 64, 90)), 64) for name in by_file}
    files = [draw.choice(list(by_file)) for _ in range(150)]
    rows = [row(f"{n:03d}", by_file[file], sizes[file], file) for n, file in enumerate(files)]
    known = BenchmarkImages(("b/0", "b/1"), np.array([hash_(), centres[0] ^ 1023], np.uint64), ("file 3", "other"))
    human = set(draw.sample(list(by_file), 10))
    decided = ImageFilter()(rows, known, human)
    assert {each.reference: (each.stage, each.by) for each in decided} == slowly(rows, known, human)
    assert len({each.stage for each in decided}) == 4


@pytest.mark.parametrize(
    ("size", "stage"),
    [
        ((32, 32), ""),
        ((31, 400), "images.small"),
        ((32, 320), ""),
        ((33, 331), "images.narrow"),
        ((331, 33), "images.narrow"),
    ],
)
def test_tiny_and_extreme_images_are_dropped(size: tuple[int, int], stage: str) -> None:
    [decided] = ImageFilter()([row("a", 7, size)])
    assert decided.stage == stage


def test_other_settings_decide_anew_and_broken_images_stay_dropped() -> None:
    rows = [row("a", 7), row("b", 7 ^ 0b111000), replace(row("c", None), stage=images.UNDECODABLE)]
    decided = ImageFilter()(rows)
    assert [item.stage for item in decided] == ["", "images.duplicate", images.UNDECODABLE]
    assert ImageFilter(duplicate=2)(decided) == [rows[0], rows[1], rows[2]]


@pytest.mark.parametrize("settings", [{"side": 0}, {"aspect": 0.5}, {"duplicate": -1}, {"benchmark": 65}])
def test_setting_out_of_range_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"images: .*"):
        ImageFilter(**settings)  # type: ignore[arg-type]


def test_row_of_a_file_has_its_digest_size_and_hash(miniature: Path, tmp_path: Path) -> None:
    path = pictures(miniature, 1)[0]
    (tmp_path / "cut.jpg").write_bytes(path.read_bytes()[:2000])
    (tmp_path / "text.jpg").write_text("no image")
    found = images.read_row(miniature, f"coco/val2017/{path.name}", source="COCO", licence="CC-BY-4.0")
    with Image.open(path) as image:
        expected = (hashlib.sha256(path.read_bytes()).hexdigest(), Size(*image.size), perceptual_hash(image))
    assert (found.sha256, found.size, found.hash) == expected
    assert (found.source, found.licence, found.stage) == ("COCO", "CC-BY-4.0", "")
    for name in ("cut.jpg", "text.jpg", "absent.jpg"):
        broken = images.read_row(tmp_path, name)
        assert (broken.stage, broken.hash, broken.size) == (images.UNDECODABLE, None, Size(0, 0))


def test_changed_image_is_refused_and_marked(tmp_path: Path) -> None:
    for name, colour in (("a.png", "red"), ("b.png", "blue"), ("c.png", "green")):
        Image.new("RGB", (40, 40), colour).save(tmp_path / name)
    rows = [images.read_row(tmp_path, name) for name in ("a.png", "b.png", "c.png")]
    Image.new("RGB", (40, 40), "black").save(tmp_path / "a.png")
    (tmp_path / "b.png").unlink()
    assert [item.stage for item in images.changed(tmp_path, rows)] == [images.CHANGED, images.CHANGED, ""]
    with pytest.raises(DataError, match=r"a\.png has changed since it was annotated: its SHA-256 is .*; restore"):
        images.read_unchanged(tmp_path, rows[0])
    assert images.read_unchanged(tmp_path, rows[2]) == (tmp_path / "c.png").read_bytes()


def test_evaluation_references_are_the_images_of_all_evaluation_splits(miniature: Path) -> None:
    with (miniature / "refer/refcoco/refs(unc).p").open("rb") as file:
        refs = pickle.load(file)
    evaluated = {ref["image_id"] for ref in refs if ref["split"] in ("val", "testA", "testB")}
    found = list(images.evaluation_references([TASKS["refcoco"], TASKS["refcoco_res"]], miniature))
    assert len(found) == len(set(found))
    assert {int(Path(name).stem[-12:]) for name in found} == evaluated
    assert list(images.evaluation_references([TASKS["refcoco"]], miniature / "coco")) == []


def test_benchmark_images_that_cannot_be_decoded_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        found = images.benchmark_images(tmp_path, ["a.png", "b.png", "absent.png"])
    assert (found.references, found.unread) == (("a.png",), ("b.png",))
    assert found.digests == (hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest(),)
    assert "1 images of benchmarks cannot be decoded" in caplog.text


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR)


def crop(image: Image.Image) -> Image.Image:
    """Without 5 % of the area: 1.27 % of the side on each side, since (1 - 2 * 0.0127) ** 2 = 0.95."""
    dx, dy = round(image.width * 0.0127), round(image.height * 0.0127)
    return image.crop((dx, dy, image.width - dx, image.height - dy))


def mirror(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


CHANGES: dict[str, tuple[Change, int]] = {  # and the quality of the JPEG
    "half": (half, 95), "jpeg40": (lambda image: image, 40), "crop": (crop, 95), "mirror": (mirror, 95),
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ImageRow]]:
    """A folder with 100 scenes of the embedded benchmark, and four changed copies of each."""
    root = tmp_path_factory.mktemp("planted")
    for place, path in enumerate(pictures(miniature, 100)):
        with Image.open(path) as image:
            for name, (change, quality) in CHANGES.items():
                change(image.convert("RGB")).save(root / f"{place:03}-{name}.jpg", quality=quality)
        (root / f"{place:03}-a-original.jpg").write_bytes(path.read_bytes())
    return root, [images.read_row(root, path.name) for path in sorted(root.iterdir())]


def share(rows: Iterable[ImageRow], name: str, stage: str) -> float:
    chosen = [item for item in rows if name in item.reference]
    return sum(item.stage == stage for item in chosen) / len(chosen)


def test_planted_duplicates_are_found(planted: tuple[Path, list[ImageRow]]) -> None:
    """E8: smaller and compressed copies all, crops at least 90 %, mirrored ones not (declared)."""
    decided = ImageFilter()(planted[1])
    assert share(decided, "original", "") == 1.0  # the largest of its copies
    assert share(decided, "half", "images.duplicate") == share(decided, "jpeg40", "images.duplicate") == 1.0
    assert share(decided, "crop", "images.duplicate") >= 0.9
    assert share(decided, "mirror", "images.duplicate") == 0.0
    for item in decided:
        assert item.by in ("", f"{item.reference[:3]}-a-original.jpg")


def test_copies_of_benchmark_images_are_all_dropped(miniature: Path, planted: tuple[Path, list[ImageRow]]) -> None:
    """E8: no picture of a benchmark passes; the first 50 scenes are the benchmark's, the others are not."""
    names = [f"coco/val2017/{path.name}" for path in pictures(miniature, 50)]
    known = images.benchmark_images(miniature, names)
    decided = ImageFilter()(planted[1], known)
    ours, others = (
        [item for item in decided if (int(item.reference[:3]) < 50) is inside and "mirror" not in item.reference]
        for inside in (True, False)
    )
    assert {item.stage for item in ours} == {"images.benchmark"}
    assert all(item.by == names[int(item.reference[:3])] for item in ours)
    assert not any(item.stage == "images.benchmark" for item in others)
