"""Ours versus ONNX Runtime, OpenVINO and transformers on a CPU: whole answers and their parts, by the rules of `bench`.

    python benchmarks/peers.py --out OUT [--against onnxruntime,openvino,transformers] [--only NAME] [--level default]

Base size with random weights, 768 pixels, 20 new tokens.  Each case is a command of its own, whose record is kept in
OUT/speed.  The table is printed at the end.  Needs pip install 'florence2-harness[peers,baselines]', an idle machine
with two cores, and under OUT/exports 1.2 GB of disk for the exported graphs, once more for int8.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CASES: Mapping[str, Sequence[str]] = {
    "2 threads, 3 beams": ("--threads", "2"),
    "2 threads, greedy": ("--threads", "2", "--beams", "1"),
    "1 thread, 3 beams, batch 4": ("--threads", "1", "--scenario", "offline", "--batch-size", "4"),
    "2 threads, 3 beams, int8": ("--threads", "2", "--dtype", "int8"),
    "2 threads, 3 beams, bfloat16": ("--threads", "2", "--dtype", "bfloat16"),
}
COMMON = ("--model", "florence2-b", "--weights", "random", "--new-tokens", "20", "--images", "4", "--no-stages")
LACKING = {"onnxruntime": ("bfloat16",)}  # precisions that a runtime does not have on a CPU


def main() -> None:
    """Runs the cases, and prints the table of their records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for records, exports and tables")
    parser.add_argument("--against", default="onnxruntime,openvino,transformers", help="peers, with commas")
    parser.add_argument("--only", default="", help="part of the names of the cases to measure (all)")
    parser.add_argument("--level", default="default", help="level of `bench` (default)")
    options = parser.parse_args()
    environment = {**os.environ, "XDG_CACHE_HOME": str(options.out / "exports")}
    records = {}
    for name, settings in CASES.items():
        if options.only not in name:
            continue
        peers = [peer for peer in options.against.split(",") if not set(LACKING.get(peer, ())) & set(settings)]
        command = [
            sys.executable, "-m", "harness", "bench", *COMMON, *settings, "--level", options.level, "--against",
            ",".join(peers), "--out", str(options.out), "--to", str(options.out / "tables"), "--json",
        ]  # fmt: skip
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        records[name] = json.loads(done.stdout.splitlines()[-1])
    print(table(records))


def table(records: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of the ratios, peer over ours, with their intervals: a row for each case, and for its parts."""
    peers = list(dict.fromkeys(peer for record in records.values() for peer in record["against"]))
    lines = [f"| | ours | {' | '.join(peers)} |", f"|---|--:|{'--:|' * len(peers)}"]
    for name, record in records.items():
        found = record["against"]
        whole = {peer: result for peer, result in found.items() if "ratio" in result}
        lines.append(_row(f"{name}: whole answer", whole, peers))
        for part in dict.fromkeys(line["part"] for result in found.values() for line in result.get("parts", ())):
            of_part = {
                peer: line for peer, result in found.items() for line in result.get("parts", ()) if line["part"] == part
            }
            lines.append(_row(f"{name}: {part}", of_part, peers))
        for reason in record["reasons"]:
            lines.append(f"| INVALID: {reason} | |{' |' * len(peers)}")
    return "\n".join(lines)


def _row(name: str, results: Mapping[str, Mapping[str, Any]], peers: Sequence[str]) -> str:
    """A row; the time of ours is that beside the first peer."""
    ours = next((f"{result['ours']:.3g} s" for result in results.values()), "")
    return f"| {name} | {ours} | {' | '.join(_cell(results.get(peer)) for peer in peers)} |"


def _cell(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return ""
    ratio = result["ratio"]
    interval = f" [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio["low"] is not None else ""
    return f"{ratio['value']:.2f}{interval}"


if __name__ == "__main__":
    main()
