"""Comparisons of the correctness checks on a GPU; the checks themselves run in `tests/test_gpu_script.py`."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks import gpu_checks


def test_difference_is_norm_of_error_over_norm_of_expected() -> None:
    """The error (3, 4) has the norm 5, and the expected value (6, 8) the norm 10."""
    result, expected = torch.tensor([9.0, 12.0]), torch.tensor([6.0, 8.0], dtype=torch.float64)
    assert gpu_checks._difference(result, expected) == pytest.approx(0.5)
    assert math.isnan(gpu_checks._difference(result * float("nan"), expected))


def test_differing_counts_answers_that_are_not_equal() -> None:
    assert gpu_checks.differing([[1, 2], (3,), [4]], [[1, 2], [3], [4, 5]]) == 1
