"""A record of `bench`, for tests of what reads one."""

from __future__ import annotations

from typing import Any

ESTIMATE = {"value": 0.25, "low": 0.2, "high": 1.5, "n": 64}


def record(**more: Any) -> dict[str, Any]:
    settings = {
        "task": "", "batch size": 4, "beams": 3, "dtype": "float32", "resolution": "768x768", "new tokens": 20,
        "threads": 2, "rate": None, "target s": None, **more.pop("settings", {}),
    }  # fmt: skip
    return {
        "device": "A, 2 cores", "model": "florence2-b", "weights": "random", "set": "32 drawn", "settings": settings,
        "scenario": "single_stream", "level": "default", "valid": True, "reasons": [], "queries": 64, "seconds": 30.04,
        "latency s": {"p50": ESTIMATE}, "throughput": {"images/s": 2.5, "tokens/s": 52.0}, "rates tried": [],
        "meter": {"peak memory MiB": 900.4}, "against": {},
        "provenance": {"harness": "0.1"}, **more,
    }  # fmt: skip


STAGES = {
    "stages": {
        "batch": 2,
        "steps": 10,
        "lines": [
            {"stage": "open", "seconds": 0.004},
            {
                "stage": "vision", "seconds": 2.0, "floor s": 1.5, "bound": "arithmetic", "of the ceiling": 0.75,
                "operations": 3e11, "bytes": 1e9,
            },
            {
                "stage": "decode", "seconds": 0.02, "floor s": 0.005, "bound": "memory", "of the ceiling": 0.25,
                "operations": 1e8, "bytes": 5e7,
            },
        ],
    },
    "ceilings": {"operations": 2e11, "bytes": 1e10},
}  # fmt: skip
PEER = {
    "name": "transformers", "ratio": {"value": 2.5, "low": 2.25, "high": 3.0, "n": 7}, "least": 2.25, "most": 3.0,
    "ours": 1.0, "theirs": 2.5, "rounds": 7, "queries": 4, "equal": 1.0, "reasons": [],
}  # fmt: skip
