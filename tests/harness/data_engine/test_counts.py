"""Counts of two images worked out by hand, the paper's own arithmetic, and boxes at the edges of their bins."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core import Size
from harness.data_engine.counts import (
    ELEMENTS,
    PAPER_ELEMENTS,
    PAPER_IMAGES,
    PAPER_ROWS,
    WORDS,
    Counts,
    Row,
    Shapes,
    Tokeniser,
    count,
)
from harness.data_engine.records import ImageRow, Record, Verdict
from harness.data_engine.texts import Texts
from tests.harness.data_engine.rows import phrase, record, region, text

BRIEF = text("A man throws a red ball.")  # 6 words and a full stop
OTHER = text("Two dogs run on grass.")  # 5 words and a full stop
DETAILED = text("A man throws a red ball to a small dog. The dog is black and runs on the grass.", "detailed")
MAN = region((0, 0, 50, 100), "man")
BALL = region((60, 60, 70, 70))
BALL_IS = text("red ball", "brief", parents=(BALL.id,))
MAN_IS = text("a tall man", "brief", parents=(MAN.id,))
FIRST = record(
    BRIEF, DETAILED, MAN, BALL, BALL_IS, MAN_IS,
    phrase(BRIEF, "A man", (0, 0, 50, 100)), phrase(BRIEF, "a red ball", (60, 60, 70, 70), (10, 10, 20, 20)),
    phrase(DETAILED, "a small dog", (0, 80, 20, 100)),
)  # fmt: skip
SECOND = record(OTHER, region((0, 0, 10, 10), "dog"), phrase(OTHER, "Two dogs", (0, 0, 10, 10)))


def rows(counts: Counts) -> dict[tuple[str, str], Row]:
    return {(row.kind, row.text): row for row in counts.rows}


def test_rows_of_table_2_are_those_counted_by_hand() -> None:
    found = rows(count([FIRST, SECOND]))
    assert found["text", "brief"] == Row("text", "brief", 2, (7 + 6) / 2)
    assert found["text", "detailed"] == Row("text", "detailed", 1, 21)  # 19 words and two full stops
    assert found["text", "more_detailed"] == Row("text", "more_detailed", 0, None)
    # categories: "man" and "dog" on two images; the ball has none
    assert found["region-text", "category"] == Row("region-text", "category", 2, None, 2, 1, 1)
    # chosen: "a tall man" (3), "red ball" (2) and, for want of another, "dog" (1)
    assert found["region-text", "brief"] == Row("region-text", "brief", 2, None, 3, 1.5, 2)
    # boxes of brief texts: "A man" (2 tokens) once, "a red ball" (3) twice, "Two dogs" (2) once: 10 tokens of 4 boxes
    assert found["text-phrase-region", "brief"] == Row("text-phrase-region", "brief", 2, 6.5, 4, 2, 10 / 4)
    assert found["text-phrase-region", "detailed"] == Row("text-phrase-region", "detailed", 1, 21, 1, 1, 3)


def test_what_was_dropped_is_not_counted() -> None:
    """The text of the man's region stays a text of a region, and is none of the image."""
    verdicts = [Verdict(annotation=each.id, status="dropped", stage="x.y") for each in (MAN, BRIEF)]
    counts = count([FIRST.extended(verdicts=verdicts)])
    found = rows(counts)
    assert (counts.images, counts.annotations) == (1, 7)
    assert found["text", "brief"].annotated == found["text-phrase-region", "brief"].annotated == 0
    assert found["region-text", "category"].regions == 0
    assert found["region-text", "brief"] == Row("region-text", "brief", 1, None, 1, 1, 2)  # "red ball"


def test_image_that_a_filter_dropped_is_not_counted() -> None:
    image = ImageRow(reference="b.png", sha256="1" * 64, size=Size(1, 1), stage="images.tiny")
    counts = count([Record(image=image, annotations=FIRST.annotations)])
    assert (counts.images, counts.annotations, counts.shapes["region"].boxes) == (0, 0, 0)
    assert rows(counts)["text", "brief"] == Row("text", "brief", 0, None)


def test_table_3_has_means_over_the_measured_texts() -> None:
    """BRIEF: man, ball; red; throws.  OTHER: dogs, grass; Two; run.

    man: A, throws = 2; ball: a, red, throws = 3; throws: man, ball and the full stop = 3.
    """
    counts = count([Texts()(FIRST), SECOND])
    brief = counts.elements[0]
    assert (brief.length, brief.texts, brief.measured) == ("brief", 2, 1)
    assert [brief.means[name] for name in ELEMENTS] == [2, 1, 1, 0, 2.5, 3]
    both = count([Texts()(FIRST), Texts()(SECOND)]).elements[0]
    assert (both.measured, both.means["objects"], both.means["attributes"], both.means["actions"]) == (2, 2, 1, 1)
    assert counts.elements[2].means == {}


def test_tokeniser_is_named_and_used() -> None:
    letters = Tokeniser("letters", len)
    counts = count([SECOND], letters)
    assert (counts.tokeniser, rows(counts)["text", "brief"].tokens) == ("letters", len("Two dogs run on grass."))
    assert WORDS.count("It's a dog-sled, 3.5 m!") == 13  # It ' s a dog - sled , 3 . 5 m !


def test_paper_rows_add_up_as_the_paper_says() -> None:
    """487 M texts ("500 M"), 1,362 M region-text pairs ("1.3 B"), 3,574 M triplets ("3.6 B"); 43 an image."""
    texts = sum(row.annotated for row in PAPER_ROWS if row.kind == "text")
    pairs = sum(row.regions or 0 for row in PAPER_ROWS if row.kind == "region-text")
    triplets = sum(row.regions or 0 for row in PAPER_ROWS if row.kind == "text-phrase-region")
    assert (texts, pairs, triplets) == (487e6, 1362e6, 3574e6)
    assert (texts + pairs + triplets) / PAPER_IMAGES == pytest.approx(43, abs=0.1)
    for row in PAPER_ROWS:
        if row.regions is not None:
            assert row.regions / row.annotated == pytest.approx(row.regions_each, abs=0.03)
    assert set(PAPER_ELEMENTS) == set(ELEMENTS)
    assert PAPER_ELEMENTS["actions"][1] / PAPER_ELEMENTS["actions"][0] == pytest.approx(7, abs=0.5)
    assert PAPER_ELEMENTS["actions"][2] / PAPER_ELEMENTS["actions"][0] == pytest.approx(15, abs=0.5)


def test_shapes_are_those_of_boxes_drawn_by_hand() -> None:
    """A quarter of the image has size 0.5, bin 10 of 20; a square has log aspect 0, bin 16 of 32 from -4 to 4."""
    shapes = Shapes()
    shapes.add((0, 0, 50, 50), Size(100, 100))
    assert (shapes.sizes[10], shapes.aspects[16], shapes.centres[4, 4]) == (1, 1, 1)  # centre 25 of 100: cell 4 of 16
    shapes.add((-100, 0, 400, 100), Size(200, 100))  # inside: the whole image, 2:1, centre (100, 50)
    assert (shapes.sizes[19], shapes.aspects[20], shapes.centres[8, 8]) == (1, 1, 1)
    shapes.add((0, 99, 100, 100), Size(100, 100))  # 100:1 is beyond 16:1
    assert shapes.aspects[31] == 1 and shapes.centres[15, 8] == 1
    assert shapes.boxes == shapes.sizes.sum() == shapes.aspects.sum() == shapes.centres.sum() == 3


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 9, 5, 5), (100, 0, 120, 10)])
def test_box_without_a_part_inside_is_not_counted(box: tuple[float, float, float, float]) -> None:
    shapes = Shapes()
    shapes.add(box, Size(100, 100))
    assert shapes.boxes == 0 and not np.any(shapes.sizes)


def test_no_records_have_counts_of_zero() -> None:
    counts = count([])
    assert (counts.images, counts.annotations) == (0, 0)
    assert all(row.annotated == 0 and row.region_tokens is None for row in counts.rows)
