"""The page on which a person judges a sample: one HTML file that works from a disk, without a network.

The page shows neither origin, score nor status of an annotation, which could sway the person.  Images are in the file,
scaled down to `LONGEST` pixels.  Nothing from data is markup: data is JSON that the script writes into text nodes and
attributes.  The content security policy allows the page's own script and style by their digests, images from the file,
and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup
from PIL import Image

from harness import images
from harness.core import Mask, Ring, Size
from harness.data_engine.audit import AuditItem, AuditSample
from harness.data_engine.images import read_unchanged
from harness.data_engine.records import ImageRow
from harness.geometry.masks import pixels
from harness.geometry.outlines import outline
from harness.geometry.polygons import rectangle
from harness.store.files import replace_file

LONGEST = 1024  # pixels
QUALITY = 85


def write_page(path: Path, sample: AuditSample, root: Path, *, second: bool = False) -> None:
    """Writes the page of a sample's items; with `second`, of those that a second person looks at too.

    `root` is the data root of the images.  DataError for an image that is missing, or has changed since it was
    annotated.
    """
    items = [item for item in sample.items if item.second or not second]
    place: dict[str, int] = {}
    for item in items:
        place.setdefault(item.image, len(place))
    of = {item.image: item for item in items}
    data = {
        "sample": sample.id,
        "part": "second" if second else "all",
        "images": [_data_uri(root, of[reference]) for reference in place],
        "items": [_shown(item, place[item.image]) for item in items],
    }
    folder = Path(__file__).parent
    script, style = ((folder / f"audit.{ending}").read_text(encoding="utf-8") for ending in ("js", "css"))
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined
    ).get_template("audit.html")
    page = template.render(
        data=_json(data), script=Markup(script), style=Markup(style), script_sha=_sha(script), style_sha=_sha(style)
    )  # our own files, and JSON without "<"
    replace_file(path, page.encode())


def question(item: AuditItem) -> str:
    """What a person is asked about an item."""
    kind, value = item.stratum.kind, item.value
    label = next(iter(value.get("labels") or ()), "")
    if kind == "region":
        return f"Is this \u201c{label}\u201d, and does the box fit?" if label else "Is there one thing in this box?"
    if kind == "phrase":
        return f"Do the boxes show \u201c{label}\u201d, all of it?" if label else "Do the boxes show the marked words?"
    if kind == "outline":
        return f"Does the outline fit \u201c{item.label}\u201d?" if item.label else "Does the outline fit the thing?"
    if kind == "written":
        return f"Does this say \u201c{label}\u201d, and does the outline fit?"
    return "Is all of this text true of the box?" if item.region else "Is all of this text true of the image?"


def rings(item: AuditItem) -> list[Ring]:
    """The outlines of an item's value, in pixels of the image; none for a text."""
    value = item.value
    if value["kind"] == "boxes":
        return [rectangle(tuple(box)) for box in value["boxes"]]
    if value["kind"] == "mask":
        return list(outline(pixels(Mask(Size(*value["size"]), value["counts"].encode("ascii")))))
    found: Iterable[Any] = value.get("quads") or value.get("rings") or ()
    return [tuple((float(x), float(y)) for x, y in ring) for ring in found]


def shown_text(item: AuditItem) -> str:
    """The text that a person judges, or that a phrase is of; "" if there is none."""
    return item.text if item.stratum.kind == "phrase" else str(next(iter(item.value.get("texts") or ()), ""))


def _shown(item: AuditItem, image: int) -> dict[str, Any]:
    return {
        "annotation": item.annotation,
        "image": image,
        "size": list(item.size),
        "question": question(item),
        "text": shown_text(item),
        "span": item.span,
        "rings": rings(item),
        "region": item.region,
    }


def _data_uri(root: Path, item: AuditItem) -> str:
    row = ImageRow(reference=item.image, sha256=item.sha256, size=item.size)
    image = images.decode(read_unchanged(root, row), item.image)
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _json(data: Any) -> Markup:
    """JSON for a script element: no "<" ends the element or opens a comment, and every character is ASCII."""
    text = json.dumps(msgspec.to_builtins(data), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _sha(text: str) -> str:
    """The digest of an element's content for a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
