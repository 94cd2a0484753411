"""OpenVINO's own settings: every hint gives the same tokens; int8 and bfloat16 are close."""

from __future__ import annotations

import os

import pytest

from harness.florence2.exported.runtimes import RUNTIMES, Settings
from tests.exported import network, tokens_in_common

pytest.importorskip("openvino")


@pytest.mark.parametrize(
    "hints", [{name: value} for name, values in RUNTIMES["openvino"].hints.items() for value in values[1:]], ids=str
)
def test_every_hint_leaves_the_tokens_as_they_are(hints: dict[str, str]) -> None:
    assert tokens_in_common(network(Settings("openvino", "float32", 1, hints))) == 1


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_lower_precision_agrees_mostly(precision: str) -> None:
    """Rounding moves some of these close scores; numbers in the wrong order would leave about 1 in 96."""
    if precision == "int8":
        pytest.importorskip("nncf")
    assert tokens_in_common(network(Settings("openvino", precision, 1))) > 0.3


def test_nncf_is_kept_from_reporting_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NNCF_CI", raising=False)
    definitions = pytest.importorskip("nncf.definitions")
    network(Settings("openvino", "int8", 1))
    assert definitions.NNCF_CI_ENV_VAR_NAME == "NNCF_CI" and os.environ["NNCF_CI"]
