"use strict";
// Two models on every task that both ran: paired differences, all metrics of one task, and the samples that change.
{
  const key = (model) => `${model.model} ${model.protocol}`;
  const MOST = 30; // samples in the list at first

  // The paired differences of two runs, B minus A, or the problem why there are none; null where this report has none.
  H.pair = async (a, b) => {
    const [first, second] = [a, b].sort();
    const all = await H.load("overview");
    if (all["pairs left out"].includes(`${first} ${second}`)) return null;
    for (const run of all.runs.filter((each) => each.id === a || each.id === b)) {
      if (!["complete", "partial"].includes(run.status)) return { problem: `the run of ${run.model} is ${run.status}` };
      if (!(await H.load(`samples/${run.id}`)).count) return { problem: `the predictions of ${run.model} are not here` };
    }
    const found = await H.load(`pair/${first}/${second}`);
    if (first === a || !found.metrics) return found;
    const minus = (value) => (value === null ? null : -value);
    return { ...found, metrics: found.metrics.map((each) => ({ ...each, a: each.b, b: each.a, value: minus(each.value), low: minus(each.high), high: minus(each.low) })) };
  };
  H.beyond = (each) => each.low !== null && (each.low > 0 || each.high < 0);
  H.p = (value) => (value === null || value === undefined ? "–" : value < 0.1 ? value.toFixed(4) : value.toFixed(2));
  // Holm's correction (1979), as `compare` makes it; null stays null.
  H.holm = (values) => {
    const places = values.map((_, place) => place).filter((place) => values[place] !== null).sort((a, b) => values[a] - values[b]);
    const corrected = values.map(() => null);
    let highest = 0;
    places.forEach((place, rank) => {
      highest = Math.max(highest, Math.min(1, (places.length - rank) * values[place]));
      corrected[place] = highest;
    });
    return corrected;
  };
  H.verdict = (each) => (!H.beyond(each) ? "within noise" : each.value > 0 ? "B is better" : "A is better");

  H.pages.compare = async (page, parts, query) => {
    const all = await H.load("overview");
    H.add(page, H.el("h1", {}, "Compare two models"), H.el("p", { class: "lead" }, "Both on the same samples of every task that both ran. Differences are B minus A; images are resampled together."));
    const runs = new Map(all.runs.map((run) => [run.id, run]));
    const usable = all.models.filter((model) => all.tasks.some((task) => task.cells[key(model)]));
    if (usable.length < 2) {
      H.add(page, H.problem(H.el("p", {}, usable.length ? `Only ${usable[0].model} has a run, so there is nothing to compare it with. A second model on the same task:` : "There are no runs yet. These commands make two:"),
        usable.length ? null : H.command("python -m harness run --task refcoco --model florence2-nano --data miniature"),
        H.command("python -m harness run --task refcoco --model whole-image --data miniature")));
      return { title: "Compare" };
    }
    const keys = usable.map(key);
    const shared = (a, b) => all.tasks.filter((task) => task.cells[a] && task.cells[b]);
    const given = [query.get("a"), query.get("b")].map((name) => (keys.includes(name) ? name : ""));
    const models = usable.filter((model) => model.role === "model").map(key);
    const first = given[0] || [...models, ...keys].find((name) => name !== given[1]);
    const most = keys.filter((name) => name !== first).sort((x, y) => models.includes(y) - models.includes(x) || shared(first, y).length - shared(first, x).length)[0];
    const [a, b] = [first, given[1] && given[1] !== first ? given[1] : most];
    const tasks = shared(a, b);
    const name = (task) => `${task.task} ${task.split}`;
    const asked = tasks.find((task) => `${task.data} ${name(task)}` === query.get("task")) || tasks[0];
    const address = (change) => `#/compare?${new URLSearchParams({ a, b, ...change })}`;
    const option = (model) => [key(model), `${model.model} (${model.protocol.replaceAll("_", " ")})`];
    H.add(page, H.el("form", { class: "filters", "aria-label": "The models", onsubmit: (event) => event.preventDefault() },
      H.label("A", H.select(usable.map(option), a, (value) => { location.hash = address({ a: value, b: value === b ? a : b }); })),
      H.label("B", H.select(usable.map(option), b, (value) => { location.hash = address({ b: value, a: value === a ? b : a }); })),
      H.el("a", { class: "button", href: address({ a: b, b: a }) }, "Swap")));
    if (!tasks.length) {
      H.add(page, H.problem("These two models have no task, split and data in common."));
      return { title: "Compare" };
    }
    const place = H.el("section", {});
    const chosen = H.el("section", {});
    H.add(page, place, all["pairs left out"].length ? H.el("p", { class: "note" }, `This report leaves out ${H.plural(all["pairs left out"].length, "pair")} of runs, because comparing them takes long: pairs with the best model of a task are all here. The command below each task computes the others, and \`view\` compares any two.`) : null, chosen);
    const ids = tasks.map((task) => [task.cells[a].run, task.cells[b].run]);
    const found = tasks.map(() => undefined);
    const draw = () => summary(place, tasks, ids, found, runs, asked, address, [a, b], all);
    draw();
    detail(chosen, asked, ids[tasks.indexOf(asked)], runs, all);
    return { title: "Compare", runs: ids.flat(), after: () => {
      let gone = false;
      (async () => {
        for (const [number, [one, other]] of ids.entries()) {
          found[number] = await H.pair(one, other).catch((error) => ({ problem: error.message }));
          if (gone) return;
          if (H.live() || number % 4 === 3 || number === ids.length - 1) draw();
        }
      })();
      return () => { gone = true; };
    } };
  };

  // A row for each task, the chart of the differences, and what cannot be compared.
  function summary(place, tasks, ids, found, runs, asked, address, names, all) {
    const headline = found.map((each) => (each && !each.problem ? each.metrics[0] : null));
    const corrected = H.holm(headline.map((each) => (each ? each.p : null)));
    const name = (task) => `${task.task} ${task.split}`;
    const focused = document.activeElement && place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    place.replaceChildren();
    for (const data of new Set(tasks.map((task) => task.data))) {
      const rows = [...tasks.keys()].filter((row) => tasks[row].data === data);
      H.add(place, H.el("h2", {}, data), data === "miniature" ? H.el("p", { class: "note" }, `${all.note[0].toUpperCase()}${all.note.slice(1)}.`) : null,
        H.table(`Differences on ${data}`, ["task", "metric", "A", "B", "B − A", "95 % interval", "p", "p (Holm)", "says"], rows.map((row) => {
          const task = tasks[row];
          const label = H.el("a", { href: address({ task: `${task.data} ${name(task)}` }), "aria-current": task === asked ? "true" : null }, name(task));
          const values = ids[row].map((id) => H.number(runs.get(id).value));
          const each = headline[row];
          const reason = found[row] === undefined ? "comparing …" : found[row] === null ? "not in this report" : found[row].problem;
          return each ? [label, each.metric, H.number(each.a), H.number(each.b), H.el("b", {}, H.signed(each.value)), interval(each), H.p(each.p), H.p(corrected[row]), says(each)]
            : [label, task.metric, ...values, "–", "–", "–", "–", H.el("span", { class: "note" }, reason || "–")];
        }), { text: 2 }));
      const charts = H.el("div", { class: "charts" });
      place.append(charts);
      for (const cider of [false, true]) { // CIDEr has no end at 100, so it has an axis of its own
        const drawn = rows.filter((row) => headline[row] && headline[row].metric.includes("CIDEr") === cider);
        if (!drawn.length) continue;
        charts.append(H.ranges({ title: `Differences on ${data}${cider ? ", CIDEr" : ""}`, file: "differences", at: 0, x: "B − A, points", note: "Left of the line A is better, right of it B; lines are 95 % intervals.",
          rows: drawn.map((row) => ({ name: name(tasks[row]), ...headline[row], said: `${name(tasks[row])}: ${H.signed(headline[row].value)} ${headline[row].metric}, ${interval(headline[row])}` })),
          csv: [["data", "task", "split", "metric", "model A", "model B", "run A", "run B", "A", "B", "difference", "low", "high", "p", "p by Holm", "test"], ...rows.map((row) => {
            const each = headline[row] || {};
            return [data, tasks[row].task, tasks[row].split, tasks[row].metric, ...names, ...ids[row], each.a, each.b, each.value, each.low, each.high, each.p, corrected[row], each.test];
          })] }));
      }
    }
    if (focused) [...place.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus({ preventScroll: true });
  }
  const interval = (each) => (each.low === null ? "–" : `${H.signed(each.low)} to ${H.signed(each.high)}`);
  const says = (each) => H.el("span", { class: `says${H.beyond(each) ? (each.value > 0 ? " up" : " down") : ""}` }, H.verdict(each));

  // All metrics of one task, and the samples whose score changes.
  async function detail(place, task, [a, b], runs, all) {
    const title = `${task.task} ${task.split}`;
    const waiting = H.el("p", { class: "note", role: "status" }, "Comparing …");
    H.add(place, H.el("h2", {}, H.el("a", { href: H.link("task", task.data, task.task, task.split) }, title), ` of ${task.data}`), waiting);
    const found = await H.pair(a, b).catch((error) => ({ problem: error.message }));
    waiting.remove();
    if (found && found.metrics && found.metrics.length) {
      H.add(place, H.el("h3", {}, "All metrics"), H.table(`Metrics of ${title}`, ["metric", "A", "B", "B − A", "95 % interval", "p", "detectable", "says"], found.metrics.map((each) => [
        each.metric, H.number(each.a), H.number(each.b), H.signed(each.value), interval(each), H.p(each.p), H.number(each.smallest), each.metric === "unreadable" || each.metric === "truncated" ? H.el("span", { class: "says" }, H.beyond(each) ? "differs" : "within noise") : says(each)])),
      H.el("p", { class: "note" }, `Detectable: the true difference that would be found in 80 % of cases. Test of ${found.metrics[0].metric}: ${found.metrics[0].test}. P-values of the other metrics are not corrected for their number.`),
      H.saveButton("metrics.csv", "Metrics as CSV", () => H.csv([["run A", "run B", "metric", "A", "B", "difference", "low", "high", "p", "test", "detectable"],
        ...found.metrics.map((each) => [a, b, each.metric, each.a, each.b, each.value, each.low, each.high, each.p, each.test, each.smallest])])));
    } else H.add(place, H.problem(H.el("p", {}, found ? `Not compared: ${found.problem}.` : "This report has no paired differences of these two runs.")));
    H.add(place, H.command(`python -m harness compare ${a} ${b}`), await changes(a, b, runs));
  }

  async function changes(a, b, runs) {
    let sides;
    try { sides = await Promise.all([a, b].map((id) => H.index(id))); } catch { return null; }
    const [one, other] = sides;
    if (!one.samples.length || !other.samples.length) return null;
    const ours = new Map(other.samples.map((sample) => [sample.id, sample]));
    const pairs = one.samples.filter((sample) => ours.has(sample.id)).map((sample) => [sample, ours.get(sample.id)]);
    const changed = pairs.filter(([before, after]) => Math.abs(after.score - before.score) > 1e-9)
      .sort((x, y) => Math.abs(y[1].score - y[0].score) - Math.abs(x[1].score - x[0].score) || (x[0].id < y[0].id ? -1 : 1));
    const sets = { "": changed, worse: changed.filter(([x, y]) => y.score < x.score), better: changed.filter(([x, y]) => y.score > x.score),
      flips: changed.filter(([x, y]) => x.outcome !== y.outcome) };
    const count = H.el("p", { class: "count", role: "status" });
    const list = H.el("div", {});
    const label = (head, sample) => H.el("span", {}, H.el("span", { class: `outcome ${head.outcomes[sample.outcome].replace(" ", "-")}` }, head.outcomes[sample.outcome]), ` ${H.number(100 * sample.score, 0)}`);
    const show = (kind, most = MOST) => {
      const shown = sets[kind].slice(0, most);
      count.textContent = `B is worse in ${H.whole(sets.worse.length)}, better in ${H.whole(sets.better.length)}, equal in ${H.whole(pairs.length - changed.length)} of ${H.plural(pairs.length, "sample")}; ${H.plural(sets.flips.length, "flip")} of outcome`
        + (sets[kind].length > most ? `. The largest ${most} are listed.` : "");
      list.replaceChildren(shown.length ? H.table("Samples that change", ["sample", "question", "A", "B", "output of A", "output of B"], shown.map(([x, y]) => [
        H.el("a", { href: `${H.link("sample", a, x.id)}?${new URLSearchParams({ with: b })}` }, x.id), short(x.question), label(one.head, x), label(other.head, y), short(x.output), short(y.output)]), { text: 6 })
        : H.problem("No sample changes in this way."));
      if (sets[kind].length > most) list.append(H.el("button", { type: "button", onclick: () => show(kind, most + 200) }, "List more"));
    };
    show("");
    return [H.el("h3", {}, "Samples that change"), H.el("div", { class: "filters" },
      H.label("Show", H.select([["", "all changes"], ["flips", "flips of outcome"], ["worse", "worse in B"], ["better", "better in B"]], "", (kind) => show(kind))),
      H.saveButton("changes.csv", "All changes as CSV", () => H.csv([["sample", "question", "score A", "score B", "outcome A", "outcome B", "run A", "run B"],
        ...changed.map(([x, y]) => [x.id, x.question, x.score, y.score, one.head.outcomes[x.outcome], other.head.outcomes[y.outcome], runs.get(a).id, runs.get(b).id])]))), count, list];
  }
  const short = (text) => (text.length > 90 ? `${text.slice(0, 89)}…` : text);
}
