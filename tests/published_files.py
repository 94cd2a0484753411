"""The archives of data sets, in their published layouts, made on the spot from the embedded benchmark.

Every source of the project's table gets content, by its kind and members.  What the embedded benchmark does not have
(the own sets of ODinW and Roboflow100-VL, gRefCOCO, LVIS val) is made from what it has.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from harness.evaluation.fetching import TABLE
from harness.fetching import sources
from harness.fetching.sources import Source
from tasks import odinw
from tests import grefer_files


def without_sums(folder: Path, **counts: int) -> Path:
    """The project's table without sizes and sums, which are of the published files.

    `counts` replaces numbers of images; its keys are those in the table, as "n82783".
    """
    text = re.sub(r"(?m)^(sha256|bytes) = .*\n", "", TABLE.read_text())
    for old, new in counts.items():
        text = text.replace(f"count = {old[1:]}\n", f"count = {new}\n")
    path = folder / "sources.toml"
    path.write_text(text)
    return path


def published(miniature: Path, scratch: Path) -> dict[str, bytes]:
    """The content of every address, as "HOST/PATH", that the embedded benchmark has anything of.

    `scratch` is an empty folder, which becomes a data root with what is made here.
    """
    _write_detection(miniature, scratch)
    grefer_files.write(scratch)
    (scratch / "lvis").mkdir()
    minival = miniature / "lvis/lvis_v1_minival_inserted_image_name.json"
    val = json.loads(minival.read_bytes())
    url = "http://images.cocodataset.org/train2017/000000000007.jpg"  # a quarter of val's images are in val2017
    shown = {"id": 7, "coco_url": url, "file_name": "train2017/000000000007.jpg", "width": 20, "height": 10}
    val["images"].append({**val["images"][0], **shown})
    (scratch / "lvis/lvis_v1_val.json").write_text(json.dumps(val))
    for folder, name in (("coco/train2014", "COCO_train2014_{:012d}.jpg"), ("coco/train2017", "{:012d}.jpg")):
        (scratch / folder).mkdir(parents=True)
        for number in (7, 8):
            Image.new("RGB", (20, 10)).save(scratch / folder / name.format(number))
    files: dict[str, bytes] = {}
    for source in sources.read(TABLE):
        for name, content in _contents(source, (miniature, scratch)):
            for url in source.urls:
                files[url.partition("://")[2].replace("{name}", name)] = content
    return files


def archives_by_hand(*roots: Path) -> dict[str, bytes]:
    """The archives that a user saves by hand, from files below these roots, by the place at which they are expected."""
    archives = {}
    for source in sources.read(TABLE):
        members = dict(_members(source, roots)) if source.by_hand else {}
        if members and source.kind == "zip":
            archives[source.place] = zipped({name: path.read_bytes() for name, path in members.items()})
        elif members:
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w:gz") as archive:
                for name, path in members.items():
                    archive.add(path, f"images/{name}")
            archives[source.place] = out.getvalue()
    return archives


def _contents(source: Source, roots: tuple[Path, ...]) -> Iterator[tuple[str, bytes]]:
    if source.kind == "images":
        for root in roots:
            yield from ((path.name, path.read_bytes()) for path in sorted((root / source.path).glob("*.jpg")))
    elif source.kind == "file":
        yield from (("", path.read_bytes()) for root in roots if (path := root / source.path).is_file())
    elif source.urls:
        members = list(_members(source, roots))
        if members:
            yield "", zipped({name: path.read_bytes() for name, path in members})


def _members(source: Source, roots: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """The members of an archive: names as in the published one, and the files that they are made from."""
    for pattern, target in source.members.items():
        for root in roots:
            if pattern.endswith("/**"):
                below = sorted(path for path in (root / target).rglob("*") if path.is_file())
                yield from ((f"{pattern[:-2]}{path.relative_to(root / target).as_posix()}", path) for path in below)
            elif target.endswith("/"):
                folder = Path(target).name
                yield from ((f"{folder}/{path.name}", path) for path in sorted((root / target).glob(pattern[3:])))
            elif (root / target).is_file():
                yield pattern.removeprefix("**/"), root / target


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip archive as macOS packs it, with its copies of attributes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
            folder, _, base = name.rpartition("/")
            archive.writestr(f"__MACOSX/{folder}/._{base}", b"\0\5\x16\7")
    return out.getvalue()


def _write_detection(miniature: Path, root: Path) -> None:
    """Two images of an embedded set of ODinW's format, under the paths of every set of ODinW and Roboflow100-VL."""
    tiny = miniature / "odinw_miniature/Balloons/valid"
    whole = json.loads((tiny / "annotations_without_background.json").read_text())
    images = whole["images"][:2]
    kept = {image["id"] for image in images}
    objects = [each for each in whole["annotations"] if each["image_id"] in kept]
    text = json.dumps({**whole, "images": images, "annotations": objects})
    for top, sets, split in (("odinw", odinw.THIRTY_FIVE, "val"), ("rf100_vl", odinw.read_rf100_vl(), "test")):
        for data in sets:
            folder = root / top / data.images[split]
            folder.mkdir(parents=True, exist_ok=True)
            (root / top / data.annotations[split]).write_text(text)
            for image in images:
                (folder / image["file_name"]).write_bytes((tiny / image["file_name"]).read_bytes())
