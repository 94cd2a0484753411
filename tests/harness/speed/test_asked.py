"""A task's questions as queries of a benchmark."""

from __future__ import annotations

import pytest
from PIL import Image

import baselines
from baselines import Setting
from harness.core import Boxes, Question
from harness.errors import DataError
from harness.florence2.predictor import Predictor
from harness.speed.asked import asked_of


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    root = tmp_path_factory.mktemp("images")
    Image.new("RGB", (50, 40)).save(root / "x.png")
    found = baselines.find("florence2-nano").build(Setting(root=root))
    assert isinstance(found, Predictor)
    return found


def test_regions_are_of_the_opened_image(predictor: Predictor) -> None:
    """It is 50x40, so a bin is 0.05 wide and 0.04 high: 5.01 and 4.01 are in bin 100, 25.01 and 20.01 in bin 500.

    The centres of these bins are 100.5 * 0.05 = 5.025 and 500.5 * 0.05 = 25.025 across, 4.02 and 20.02 down.
    """
    questions = [
        Question("x.png", None, "name", region=(5.01, 4.01, 25.01, 20.01)),
        Question("x.png", None, "propose"),
    ]
    queries = asked_of(predictor, questions, "two")
    tokens = "<loc_100><loc_100><loc_500><loc_500>"
    assert queries.prompts[0] == predictor.tokenizer.encode(f"What is the region {tokens}?")
    assert queries.parsing is not None
    found = queries.parsing(predictor.tokenizer.encode(tokens), [], 1)
    assert isinstance(found, Boxes)
    assert found.boxes[0] == pytest.approx((5.025, 4.02, 25.025, 20.02))


def test_region_that_cannot_be_written_is_a_data_error(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="needs a region"):
        asked_of(predictor, [Question("x.png", None, "name")], "one")


def test_no_questions_are_no_queries(predictor: Predictor) -> None:
    assert len(asked_of(predictor, [], "none")) == 0
