"""The page of an audit as a file: nothing of data is markup, and nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from harness.core import Size
from harness.data_engine import audit, audit_page
from harness.data_engine.audit import AuditItem, AuditSample, Stratum
from harness.errors import DataError
from harness.geometry.masks import rasterise
from harness.store.lines import encoded
from tests.harness.data_engine import samples

HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>"


class Page(HTMLParser):
    """The elements of a page, and the texts of its script and style elements."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = f"{tag} {dict(attrs).get('type', '')}".strip()

    def handle_data(self, data: str) -> None:
        self.texts[self.inside] = self.texts.get(self.inside, "") + data

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


@pytest.fixture
def sample(miniature: Path) -> AuditSample:
    return audit.draw(lambda: samples.records(miniature, 3), samples.ORIGINS, sample=33, least=2)


def test_policy_allows_the_page_s_own_script_and_style(sample: AuditSample, miniature: Path, tmp_path: Path) -> None:
    audit_page.write_page(tmp_path / "page.html", sample, miniature)
    page = Page(tmp_path / "page.html")
    [policy] = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    script, style = (
        base64.b64encode(hashlib.sha256(page.texts[name].encode()).digest()).decode() for name in ("script", "style")
    )
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not any({"src", "href", "style", "onclick"} & attributes.keys() for _, attributes in page.elements)


def test_hostile_text_stays_in_the_data(sample: AuditSample, miniature: Path, tmp_path: Path) -> None:
    [described, *_] = [item for item in sample.items if item.stratum.kind == "text" and item.region]
    [phrase, *_] = [item for item in sample.items if item.stratum.kind == "phrase"]
    items = (
        replace(described, value={"kind": "text", "texts": [HOSTILE]}),
        replace(phrase, text=HOSTILE, value={**phrase.value, "labels": [HOSTILE]}),
    )
    audit_page.write_page(tmp_path / "plain.html", AuditSample(0, (described, phrase)), miniature)
    audit_page.write_page(tmp_path / "page.html", AuditSample(0, items), miniature)
    page = Page(tmp_path / "page.html")
    assert page.elements == Page(tmp_path / "plain.html").elements
    shown = json.loads(page.texts["script application/json"])["items"]
    assert [item["text"] for item in shown] == [HOSTILE, HOSTILE]
    assert shown[1]["question"] == f"Do the boxes show “{HOSTILE}”, all of it?"


def test_page_has_each_image_once_and_neither_origin_nor_status(
    sample: AuditSample, miniature: Path, tmp_path: Path
) -> None:
    audit_page.write_page(tmp_path / "page.html", sample, miniature)
    data = json.loads(Page(tmp_path / "page.html").texts["script application/json"])
    assert len(data["items"]) == 33
    assert len(data["images"]) == 3
    for item, shown in zip(sample.items, data["items"], strict=True):
        assert shown["annotation"] == item.annotation
        assert shown.keys() == {"annotation", "image", "size", "question", "text", "span", "rings", "region"}
    picture = data["images"][data["items"][0]["image"]].removeprefix("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        assert image.size == tuple(sample.items[0].size)


def test_page_of_the_second_person_has_the_tenth(sample: AuditSample, miniature: Path, tmp_path: Path) -> None:
    audit_page.write_page(tmp_path / "page.html", sample, miniature, second=True)
    data = json.loads(Page(tmp_path / "page.html").texts["script application/json"])
    assert [item["annotation"] for item in data["items"]] == [i.annotation for i in sample.items if i.second]
    assert len(data["items"]) == 3
    assert data["part"] == "second"


def test_large_image_is_scaled_down_and_a_changed_one_refused(tmp_path: Path) -> None:
    Image.effect_noise((3000, 1500), 20).convert("RGB").save(tmp_path / "a.jpg")
    sha = hashlib.sha256((tmp_path / "a.jpg").read_bytes()).hexdigest()
    stratum = Stratum(kind="text", origin="c", scores="no score", status="kept", count=1)
    item = AuditItem(
        annotation="1", image="a.jpg", sha256=sha, size=Size(3000, 1500), stratum=stratum, weight=1.0,
        value={"kind": "text", "texts": ["x"]},
    )  # fmt: skip
    audit_page.write_page(tmp_path / "page.html", AuditSample(0, (item,)), tmp_path)
    [uri] = re.findall(r"base64,([^\"]+)\"", (tmp_path / "page.html").read_text())
    with Image.open(io.BytesIO(base64.b64decode(uri))) as image:
        assert image.size == (1024, 512)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg has changed since it was annotated"):
        audit_page.write_page(tmp_path / "page.html", AuditSample(0, (item,)), tmp_path)


def test_questions_name_the_label(sample: AuditSample) -> None:
    asked = {audit_page.question(item) for item in sample.items}
    assert asked == {
        "Is this “car”, and does the box fit?",
        "Is this “house”, and does the box fit?",
        "Is this “boat”, and does the box fit?",
        "Is there one thing in this box?",
        "Does the outline fit “car”?",
        "Do the boxes show “a small house”, all of it?",
        "Does this say “CAFÉ”, and does the outline fit?",
        "Is all of this text true of the image?",
        "Is all of this text true of the box?",
    }


def test_mask_is_drawn_as_its_outline(sample: AuditSample) -> None:
    [item, *_] = [item for item in sample.items if item.stratum.kind == "outline"]
    square = replace(item, value={"kind": "polygons", "rings": [[[2, 3], [6, 3], [6, 9], [2, 9]]]})
    [ring] = audit_page.rings(square)
    assert ring == ((2.0, 3.0), (6.0, 3.0), (6.0, 9.0), (2.0, 9.0))
    mask = json.loads(json.dumps(encoded(rasterise(samples.Polygons((ring,)), Size(12, 12)))))
    [traced] = audit_page.rings(replace(item, value=mask))
    assert set(traced) == set(ring)
