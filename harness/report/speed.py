"""What `bench` recorded, as lines, a table and figures: stage bars, a roofline, latency against throughput, scaling."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.report.text import cell

Record = Mapping[str, Any]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")  # Okabe and Ito's


def describe(record: Record) -> str:
    """A record for people: what, whether it counts, and each number with its interval."""
    settings = record["settings"]
    state = "VALID" if record["valid"] else "INVALID: " + "; ".join(record["reasons"])
    lines = [
        f"{record['model']} {record['scenario']} · {record['set']} · {_settings(settings)} · {record['device']}",
        f"  {state}",
    ]
    for name, found in record["latency s"].items():
        lines.append(f"  {name:10} {_seconds(found)}")
    for name, value in record["throughput"].items():
        lines.append(f"  {name:16} {value:.4g}")
    meter = record["meter"]
    lines.append(
        f"  {record['queries']} queries in {record['seconds']:.1f} s, peak memory {meter['peak memory MiB']:.0f} MiB, "
        f"level {record['level']}"
    )
    if "not checked" in meter:
        lines.append(f"  not checked: {meter['not checked']}")
    if "joules" in meter:
        lines.append(f"  {meter['joules'] / record['queries']:.3g} J an answer")
    for tried in record["rates tried"]:
        said = "holds" if tried["holds"] else "does not hold"
        lines.append(f"  {tried['rate']:8.3g} a second: p{tried['percent']:g} {tried['latency']:.3g} s, {said}")
    if "stages" in record:
        lines.append(
            f"  stages of a batch of {record['stages']['batch']} (decode: a step of {record['stages']['steps']})"
        )
        for line in record["stages"]["lines"]:
            floor = ""
            if "floor s" in line:
                floor = (
                    f"  floor {_time(line['floor s'])} ({line['bound']}), {line['of the ceiling']:.0%} of the ceiling"
                )
            lines.append(f"    {line['stage']:9} {_time(line['seconds']):>9}{floor}")
    lines += [f"  beside {name}: {beside(found)}" for name, found in record["against"].items()]
    return "\n".join(lines)


def beside(found: Mapping[str, Any]) -> str:
    """ "1.66 times (1.60 to 1.76), 3.04 s to 5.03 s" and what speaks against it."""
    if "cannot run" in found:
        return f"it cannot run here ({found['cannot run']})"
    ratio = found["ratio"]
    within = f" [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio["low"] is not None else ""
    said = (
        f"{ratio['value']:.2f} times{within}, {found['ours']:.3g} s to {found['theirs']:.3g} s for {found['queries']}, "
        f"{found['rounds']} rounds, {found['equal']:.0%} of answers equal"
    )
    return f"{said}; INVALID: {'; '.join(found['reasons'])}" if found["reasons"] else said


def _seconds(found: Mapping[str, Any]) -> str:
    return f"{_time(found['value'])} [{_time(found['low'])}, {_time(found['high'])}]"


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _settings(settings: Mapping[str, Any]) -> str:
    said = [f"batch {settings['batch size']}", f"{settings['beams']} beams", settings["dtype"], settings["resolution"]]
    if settings["new tokens"]:
        said.append(f"{settings['new tokens']} new tokens")
    if settings.get("rate"):
        said.append(f"{settings['rate']:g} a second")
    if settings.get("target s"):
        said.append(f"within {settings['target s']:g} s")
    return ", ".join(said)


def render(records: Sequence[Record], to: Path) -> None:
    """`speed.md` and the figures of all records, into a folder; the same records give the same bytes."""
    to.mkdir(parents=True, exist_ok=True)
    (to / "speed.md").write_text(markdown(records))
    if records:
        figures(records, to)


def markdown(records: Sequence[Record]) -> str:
    """A table a device."""
    out = io.StringIO()
    out.write("# Speed\n\nWhat `python -m harness bench` measured; nobody edits this.\n")
    if not records:
        out.write("\nNothing was measured yet.\n")
    for device in sorted({record["device"] for record in records}):
        mine = [record for record in records if record["device"] == device]
        out.write(f"\n## {device}\n\n")
        out.write(
            "| model | set | settings | scenario | p50 | p99 | images/s | tokens/s | peak MiB | counts | version |\n"
        )
        out.write("|---|---|---|---|--:|--:|--:|--:|--:|---|---|\n")
        for record in sorted(mine, key=_order):
            latency, through = record["latency s"], record["throughput"]
            valid = "VALID" if record["valid"] else "INVALID: " + "; ".join(record["reasons"])
            unknown = record["meter"].get("not checked")
            cells = [
                record["model"], record["set"], _settings(record["settings"]), 
                f"{record['scenario']} ({record['level']})",
                *(_time(latency[name]["value"]) if name in latency else "–" for name in ("p50", "p99")),
                f"{through['images/s']:.4g}", f"{through['tokens/s']:.4g}", f"{record['meter']['peak memory MiB']:.0f}",
                f"{valid} (not checked: {unknown})" if unknown else valid, record["provenance"]["harness"],
            ]  # fmt: skip
            out.write(f"| {' | '.join(map(cell, cells))} |\n")
        compared = [(record, name, found) for record in mine for name, found in record["against"].items()]
        if compared:
            out.write("\nBy turns in one process, the same weights (theirs in float32 where ours are in eight bits), ")
            out.write("pictures, prompts and token counts:\n\n")
            out.write("| model | settings | beside | result | version |\n|---|---|---|---|---|\n")
            for record, name, found in sorted(compared, key=lambda item: (*_order(item[0]), item[1])):
                cells = [record["model"], _settings(record["settings"]), name, beside(found)]
                cells.append(record["provenance"]["harness"])
                out.write(f"| {' | '.join(map(cell, cells))} |\n")
    return out.getvalue()


def _order(record: Record) -> tuple[Any, ...]:
    settings = record["settings"]
    numbers = (settings["batch size"], settings["beams"], settings["new tokens"])
    return record["model"], record["scenario"], record["set"], settings["dtype"], numbers, settings["resolution"]


def figures(records: Sequence[Record], to: Path) -> None:
    """A figure of each kind for which there is anything to show, SVG and PNG."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "speed", "svg.fonttype": "path", "font.size": 9}):
        staged = [record for record in records if "stages" in record]
        if staged:
            _stages(staged, to)
            _roofline(staged, to)
        _against_batch(records, to)


def _stages(records: Sequence[Record], to: Path) -> None:
    """A bar a record: milliseconds of a batch by stage, all decoding steps together, and its floor as an outline."""
    from matplotlib.figure import Figure

    chosen = sorted(records, key=_order)[-12:]
    names = ["open", "transfer", "vision", "encoder", "prefill", "decode", "parsing"]
    figure = Figure(figsize=(9, 1.2 + 0.45 * len(chosen)), layout="constrained")
    axes = figure.subplots()
    for row, record in enumerate(chosen):
        found = {line["stage"]: line for line in record["stages"]["lines"]}
        left = floor = 0.0
        for name, colour in zip(names, COLOURS, strict=True):
            times = record["stages"]["steps"] if name == "decode" else 1
            line = found.get(name, {})
            width = 1000 * times * line.get("seconds", 0.0) / record["stages"]["batch"]
            axes.barh(row, width, left=left, color=colour, label=name if row == 0 else None)
            left += width
            floor += 1000 * times * line.get("floor s", 0.0) / record["stages"]["batch"]
        axes.barh(row, floor, fill=False, edgecolor="black", linewidth=1.2, label="floor" if row == 0 else None)
    names = [f"{one['model']} · {one['device']}\n{_settings(one['settings'])}" for one in chosen]
    axes.set_yticks(range(len(chosen)), names, fontsize=7)
    axes.set_xlabel("ms an image")
    figure.legend(*axes.get_legend_handles_labels(), ncols=8, fontsize=7, loc="outside lower center")
    _save(figure, to / "stages")


def _roofline(records: Sequence[Record], to: Path) -> None:
    """Operations a second against operations a byte, under the ceilings that were measured with them; each model's
    stages on a thin line that bears its name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    marks = {"vision": "o", "encoder": "s", "prefill": "^", "decode": "v"}
    roofs: dict[tuple[str, str], tuple[float, float]] = {}
    for record in records:
        found = record["ceilings"]["operations"], record["ceilings"]["bytes"]
        key = record["device"], record["settings"]["dtype"]
        before = roofs.get(key, (0.0, 0.0))
        roofs[key] = max(before[0], found[0]), max(before[1], found[1])
    for (key, (operations, moved)), colour in zip(sorted(roofs.items()), COLOURS, strict=False):
        intensities = [2.0**power for power in range(-3, 13)]
        axes.plot(
            intensities, [min(operations, moved * one) for one in intensities], color=colour, label=" · ".join(key)
        )
        for record in records:
            if (record["device"], record["settings"]["dtype"]) != key:
                continue
            placed = sorted(
                (line["operations"] / line["bytes"], line["operations"] / line["seconds"], marks[line["stage"]])
                for line in record["stages"]["lines"]
                if line["stage"] in marks and line["seconds"] > 0
            )
            axes.plot(*zip(*(point[:2] for point in placed), strict=True), color=colour, lw=0.5, alpha=0.6)
            for intensity, reached, mark in placed:
                axes.plot(intensity, reached, mark, color=colour, ms=5)
            for intensity, reached, _ in placed[:1]:
                axes.annotate(
                    record["model"], (intensity, reached), xytext=(-4, -9), textcoords="offset points", fontsize=7
                )
    for name, mark in marks.items():
        axes.plot([], [], mark, color="black", label=name)
    axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="operations a second")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    _save(figure, to / "roofline")


def _against_batch(records: Sequence[Record], to: Path) -> None:
    """Throughput against the batch; where latencies were measured, the median of them against throughput; and, where
    sets of several sizes were asked all at once, throughput against how many images there were.  INVALID points are
    hollow."""
    from matplotlib.figure import Figure

    lines: dict[tuple[str, ...], list[Record]] = {}
    sets: dict[tuple[str, ...], dict[int, float]] = {}
    for record in records:
        settings = record["settings"]
        size = settings["resolution"]
        if settings["new tokens"]:
            size = f"{size}, {settings['new tokens']} new tokens"
        same = (record["model"], settings["dtype"], f"{settings['beams']} beams", size)
        lines.setdefault((*same, record["set"], record["scenario"], record["device"]), []).append(record)
        if record["scenario"] == "offline":
            images, _, what = record["set"].partition(" ")
            sizes = sets.setdefault((*same, f"batch {settings['batch size']}", what, record["device"]), {})
            sizes[int(images)] = record["throughput"]["images/s"]
    sets = {names: sizes for names, sizes in sets.items() if len(sizes) > 1}
    devices = len({record["device"] for record in records})
    both = any("p50" in record["latency s"] for record in records)
    panels = 1 + both + bool(sets)
    figure = Figure(figsize=(6 if panels == 1 else 4.5 * panels, 4 + 0.15 * len(lines)), layout="constrained")
    scaling, *rest = figure.subplots(1, panels, squeeze=False)[0]
    for place, (names, found) in enumerate(sorted(lines.items())):
        colour, mark = COLOURS[place % len(COLOURS)], f"{'oDv^'[place // len(COLOURS) % 4]}-"
        by_batch = sorted((one["settings"]["batch size"], one["throughput"]["images/s"]) for one in found)
        scaling.plot(
            *zip(*by_batch, strict=True),
            mark,
            color=colour,
            label=" · ".join(names[: 6 + (devices > 1)]),
        )
        timed = sorted(
            (one["throughput"]["images/s"], 1000 * one["latency s"]["p50"]["value"])
            for one in found
            if "p50" in one["latency s"]
        )
        if timed:
            rest[0].plot(*zip(*timed, strict=True), mark, color=colour)
        for one in found:
            if not one["valid"]:
                a_second, hollow = one["throughput"]["images/s"], {"color": colour, "markerfacecolor": "white"}
                scaling.plot(one["settings"]["batch size"], a_second, mark[0], **hollow)
                if "p50" in one["latency s"]:
                    rest[0].plot(a_second, 1000 * one["latency s"]["p50"]["value"], mark[0], **hollow)
    if not all(record["valid"] for record in records):
        scaling.plot([], [], "o", color="black", markerfacecolor="white", label="hollow: INVALID")
    scaling.set(xlabel="batch", ylabel="images a second")
    if both:
        rest[0].set(xlabel="images a second", ylabel="p50, ms")
    if sets:
        rest[-1].set(xlabel="images in the set", ylabel="images a second")
    for place, (names, sizes) in enumerate(sorted(sets.items())):
        label = " · ".join((names[0], names[4], *names[6:][: devices > 1]))
        rest[-1].plot(*zip(*sorted(sizes.items()), strict=True), "s-", color=COLOURS[place % len(COLOURS)], label=label)
        rest[-1].legend(fontsize=7, frameon=False)
    for axes in (scaling, *rest):
        axes.set(xscale="log", yscale="log")
        axes.grid(alpha=0.3, which="both")
    figure.legend(*scaling.get_legend_handles_labels(), fontsize=7, loc="outside lower center")
    _save(figure, to / "scaling")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=120, metadata={"Software": None})
