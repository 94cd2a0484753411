"""The table of `benchmarks/peers.py`, and the options of its cases."""

from __future__ import annotations

from types import ModuleType

import baselines
from harness.florence2.exported.runtimes import RUNTIMES
from tests.speeds import PEER, record


def test_table_has_a_row_for_each_case_and_part(peers: ModuleType) -> None:
    ratio = {"value": 1.25, "low": None, "high": None, "n": 3}
    part = {"part": "vision", "ratio": ratio, "least": 1.0, "most": 2.0, "ours": 0.4, "theirs": 0.5}
    against = {"onnxruntime": {**PEER, "parts": [part]}, "transformers": PEER, "openvino": {"cannot run": "no kernel"}}
    shared = record(against=against, reasons=["the device is shared"])
    assert peers.table({"greedy": shared}).splitlines() == [
        "| | ours | onnxruntime | transformers | openvino |",
        "|---|--:|--:|--:|--:|",
        "| greedy: whole answer | 1 s | 2.50 [2.25, 3.00] | 2.50 [2.25, 3.00] |  |",
        "| greedy: vision | 0.4 s | 1.25 |  |  |",
        "| INVALID: the device is shared | | | | |",
    ]


def test_precisions_that_a_runtime_lacks_are_left_out(peers: ModuleType) -> None:
    for settings in peers.CASES.values():
        precision = settings[settings.index("--dtype") + 1] if "--dtype" in settings else "float32"
        for name in ("onnxruntime", "openvino"):
            assert (precision in RUNTIMES[name].precisions) is (precision not in peers.LACKING.get(name, ()))


def test_cases_use_options_of_the_model(peers: ModuleType) -> None:
    options = baselines.find("florence2-b").options
    given = {word for settings in peers.CASES.values() for word in settings if word.startswith("--")}
    own = {f"--{name.replace('_', '-')}" for name in options.__dataclass_fields__}
    assert given - own == {"--scenario", "--batch-size", "--dtype"}
