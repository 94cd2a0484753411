"""The questions of a task as queries of `bench`."""

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
    model = baselines.find("florence2-nano").load(Setting(root=root))
    assert isinstance(model, Predictor)
    return model


def test_asked_of_regions_uses_size_of_opened_image(predictor: Predictor) -> None:
    """The image is 50 x 40, so a bin is 0.05 wide and 0.04 high.  5.01 and 4.01 are in bin 100, 25.01 and 20.01 in 500.

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
    value = queries.parsing(predictor.tokenizer.encode(tokens), [], 1)
    assert isinstance(value, Boxes)
    assert value.boxes[0] == pytest.approx((5.025, 4.02, 25.025, 20.02))


def test_asked_of_missing_region_raises_data_error(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="needs a region"):
        asked_of(predictor, [Question("x.png", None, "name")], "one")


def test_asked_of_no_questions_is_empty(predictor: Predictor) -> None:
    assert len(asked_of(predictor, [], "none")) == 0
