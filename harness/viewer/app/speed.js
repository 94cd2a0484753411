"use strict";
// The measurements of `bench`: on each machine, ratios versus peers with their intervals, and the records.
{
  const time = (seconds) => (seconds === undefined || seconds === null ? "–" : seconds >= 1 ? `${Number(seconds.toPrecision(3))} s` : `${Number((1000 * seconds).toPrecision(3))} ms`);
  const number = (value) => Number(Number(value).toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
  const times = (value) => `${value.toFixed(2)} ×`;
  const range = (each) => (each.low === null ? "–" : `${each.low.toFixed(2)} to ${each.high.toFixed(2)}`);

  const validity = (valid, reasons, unchecked) => [valid ? "valid" : H.el("b", {}, "INVALID"),
    [...reasons, unchecked && `not checked: ${unchecked}`].filter(Boolean).map((text) => H.el("span", { class: "reason" }, text))];

  H.pages.speed = async (page) => {
    const { machines } = await H.load("speed");
    H.add(page, H.el("h1", {}, "Speed"));
    if (!machines.length) {
      H.add(page, H.problem(H.el("p", {}, "There are no measurements in this folder of results. This command makes one:"), H.command("python -m harness bench --model florence2-nano --scenario single")));
      return { title: "Speed", runs: ["speed"] };
    }
    const ratios = machines.reduce((sum, each) => sum + each.versus.length, 0);
    H.add(page, H.el("p", { class: "lead" }, `${H.plural(machines.reduce((sum, each) => sum + each.records.length, 0), "measurement")} and ${H.plural(ratios, "comparison")} with other implementations on ${H.plural(machines.length, "machine")}.`),
      H.el("p", { class: "note" }, "A ratio is the time of the peer over ours, so above 1 this harness is faster. Both ran interleaved in one process, with the same weights, images, prompts and token counts. Numbers of different machines are not comparable."),
      machines.length > 1 ? H.el("ul", { class: "buttons" }, machines.map((each, place) => H.el("li", {}, H.el("button", { type: "button", onclick: () => document.getElementById(`machine-${place}`).scrollIntoView() }, each.machine)))) : null,
      machines.map((each, place) => machine(each, `machine-${place}`)));
    return { title: "Speed", runs: ["speed"] };
  };

  function machine({ machine: name, records, versus }, id) {
    const ran = versus.filter((each) => !each.problem);
    const models = new Set(versus.map((each) => each.model)).size > 1;
    const label = (each) => `${each.peer}: ${models ? `${each.model}, ` : ""}${each.settings}`;
    return H.el("section", { id }, H.el("h2", {}, name),
      ran.length ? H.ranges({ title: `Speed ratio versus peers on ${name}`, file: "speed-ratios", at: 1, log: true, x: "times as fast (logarithmic)",
        rows: ran.map((each) => ({ name: label(each), value: each.ratio, low: each.low, high: each.high, faint: each.reasons.length > 0,
          said: `${label(each)}: ${times(each.ratio)}, ${range(each)}${each.reasons.length ? "; INVALID" : ""}` })), note: `Right of the line this harness is faster; lines are 95 % intervals.${ran.some((each) => each.reasons.length) ? " Hollow: INVALID, for the reason in the table." : ""}`,
        csv: [["machine", "model", "settings", "images", "peer", "ratio", "low", "high", "ours s", "theirs s", "queries", "rounds", "equal predictions", "problem"],
          ...versus.map((each) => [name, each.model, each.settings, each.set, each.peer, each.ratio, each.low, each.high, each.ours, each.theirs, each.queries, each.rounds, each.equal, each.problem || each.reasons.join("; ")])] }) : null,
      versus.length ? H.table(`Comparisons on ${name}`, ["peer", "model and settings", "validity", "ratio", "95 % interval", "ours", "peer's", "queries", "equal predictions"], versus.map((each) => each.problem
        ? [each.peer, `${each.model}, ${each.settings}`, each.problem, "–", "–", "–", "–", "–", "–"]
        : [each.peer, `${each.model}, ${each.settings}`, validity(!each.reasons.length, each.reasons, ""), H.el("b", {}, times(each.ratio)), range(each), time(each.ours), time(each.theirs), H.whole(each.queries), `${H.number(100 * each.equal, 0)} %`]), { text: 3 }) : H.el("p", { class: "note" }, "No comparison with a peer on this machine."),
      H.el("h3", {}, "Measurements"), H.table(`Measurements on ${name}`, ["model", "settings", "images", "scenario", "validity", "p50", "p99", "images/s", "tokens/s", "peak MiB", "version"], records.map((each) => [
        each.model, each.settings, each.set, `${each.scenario.replaceAll("_", " ")} (${each.level})`, validity(each.valid, each.reasons, each.unchecked), ...["p50", "p99"].map((part) => time(each.latency[part] && each.latency[part][0])), number(each["images/s"]), number(each["tokens/s"]), H.number(each.memory, 0), each.version]), { text: 5 }),
      H.saveButton("speed.csv", "Measurements as CSV", () => H.csv([["machine", "model", "settings", "images", "scenario", "level", "p50 s", "p50 low", "p50 high", "p99 s", "images/s", "tokens/s", "peak memory MiB", "valid", "reasons", "version"],
        ...records.map((each) => [name, each.model, each.settings, each.set, each.scenario, each.level, ...(each.latency.p50 || [null, null, null]), (each.latency.p99 || [null])[0], each["images/s"], each["tokens/s"], each.memory, each.valid, each.reasons.join("; "), each.version])])));
  }
}
