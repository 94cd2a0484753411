"""Letters on signs: their cells, their boxes, and their pixels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tasks.miniature.lettering import GLYPHS, WORDS, cell_size, letter_places, paint, place
from tasks.miniature.render import rendered_signs
from tasks.miniature.telling import words
from tasks.miniature.training import FIRST_TRAINING_SEED


def test_glyphs_are_different_and_spell_all_words() -> None:
    assert all(len(rows) == 7 and all(len(row) == 5 for row in rows) for rows in GLYPHS.values())
    assert len({str(rows) for rows in GLYPHS.values()}) == 26
    assert set("".join(WORDS)) <= GLYPHS.keys()
    assert len(set(WORDS)) == len(WORDS) == 48


def test_word_is_centred_and_fits_its_board() -> None:
    """ "BUS" has 3 letters of 5 cells and 2 gaps: 17 x 7 cells.  With a half side of 50, 1.76 * 50 / 17 = 5.18 and
    0.8 * 50 / 7 = 5.71 pixels are possible, so a cell has 5.18."""
    cell = 1.76 * 50 / 17
    assert cell_size("BUS", 50) == pytest.approx(cell)
    left_top, right_top, right_bottom, left_bottom = place("BUS", 100, 80, 50)
    assert left_top == pytest.approx((100 - 8.5 * cell, 80 - 3.5 * cell))
    assert right_bottom == pytest.approx((100 + 8.5 * cell, 80 + 3.5 * cell))
    assert right_top == (right_bottom[0], left_top[1]) and left_bottom == (left_top[0], right_bottom[1])
    boxes = letter_places("BUS", 100, 80, 50)
    assert [box[2] - box[0] for box in boxes] == pytest.approx([5 * cell] * 3)
    assert [later[0] - earlier[2] for earlier, later in pairwise(boxes)] == pytest.approx([cell] * 2)


def test_painted_pixels_are_the_lit_cells() -> None:
    """With a cell of exactly 4 pixels and a word on whole pixels, each lit cell is 4 x 4 pixels of the tone."""
    half = 4 * 7 / 0.8  # the height decides: 0.8 * half / 7 = 4, and 1.76 * half / 5 is more
    canvas = np.zeros((40, 40, 3))
    paint(canvas, "E", 20, 20, half, np.array([1.0, 2.0, 3.0]))
    (left, top), *_ = place("E", 20, 20, half)
    assert (left, top) == pytest.approx((10, 6))
    expected = np.kron(np.array(GLYPHS["E"], float), np.ones((4, 4)))
    np.testing.assert_allclose(canvas[6:34, 10:30, 0], expected, atol=1e-9)
    np.testing.assert_allclose(canvas[..., 2], 3 * canvas[..., 0], atol=1e-9)
    assert canvas.sum() == pytest.approx(6 * expected.sum())  # nothing outside the letter


def test_letters_contrast_with_their_board() -> None:
    """The pixels within the corners of a word have a standard deviation of more than 30 of 255."""
    for seed in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 12):
        rendered = rendered_signs(seed)
        for word, ((left, top), _, (right, bottom), _) in words(rendered):
            assert word in {thing.word for thing in rendered.scene.things}
            inside = rendered.image[round(top) : round(bottom), round(left) : round(right)].astype(float)
            assert inside.mean(2).std() > 30
