"""The command `view`."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.harness.cli.calling import ROOT, Call


def test_view_without_a_display_serves_until_interrupted_and_changes_no_file(here: Call, tmp_path: Path) -> None:
    out = tmp_path / "results"
    assert here("run", "--task", "refcoco", "--model", "whole-image", "--data", "miniature", "--out", out).status == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    command = [sys.executable, "-m", "harness", "view", "--results", str(out)]
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    settings: dict[str, Any] = {"cwd": ROOT, "stdout": subprocess.PIPE, "text": True, "env": environment}
    settings["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # background shells ignore it
    with subprocess.Popen(command, **settings) as started:
        assert started.stdout is not None
        url = re.search(r"http://127\.0\.0\.1:\d+/\S+/", started.stdout.readline())
        assert url is not None
        with urllib.request.urlopen(f"{url[0]}data/overview.js", timeout=60) as reply:
            assert b"whole-image" in reply.read()
        started.send_signal(signal.SIGINT)
        assert started.stdout.read() == "stopped\n"
    assert started.returncode == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_view_of_a_missing_folder_is_one_clear_line(here: Call, tmp_path: Path) -> None:
    outcome = here("view", "--results", tmp_path / "none")
    assert outcome.status == 3 and "there is no results folder" in outcome.complaint
    assert here("view", "--port", "70000").status == 2
    outcome = here("view", "--results", tmp_path, "--engine", tmp_path / "none")
    assert outcome.status == 3 and "is no engine folder" in outcome.complaint


def test_view_on_a_port_in_use_is_one_clear_line(here: Call, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        outcome = here("view", "--results", tmp_path, "--port", str(port))
    assert (outcome.status, outcome.out) == (6, "") and outcome.err.count("\n") == 1
    assert f"127.0.0.1:{port} cannot be served" in outcome.complaint and "try another --port" in outcome.complaint
