"""Script files of data: read back by the rules of JavaScript, in Node where it is installed."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from harness.viewer import chunks

HOSTILE = "</script><!-- \u2028\u2029 \ud800 \" ' \\ ${x} `"


def test_script_reads_back_as_its_payload() -> None:
    payload = {"text": HOSTILE, "numbers": [1, 2.5, None], "name": True}
    source = chunks.script("run/ab", payload)
    match = re.fullmatch(r"harnessData\((\".*?\"),(\".*\")\);\n", source)
    assert match is not None and json.loads(match[1]) == "run/ab"
    assert json.loads(json.loads(match[2])) == payload
    assert source.isascii()


def test_script_of_undefined_and_numpy_numbers_is_valid_json() -> None:
    payload = {"a": math.nan, "b": [math.inf, np.float64("nan")], "c": np.int64(3), "d": np.float32(0.5)}
    assert json.loads(chunks.encoded(payload)) == {"a": None, "b": [None, None], "c": 3, "d": 0.5}


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_script_runs_in_javascript_as_one_call(tmp_path: Path) -> None:
    path = tmp_path / "chunk.js"
    call = "globalThis.harnessData = (name, json) => process.stdout.write(JSON.stringify([name, JSON.parse(json)]));\n"
    path.write_text(call + chunks.script("overview", {"text": HOSTILE}))
    said = subprocess.run(["node", str(path)], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == ["overview", {"text": HOSTILE}]
