"""The records of `bench` as text, tables and figures: stage times, roofline, latency versus throughput, scaling."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import sinks
from harness.sinks import cell

Record = Mapping[str, Any]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")  # Okabe and Ito's palette
BARS = 12  # records in the figure of stages


def describe(record: Record) -> str:
    """A record as text: its settings, its validity, and each number with its interval."""
    settings = record["settings"]
    lines = [
        f"{record['model']} {record['scenario']} · {record['set']} · {described(settings)} · {record['device']}",
        f"  {_validity(record)}",
    ]
    for name, estimate in record["latency s"].items():
        lines.append(f"  {name:10} {_interval(estimate)}")
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
        lines.append(f"  {meter['joules'] / record['queries']:.3g} J per query")
    for trial in record["rates tried"]:
        result = "sustained" if trial["holds"] else "not sustained"
        lines.append(f"  {trial['rate']:8.3g} queries/s: p{trial['percent']:g} {trial['latency']:.3g} s, {result}")
    if "stages" in record:
        lines += _stage_lines(record["stages"])
    for name, result in record["against"].items():
        lines += [f"  versus {name}: {versus(result)}", *_runtime_lines(result)]
    return "\n".join(map(sinks.line, lines))


def _stage_lines(stages: Mapping[str, Any]) -> list[str]:
    lines = [f"  stages of a batch of {stages['batch']} (decode: one of {stages['steps']} steps)"]
    for stage in stages["lines"]:
        floor = ""
        if "floor s" in stage:
            share = f"{stage['of the ceiling']:.0%} of the ceiling"
            floor = f"  roofline floor {_time(stage['floor s'])} ({stage['bound']}), {share}"
        lines.append(f"    {stage['stage']:9} {_time(stage['seconds']):>9}{floor}")
    return lines


def _runtime_lines(result: Mapping[str, Any]) -> list[str]:
    """A runtime's settings, its distance from float32 and ours, and the ratio of each part; none for other peers."""
    if "runtime" not in result:
        return []
    runtime = result["runtime"]
    hints = "".join(f", {name}={value}" for name, value in runtime["hints"].items())
    lines = [f"    {runtime['version']}, {runtime['precision']}, {runtime['threads']} threads{hints}"]
    for side in ("ours", "theirs"):
        near = runtime[f"{side} versus float32"]
        lines.append(
            f"    {side} versus float32: {near['agreement']:.1%} of {near['places']} tokens agree, error of the vision "
            f"tower {near['tower error']:.2g}"
        )
    for part in result["parts"]:
        ratio = part["ratio"]
        interval = f" [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio["low"] is not None else ""
        times = f"{_time(part['ours'])} (ours), {_time(part['theirs'])} (theirs)"
        lines.append(f"    {part['part']:25} {ratio['value']:.2f} times{interval}: {times}")
    return lines


def versus(result: Mapping[str, Any]) -> str:
    """A comparison with a peer: the speed ratio with its interval, both times, and the reasons if it is INVALID.

    A ratio above 1 means that this harness is faster.
    """
    if "cannot run" in result:
        return f"cannot run here ({result['cannot run']})"
    ratio = result["ratio"]
    interval = f" [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio["low"] is not None else ""
    queries = "1 query" if result["queries"] == 1 else f"{result['queries']} queries"
    text = (
        f"{ratio['value']:.2f} times as fast{interval}: {result['ours']:.3g} s versus {result['theirs']:.3g} s for "
        f"{queries}, {result['rounds']} rounds, {result['equal']:.0%} of predictions equal"
    )
    return f"{text}; INVALID: {'; '.join(result['reasons'])}" if result["reasons"] else text


def _validity(record: Record) -> str:
    return "VALID" if record["valid"] else "INVALID: " + "; ".join(record["reasons"])


def _interval(estimate: Mapping[str, Any]) -> str:
    return f"{_time(estimate['value'])} [{_time(estimate['low'])}, {_time(estimate['high'])}]"


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def described(settings: Mapping[str, Any]) -> str:
    """The settings of a record in words."""
    beams = f"{settings['beams']} beams" if settings["beams"] else ""
    parts = [f"batch {settings['batch size']}", beams, settings["dtype"], settings["resolution"]]
    if settings["new tokens"]:
        parts.append(f"{settings['new tokens']} new tokens")
    if settings.get("rate"):
        parts.append(f"{settings['rate']:g} queries/s")
    if settings.get("target s"):
        parts.append(f"latency target {settings['target s']:g} s")
    return ", ".join(filter(None, parts))


def render(records: Sequence[Record], to: Path) -> None:
    """Writes `speed.md` and the figures of all records to a folder; the same records give the same bytes."""
    to.mkdir(parents=True, exist_ok=True)
    (to / "speed.md").write_text(markdown(records))
    if records:
        figures(records, to)


def markdown(records: Sequence[Record]) -> str:
    """The tables of each device: its records, and its comparisons with peers."""
    out = io.StringIO()
    out.write("# Speed\n\nMeasurements of `python -m harness bench`. This file is generated; do not edit it.\n")
    if not records:
        out.write("\nThere are no measurements yet.\n")
    for device in sorted({record["device"] for record in records}):
        of_device = [record for record in records if record["device"] == device]
        out.write(f"\n## {cell(device)}\n\n")
        out.write("| model | images | settings | scenario | p50 | p99 ")
        out.write("| images/s | tokens/s | peak MiB | validity | version |\n")
        out.write("|---|---|---|---|--:|--:|--:|--:|--:|---|---|\n")
        for record in sorted(of_device, key=order):
            latency, throughput = record["latency s"], record["throughput"]
            unchecked = record["meter"].get("not checked")
            cells = [
                record["model"], record["set"], described(record["settings"]),
                f"{record['scenario']} ({record['level']})",
                *(_time(latency[name]["value"]) if name in latency else "–" for name in ("p50", "p99")),
                f"{throughput['images/s']:.4g}", f"{throughput['tokens/s']:.4g}",
                f"{record['meter']['peak memory MiB']:.0f}",
                f"{_validity(record)} (not checked: {unchecked})" if unchecked else _validity(record),
                record["provenance"]["harness"],
            ]  # fmt: skip
            out.write(f"| {' | '.join(map(cell, cells))} |\n")
        comparisons = [(record, name, result) for record in of_device for name, result in record["against"].items()]
        if comparisons:
            out.write(
                "\nVersus other implementations: interleaved in one process, with the same weights, images, prompts "
            )
            out.write("and token counts. The other implementation uses float32 weights if ours are int8.\n\n")
            out.write("| model | settings | versus | speed ratio | version |\n|---|---|---|---|---|\n")
            for record, name, result in sorted(comparisons, key=lambda item: (*order(item[0]), item[1])):
                cells = [record["model"], described(record["settings"]), name, versus(result)]
                cells.append(record["provenance"]["harness"])
                out.write(f"| {' | '.join(map(cell, cells))} |\n")
    return out.getvalue()


def order(record: Record) -> tuple[Any, ...]:
    """The sort key of a record: model, scenario, images and settings."""
    settings = record["settings"]
    numbers = (settings["batch size"], settings["beams"], settings["new tokens"])
    return record["model"], record["scenario"], record["set"], settings["dtype"], numbers, settings["resolution"]


def figures(records: Sequence[Record], to: Path) -> None:
    """Writes each figure that has data as SVG and PNG: stages, roofline and scaling."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "speed", "svg.fonttype": "path", "font.size": 9, "text.parse_math": False}):
        staged = [record for record in records if "stages" in record]
        if staged:
            _stages(staged, to)
            _roofline(staged, to)
        _scaling(records, to)


def _stages(records: Sequence[Record], to: Path) -> None:
    """One bar per record: milliseconds per image by stage, with the roofline floor as an outline.

    The decode stage covers all steps.
    """
    from matplotlib.figure import Figure

    chosen = sorted(records, key=order)[-BARS:]
    names = ["open", "transfer", "vision", "encoder", "prefill", "decode", "parsing"]
    figure = Figure(figsize=(9, 1.2 + 0.45 * len(chosen)), layout="constrained")
    axes = figure.subplots()
    for row, record in enumerate(chosen):
        by_stage = {line["stage"]: line for line in record["stages"]["lines"]}
        left = floor = 0.0
        for name, colour in zip(names, COLOURS, strict=True):
            steps = record["stages"]["steps"] if name == "decode" else 1
            line = by_stage.get(name, {})
            width = 1000 * steps * line.get("seconds", 0.0) / record["stages"]["batch"]
            axes.barh(row, width, left=left, color=colour, label=name if row == 0 else None)
            left += width
            floor += 1000 * steps * line.get("floor s", 0.0) / record["stages"]["batch"]
        label = "roofline floor" if row == 0 else None
        axes.barh(row, floor, fill=False, edgecolor="black", linewidth=1.2, label=label)
    names = [
        f"{sinks.label(record['model'] + ' · ' + record['device'])}\n{sinks.label(described(record['settings']))}"
        for record in chosen
    ]
    axes.set_yticks(range(len(chosen)), names, fontsize=7)
    axes.set_xlabel("ms per image")
    figure.legend(*axes.get_legend_handles_labels(), ncols=8, fontsize=7, loc="outside lower center")
    _save(figure, to / "stages")


def _roofline(records: Sequence[Record], to: Path) -> None:
    """Operations per second versus operations per byte, under the highest ceilings measured for the device and dtype.

    A thin line, labelled with the model, connects the stages of a record.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    markers = {"vision": "o", "encoder": "s", "prefill": "^", "decode": "v"}
    ceilings: dict[tuple[str, str], tuple[float, float]] = {}
    for record in records:
        operations, moved = record["ceilings"]["operations"], record["ceilings"]["bytes"]
        key = record["device"], record["settings"]["dtype"]
        before = ceilings.get(key, (0.0, 0.0))
        ceilings[key] = max(before[0], operations), max(before[1], moved)
    for (key, (operations, moved)), colour in zip(sorted(ceilings.items()), COLOURS, strict=False):
        intensities = [2.0**power for power in range(-3, 13)]
        roof = [min(operations, moved * intensity) for intensity in intensities]
        axes.plot(intensities, roof, color=colour, label=sinks.label(" · ".join(key)))
        for record in records:
            if (record["device"], record["settings"]["dtype"]) != key:
                continue
            points = sorted(
                (line["operations"] / line["bytes"], line["operations"] / line["seconds"], markers[line["stage"]])
                for line in record["stages"]["lines"]
                if line["stage"] in markers and line["seconds"] > 0
            )
            axes.plot(*zip(*(point[:2] for point in points), strict=True), color=colour, lw=0.5, alpha=0.6)
            for intensity, rate, marker in points:
                axes.plot(intensity, rate, marker, color=colour, ms=5)
            for intensity, rate, _ in points[:1]:
                axes.annotate(
                    sinks.label(record["model"]),
                    (intensity, rate),
                    xytext=(-4, -9),
                    textcoords="offset points",
                    fontsize=7,
                )
    for name, marker in markers.items():
        axes.plot([], [], marker, color="black", label=name)
    axes.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="operations per second")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    _save(figure, to / "roofline")


def _scaling(records: Sequence[Record], to: Path) -> None:
    """Throughput versus batch size, with up to two further panels.  INVALID points are hollow.

    With latencies: median latency versus throughput.  With offline records on several numbers of images: throughput
    versus the number of images.
    """
    from matplotlib.figure import Figure

    lines: dict[tuple[str, ...], list[Record]] = {}
    sizes: dict[tuple[str, ...], dict[int, float]] = {}
    for record in records:
        settings = record["settings"]
        resolution = settings["resolution"]
        if settings["new tokens"]:
            resolution = f"{resolution}, {settings['new tokens']} new tokens"
        same = (record["model"], settings["dtype"], f"{settings['beams']} beams", resolution)
        lines.setdefault((*same, record["set"], record["scenario"], record["device"]), []).append(record)
        if record["scenario"] == "offline":
            images, _, kind = record["set"].partition(" ")
            of_set = sizes.setdefault((*same, f"batch {settings['batch size']}", kind, record["device"]), {})
            of_set[int(images)] = record["throughput"]["images/s"]
    sizes = {names: of_set for names, of_set in sizes.items() if len(of_set) > 1}
    devices = len({record["device"] for record in records})
    with_latency = any("p50" in record["latency s"] for record in records)
    panels = 1 + with_latency + bool(sizes)
    figure = Figure(figsize=(6 if panels == 1 else 4.5 * panels, 4 + 0.15 * len(lines)), layout="constrained")
    scaling, *rest = figure.subplots(1, panels, squeeze=False)[0]
    for place, (names, of_line) in enumerate(sorted(lines.items())):
        colour, style = COLOURS[place % len(COLOURS)], f"{'oDv^'[place // len(COLOURS) % 4]}-"
        by_batch = sorted((record["settings"]["batch size"], record["throughput"]["images/s"]) for record in of_line)
        label = sinks.label(" · ".join(names[: 6 + (devices > 1)]), 120)
        scaling.plot(*zip(*by_batch, strict=True), style, color=colour, label=label)
        timed = sorted(
            (record["throughput"]["images/s"], 1000 * record["latency s"]["p50"]["value"])
            for record in of_line
            if "p50" in record["latency s"]
        )
        if timed:
            rest[0].plot(*zip(*timed, strict=True), style, color=colour)
        for record in of_line:
            if not record["valid"]:
                rate, hollow = record["throughput"]["images/s"], {"color": colour, "markerfacecolor": "white"}
                scaling.plot(record["settings"]["batch size"], rate, style[0], **hollow)
                if "p50" in record["latency s"]:
                    rest[0].plot(rate, 1000 * record["latency s"]["p50"]["value"], style[0], **hollow)
    if not all(record["valid"] for record in records):
        scaling.plot([], [], "o", color="black", markerfacecolor="white", label="hollow: INVALID")
    scaling.set(xlabel="batch size", ylabel="throughput, images/s")
    if with_latency:
        rest[0].set(xlabel="throughput, images/s", ylabel="p50 latency, ms")
    if sizes:
        rest[-1].set(xlabel="number of images", ylabel="throughput, images/s")
    for place, (names, of_set) in enumerate(sorted(sizes.items())):
        label = sinks.label(" · ".join((names[0], names[4], *names[6:][: devices > 1])), 120)
        colour = COLOURS[place % len(COLOURS)]
        rest[-1].plot(*zip(*sorted(of_set.items()), strict=True), "s-", color=colour, label=label)
        rest[-1].legend(fontsize=7, frameon=False)
    for axes in (scaling, *rest):
        axes.set(xscale="log", yscale="log")
        axes.grid(alpha=0.3, which="both")
    figure.legend(*scaling.get_legend_handles_labels(), fontsize=7, loc="outside lower center")
    _save(figure, to / "scaling")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=120, metadata={"Software": None})
