"""The page of an engine folder on disk."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from harness.data_engine.filtering import filter_annotations
from harness.data_engine.recipes import Recipe
from harness.data_engine.shards import Engine
from harness.data_engine.texts import Texts
from harness.errors import DataError
from harness.evaluation.engine_page import report
from tests.harness.data_engine.engines import image_row
from tests.harness.data_engine.rows import CAPTIONER, text


def test_page_has_the_counts_of_the_folder(tmp_path: Path) -> None:
    """Three images with "A dog on grass." (4 words and a full stop) and "it", which has too few words."""
    images = [image_row(place) for place in range(3)]
    engine = Engine.create(tmp_path / "engine", images, Recipe(name="mine", stages=(Texts(),)), "photos", shard=2)
    engine.add_origins([CAPTIONER])
    for place, image in enumerate(images):
        given = [replace(text(said), image=image.sha256) for said in ("A dog on grass.", "it")]
        engine.write_part(0, place // 2, f"d{place}", [], given)
    filter_annotations(engine)
    page = report(engine.path, tmp_path / "page")
    assert page.name == "index.html" and "engine, recipe mine" in page.read_text()
    with (tmp_path / "page" / "counts.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1][:6] == ["text", "brief", "3", "235 M", "5.00", "7.95"]
    assert "parser: spacy 3.8" in (tmp_path / "page" / "elements.md").read_text()
    assert "| text | captioner | dropped | texts.words | 3 | 50.0 |" in (tmp_path / "page" / "reasons.md").read_text()


def test_folder_that_is_no_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no engine folder"):
        report(tmp_path, tmp_path / "page")
    assert not (tmp_path / "page").exists()
