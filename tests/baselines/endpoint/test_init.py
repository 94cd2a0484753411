"""The entry of the endpoint."""

from __future__ import annotations

import subprocess
import sys

import baselines
from baselines import Setting
from baselines.endpoint import ENTRIES, Endpoint


def test_entry_builds_an_endpoint_without_sending_anything() -> None:
    [entry] = ENTRIES
    assert baselines.find("endpoint") is entry
    model = entry.load(Setting(), base_url="http://host.invalid/v1", served="m")
    assert isinstance(model, Endpoint)


def test_import_loads_no_http_client() -> None:
    code = "import sys, baselines; assert not {'httpx2', 'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
