"""Capital letters of 5 x 7 cells, and the words on signs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.core import Box, Quad

WORDS = (
    "BUS", "CAFE", "STOP", "BOOK", "MILK", "PARK", "TAXI", "ZOO", "FISH", "GOLD", "HOME", "JAZZ", "KIWI", "LAMP",
    "MOON", "NEWS", "OPEN", "PUB", "QUIZ", "RAIN", "SHOP", "TEA", "VAN", "WALK", "YOGA", "BANK", "CITY", "DOCK",
    "EAST", "FARM", "GYM", "HOTEL", "ICE", "JAM", "KEY", "LAKE", "MAP", "NORTH", "OAK", "PORT", "ROAD", "SALE",
    "TOY", "UNIT", "VIEW", "WEST", "EXIT", "BAR",
)  # fmt: skip
_ROWS = {
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "B": "11110 10001 10001 11110 10001 10001 11110",
    "C": "01111 10000 10000 10000 10000 10000 01111",
    "D": "11110 10001 10001 10001 10001 10001 11110",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "F": "11111 10000 10000 11110 10000 10000 10000",
    "G": "01111 10000 10000 10011 10001 10001 01111",
    "H": "10001 10001 10001 11111 10001 10001 10001",
    "I": "11111 00100 00100 00100 00100 00100 11111",
    "J": "00111 00010 00010 00010 00010 10010 01100",
    "K": "10001 10010 10100 11000 10100 10010 10001",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "M": "10001 11011 10101 10101 10001 10001 10001",
    "N": "10001 11001 10101 10011 10001 10001 10001",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "P": "11110 10001 10001 11110 10000 10000 10000",
    "Q": "01110 10001 10001 10001 10101 10010 01101",
    "R": "11110 10001 10001 11110 10100 10010 10001",
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "U": "10001 10001 10001 10001 10001 10001 01110",
    "V": "10001 10001 10001 10001 10001 01010 00100",
    "W": "10001 10001 10001 10101 10101 11011 10001",
    "X": "10001 10001 01010 00100 01010 10001 10001",
    "Y": "10001 10001 01010 00100 00100 00100 00100",
    "Z": "11111 00001 00010 00100 01000 10000 11111",
}
GLYPHS = {letter: [[cell == "1" for cell in row] for row in rows.split()] for letter, rows in _ROWS.items()}
HIGH, ACROSS, BETWEEN = 7, 5, 1  # height and width of a letter, and the gap between letters, in cells
WIDTH, HEIGHT = 1.76, 0.8  # space for a word, relative to half the side of the board


def cell_size(word: str, half: float) -> float:
    """The side of a cell in pixels such that the word fits a board of half side `half`."""
    return min(WIDTH * half / _across(word), HEIGHT * half / HIGH)


def place(word: str, x: float, y: float, half: float) -> Quad:
    """The corners of a word centred on (x, y), clockwise from the top left, in pixels."""
    cell = cell_size(word, half)
    left, top = x - _across(word) * cell / 2, y - HIGH * cell / 2
    right, bottom = left + _across(word) * cell, top + HIGH * cell
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def letter_places(word: str, x: float, y: float, half: float) -> list[Box]:
    """The box of each letter of a word centred on (x, y), in pixels."""
    cell = cell_size(word, half)
    (left, top), _, (_, bottom), _ = place(word, x, y, half)
    starts = [left + (ACROSS + BETWEEN) * number * cell for number in range(len(word))]
    return [(start, top, start + ACROSS * cell, bottom) for start in starts]


def paint(canvas: NDArray[np.float64], word: str, x: float, y: float, half: float, tone: NDArray[np.float64]) -> None:
    """Writes a word on a canvas (H, W, 3), centred on (x, y).

    The weight of `tone` (3,) in a pixel is the share of the pixel that lit cells cover.
    """
    cell = cell_size(word, half)
    (left, top), _, (right, bottom), _ = place(word, x, y, half)
    first, last = max(0, int(left)), min(canvas.shape[1], int(right) + 1)
    high, low = max(0, int(top)), min(canvas.shape[0], int(bottom) + 1)
    columns, rows = np.arange(first, last, dtype=np.float64), np.arange(high, low, dtype=np.float64)
    covered = np.zeros((len(rows), len(columns)))
    for number, letter in enumerate(word):
        for row, cells in enumerate(GLYPHS[letter]):
            for column, lit in enumerate(cells):
                if lit:
                    begin = left + ((ACROSS + BETWEEN) * number + column) * cell
                    across = _overlap(columns, begin, begin + cell)
                    down = _overlap(rows, top + row * cell, top + (row + 1) * cell)
                    covered += down[:, None] * across[None, :]
    view = canvas[high:low, first:last]
    view += np.minimum(covered, 1.0)[..., None] * (tone - view)


def _across(word: str) -> int:
    return (ACROSS + BETWEEN) * len(word) - BETWEEN


def _overlap(pixels: NDArray[np.float64], begin: float, end: float) -> NDArray[np.float64]:
    """The share of each pixel of an axis that lies between two positions."""
    covered: NDArray[np.float64] = np.maximum(np.minimum(pixels + 1.0, end) - np.maximum(pixels, begin), 0.0)
    return covered
