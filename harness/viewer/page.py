"""index.html and the files beside it.

The first page holds the leaderboard as plain HTML tables, for a browser without JavaScript; with JavaScript, the pages
of `app/` take their place.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from harness.core import Estimate
from harness.errors import ResourceError
from harness.report.text import number
from harness.sinks import html

APP = Path(__file__).with_name("app")
SCRIPTS = (
    "dom.js", "load.js", "charts.js", "overview.js", "missing.js", "compare.js", "speed.js", "studies.js",
    "tables.js", "run.js", "task.js", "shapes.js", "stage.js",
    "tokens.js", "notes.js", "filters.js", "samples.js", "sample.js", "main.js",
)  # fmt: skip
STYLES = ("look.css", "pages.css")
ICON = "icon.svg"
D3 = "d3.js"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types harness-data"
)


def files() -> dict[str, bytes]:
    """The scripts and styles of the pages, by name; ResourceError if mpld3, which has d3, is not installed."""
    return {
        "app.js": b"".join((APP / name).read_bytes() for name in SCRIPTS),  # one request instead of many
        "app.css": b"".join((APP / name).read_bytes() for name in STYLES),
        ICON: (APP / ICON).read_bytes(),
        D3: _d3().read_bytes(),
    }


def index(overview: Mapping[str, Any]) -> str:
    """The HTML of index.html."""
    loader = jinja2.FileSystemLoader(APP)
    environment = jinja2.Environment(loader=loader, autoescape=True, finalize=html, undefined=jinja2.StrictUndefined)
    return environment.get_template("index.html").render(
        policy=POLICY, scripts=("app.js", D3), sentence=overview["sentence"], note=overview["note"],
        models=overview["models"], tables=_tables(overview), live=overview["live"],
    )  # fmt: skip


def _tables(overview: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of the leaderboard by data set: the task, split and metric, and the text of each model's cell."""
    runs = {run["id"]: run for run in overview["runs"]}
    tables: dict[str, list[dict[str, Any]]] = {}
    for task in overview["tasks"]:
        cells = []
        for model in overview["models"]:
            cell = task["cells"].get(f"{model['model']} {model['protocol']}")
            run = runs[cell["run"]] if cell else None
            estimate = Estimate(run["value"], run["low"], run["high"], run["n"]) if run else None
            cells.append({"text": number(estimate) if run else "", "best": bool(cell and cell["best"])})
        tables.setdefault(task["data"], []).append({**task, "cells": cells})
    return tables


def _d3() -> Path:
    found = importlib.util.find_spec("mpld3")
    for folder in found.submodule_search_locations or () if found is not None else ():
        if scripts := sorted(Path(folder, "js").glob("d3.v5*.js")):
            return scripts[0]
    raise ResourceError("the charts of the viewer are drawn by d3 of the package mpld3: pip install mpld3")
