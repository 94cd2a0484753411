"use strict";
// The page of one task: its models side by side, error analysis, and the paired difference of two runs.
{
  H.pages.task = async (page, [data, name, split]) => {
    const all = await H.load("overview");
    const task = all.tasks.find((each) => H.same(each.data, data) && H.same(each.task, name) && H.same(each.split, split));
    if (!task) throw new Error(`there are no runs of ${name} ${split} of ${data}`);
    const runs = all.runs.filter((run) => Object.values(task.cells).some((cell) => cell.run === run.id));
    const apart = (run) => (run.role === "model" ? 0 : 1); // floors and ceilings come last
    runs.sort((a, b) => apart(a) - apart(b) || (b.value ?? -1) - (a.value ?? -1));
    const records = await Promise.all(runs.map((run) => H.load(`run/${run.id}`).then((each) => each.record)));
    const heads = await Promise.all(runs.map((run) => H.load(`samples/${run.id}`)));
    const named = runs.map((run) => (runs.filter((other) => other.model === run.model).length > 1 ? `${run.model} (${run.protocol})` : run.model));
    H.add(page, 
      H.el("p", { class: "crumbs" }, H.el("a", { href: "#/" }, "Results"), " / ", data),
      H.el("h1", {}, `${name} ${split}`), H.el("p", { class: "lead" }, task.about ? `${task.about}.` : ""),
      task.seen ? H.el("p", { class: "note" }, task.seen) : null,
      data === "miniature" ? H.el("p", { class: "note" }, `${all.note[0].toUpperCase()}${all.note.slice(1)}.`) : null,
      metrics(runs, records, named, task), samples(runs, heads, named));
    if (task.published.length) {
      H.add(page, H.el("h2", {}, "Published figures"), H.table("Published figures", ["model", "protocol", "source", task.metric],
        task.published.map((figure) => [figure.model, figure.protocol.replaceAll("_", " "), `${figure.source}, ${figure.where}`, H.number(figure.value)]), { text: 3 }));
    }
    H.add(page, pair(runs, named, heads));
    const analysed = runs.map((run, place) => ({ run, name: named[place], head: heads[place] })).filter((each) => each.head.count);
    const charts = H.el("section", {});
    H.add(page, charts);
    if (analysed.length) {
      const drawn = await Promise.all(analysed.map((each) => H.load(`charts/${each.run.id}`)));
      plots(charts, analysed.map((each) => each.name), drawn, `${name} ${split}`);
    }
    return { title: `${name} ${split}` };
  };

  function metrics(runs, records, named, task) {
    const names = [...new Set([task.metric, ...records.flatMap((run) => Object.keys(run.metrics))])];
    const cells = (metric) => records.map((run) => run.metrics[metric]);
    return [H.el("h2", {}, "Metrics"), H.table("Metrics of all models", ["metric", ...runs.map((run, place) =>
      H.el("a", { href: H.link("run", run.id) }, named[place]))], names.map((metric) => [
      metric === task.metric ? H.el("b", {}, metric) : metric,
      ...cells(metric).map((each) => (each ? [H.number(each.value), each.low === null ? null : H.el("span", { class: "interval" }, H.interval(each.low, each.high))] : "–"))])),
    H.saveButton("metrics.csv", "Metrics as CSV", () => H.csv([["run", "model", "protocol", "metric", "value", "low", "high", "n"],
      ...records.flatMap((run) => Object.entries(run.metrics).map(([metric, each]) =>
        [run.id, run.spec.model, run.spec.protocol, metric, each.value, each.low, each.high, each.n]))]))];
  }

  function samples(runs, heads, named) {
    const links = runs.map((run, place) => heads[place].count
      ? H.el("li", {}, H.el("a", { class: "button", href: H.link("samples", run.id) }, `${named[place]}: ${H.plural(heads[place].count, "sample")}`))
      : null).filter(Boolean);
    return [H.el("h2", {}, "Samples"), links.length ? H.el("ul", { class: "buttons" }, links)
      : H.problem(runs.every((run) => run.state === "running") ? "No question is answered yet." : "The predictions of these runs are not here, so there are no samples and no error analysis.")];
  }

  // Two runs and their paired difference, B minus A, as `compare` computes it.
  function pair(runs, named, heads) {
    if (runs.length < 2) return null;
    const result = H.el("div", { class: "difference", role: "status" });
    let chosen = [runs[0].id, runs[1].id];
    const look = async () => {
      const [a, b] = chosen;
      if (a === b) { result.replaceChildren(H.el("p", { class: "note" }, "Choose two runs.")); return; }
      const lacking = runs.filter((run, place) => chosen.includes(run.id) && !heads[place].count);
      if (lacking.length) {
        result.replaceChildren(H.el("p", {}, `Not compared: the predictions of ${lacking.map((run) => run.model).join(" and ")} are not here.`));
        return;
      }
      result.replaceChildren(H.el("p", { class: "note" }, "Comparing …"));
      const command = H.command(`python -m harness compare ${a} ${b}`);
      const found = await H.pair(a, b);
      if (chosen[0] !== a || chosen[1] !== b) return;
      if (!found || found.problem) {
        result.replaceChildren(H.el("p", {}, found ? `Not compared: ${found.problem}.` : "This report has no paired difference of these two runs; the command computes it."), command);
        return;
      }
      const each = found.metrics[0];
      const { value, low, high } = each;
      const beyond = H.beyond(each);
      result.replaceChildren();
      H.add(result, H.el("p", { class: "verdict" }, H.el("b", { class: beyond ? (value > 0 ? "up" : "down") : "" }, H.signed(value)),
        ` ${each.metric}, B minus A`, low === null ? "" : `, 95 % interval ${H.signed(low)} to ${H.signed(high)}`),
      H.el("p", {}, beyond ? `${value > 0 ? "B" : "A"} is better beyond noise.` : "The difference is within noise."),
      H.el("p", { class: "note" }, each.p === null ? "No p-value." : `p = ${each.p < 0.001 ? each.p.toExponential(1) : each.p.toFixed(3)} (${each.test}). `,
        each.smallest === null ? "" : `A true difference of ${H.number(each.smallest)} would be found in 80 % of cases.`), command);
    };
    const choose = (side, label) => H.label(label, H.select(runs.map((run, place) => [run.id, named[place]]), chosen[side], (value) => { chosen[side] = value; look(); }));
    look();
    return H.el("section", {}, H.el("h2", {}, "Paired difference"), H.el("p", { class: "note" }, "Both models on the same samples; images are resampled together."),
      H.el("div", { class: "filters" }, choose(0, "A"), choose(1, "B")), result);
  }

  function plots(place, names, drawn, title) {
    const made = [];
    const lines = (key, options) => {
      const series = drawn.map((each, index) => ({ name: names[index], place: index, points: each[key] || [] })).filter((each) => each.points.length);
      if (series.length) {
        made.push(H.lines({ ...options, series, csv: [["model", options.x, options.y], ...series.flatMap((each) => each.points.map((point) => [each.name, point[0], point[1]]))] }));
      }
    };
    lines("recall", { title: "Recall by IoU threshold", file: "recall", x: "IoU threshold", y: "recall, %", domain: [0, 1], note: "The share of objects that are found at each threshold." });
    lines("precision", { title: "Precision by share of boxes kept", file: "precision", x: "boxes kept, most confident first, %", y: "precision at IoU 0.5, %", domain: [0, 100], note: "A curve that falls shows that confidence tells correct boxes from wrong ones." });
    lines("calibration", { title: "Calibration of box confidence", file: "calibration", x: "confidence, %", y: "correct at IoU 0.5, %", domain: [0, 100], diagonal: true,
      note: drawn.map((each, index) => ("calibration error" in each ? `${names[index]}: calibration error ${H.number(each["calibration error"])}, AUROC ${H.number(each.auroc)}` : "")).filter(Boolean).join(" · ") });
    for (const chart of [...new Set(drawn.flatMap((each) => Object.keys(each.bars)))]) {
      const rows = [...new Set(drawn.flatMap((each) => (each.bars[chart] || []).map((bar) => bar[0])))];
      const found = rows.map((row) => [row, drawn.map((each) => { const bar = (each.bars[chart] || []).find((one) => one[0] === row); return bar ? bar.slice(1) : null; })]);
      made.push(H.bars({ title: chart[0].toUpperCase() + chart.slice(1), file: "groups", series: names, rows: found,
        note: chart === drawn[0].costs ? "Points of AP50 that correcting each type of error would gain; n counts errors." : "Percent with 95 % intervals.",
        csv: [["model", "group", "value", "low", "high", "n"], ...found.flatMap(([row, bars]) => bars.map((bar, index) => bar && [names[index], row, ...bar]).filter(Boolean))] }));
    }
    if (made.length) place.append(H.el("h2", {}, "Error analysis"), H.el("div", { class: "charts" }, made));
    else place.append(H.el("p", { class: "note" }, `${title} has no error analysis: its targets have neither boxes nor groups.`));
  }
}
