"use strict";
// The first page: what was evaluated, the leaderboard of each data set, and accuracy against speed.
{
  const key = (model) => `${model.model} ${model.protocol}`;
  const unit = (metric) => (metric.includes("CIDEr") ? "x 100" : "%");

  H.pages.overview = async (page, parts, query) => {
    const all = await H.load("overview");
    const runs = new Map(all.runs.map((run) => [run.id, run]));
    const chosen = Object.fromEntries(["data", "protocol", "split", "family", "since", "text"].map((name) => [name, query.get(name) || ""]));
    const boards = H.el("div", {});
    const count = H.el("p", { class: "note", role: "status" });

    const show = () => {
      const set = Object.entries(chosen).filter(([, value]) => value);
      H.readdress(set.length ? `#/overview?${new URLSearchParams(set)}` : "#/");
      const models = all.models.filter((model) => model.role === "model"
        && (!chosen.protocol || model.protocol === chosen.protocol) && (!chosen.family || model.family === chosen.family));
      const words = chosen.text.toLowerCase().split(/\s+/).filter(Boolean);
      const tasks = all.tasks.filter((task) => (!chosen.data || task.data === chosen.data)
        && (!chosen.split || task.split === chosen.split)
        && words.every((word) => `${task.task} ${task.split} ${task.metric} ${task.about}`.toLowerCase().includes(word)));
      boards.replaceChildren(...[...new Set(tasks.map((task) => task.data))].map((data) =>
        board(data, tasks.filter((task) => task.data === data), models, runs, chosen.since, all)));
      if (!tasks.length) boards.append(H.problem(H.el("p", {}, "No task fits these filters.")));
      count.textContent = tasks.length === all.tasks.length ? "" : `${tasks.length} of ${H.plural(all.tasks.length, "row")}`;
    };
    const distinct = (list, name) => [["", "all"], ...[...new Set(list.map((each) => each[name]))].sort().map((each) => [each, each])];
    const choose = (name, label, list) => (list.length > 2
      ? H.label(label, H.select(list, chosen[name], (value) => { chosen[name] = value; show(); })) : null);
    const competing = all.models.filter((model) => model.role === "model");
    const typed = (name, label, type) => H.label(label, H.el("input", {
      type, value: chosen[name], oninput: (event) => { chosen[name] = event.target.value; show(); } }));

    H.add(page, H.el("h1", {}, "Results"), H.el("p", { class: "lead" }, all.sentence));
    if (!all.runs.length) {
      H.add(page, H.problem(H.el("p", {}, "This command makes a first run, on the embedded benchmark, in about a minute:"), H.command("python -m harness run --task refcoco --model florence2-nano --data miniature")));
      return { title: "Results" };
    }
    H.add(page, progress(all.runs),
      H.el("form", { class: "filters", "aria-label": "Filters of the leaderboard", onsubmit: (event) => event.preventDefault() },
        typed("text", "Task", "search"), choose("data", "Data", distinct(all.tasks, "data")),
        choose("split", "Split", distinct(all.tasks, "split")), choose("protocol", "Protocol", distinct(competing, "protocol")),
        choose("family", "Family", distinct(competing, "family")), typed("since", "Runs since", "date"), count),
      H.el("div", { class: "sides" }, boards, speed(all, runs)));
    if (all.missing.length) {
      H.add(page, H.el("p", {}, H.el("a", { href: "#/missing" }, `${H.plural(all.missing.length, "empty cell")} and the commands that fill them`)));
    }
    show();
    return { title: "Results" };
  };

  // Runs in progress and interrupted ones, with the share of answers.
  function progress(runs) {
    const open = runs.filter((run) => run.state === "running" || run.state === "interrupted" || run.status === "incomplete");
    if (!open.length) return null;
    return H.el("section", { class: "progress", "aria-label": "Runs that are not finished" }, open.map((run) => {
      const share = run.samples ? run.answered / run.samples : 0;
      return H.el("div", {}, H.el("a", { href: H.link("run", run.id) }, `${run.task} ${run.split} · ${run.model}`),
        H.el("span", { class: `state ${run.state}` }, run.state),
        H.el("progress", { max: 1, value: share, "aria-label": `answered of ${run.task} ${run.model}` }),
        H.el("span", { class: "note" }, `${H.whole(run.answered)}${run.samples ? ` of ${H.whole(run.samples)}` : ""} answered`
          + (run.value === null ? "" : `, ${run.metric} so far ${H.number(run.value)}`)));
    }));
  }

  function board(data, tasks, models, runs, since, all) {
    const used = models.filter((model) => tasks.some((task) => task.cells[key(model)]));
    const marks = all.models.filter((model) => model.role !== "model");
    return H.el("section", {},
      H.el("h2", {}, data), data === "miniature" ? H.el("p", { class: "note" }, `${all.note[0].toUpperCase()}${all.note.slice(1)}.`) : null,
      H.scroll(`Leaderboard of ${data}`, H.el("table", { class: "board" },
        H.el("thead", {}, H.el("tr", {}, H.el("th", { scope: "col" }, "Task"), used.map((model) =>
          H.el("th", { scope: "col", title: model.about }, H.el("span", { class: "model" }, model.model),
            H.el("span", { class: "note" }, model.protocol.replaceAll("_", " ")))))),
        H.el("tbody", {}, tasks.flatMap((task, place) => {
          const first = !place || tasks[place - 1].task !== task.task;
          return [row(task, used, marks, runs, since, first), published(task, used.length)];
        })))),
      H.el("p", { class: "note legend-line" }, "Bars have the scale of their row. ",
        H.el("i", { class: "swatch best" }), " bold: interval above those of all other models. ",
        H.el("i", { class: "swatch floor" }), " floor, ", H.el("i", { class: "swatch ceiling" }), " ceiling. ",
        "Rank: places that the intervals leave open; a paired comparison on the task page is sharper."));
  }

  function row(task, models, marks, runs, since, first) {
    const bounds = marks.map((model) => ({ ...model, run: runs.get((task.cells[key(model)] || {}).run) }))
      .filter((bound) => bound.run && bound.run.value !== null);
    const said = bounds.map((bound) => `${bound.role} ${H.number(bound.run.value)} (${bound.model})`).join(", ");
    return H.el("tr", { class: first ? "first" : null },
      H.el("th", { scope: "row" }, H.el("a", { href: H.link("task", task.data, task.task, task.split), title: task.about }, task.task),
        H.el("span", { class: "split" }, task.split), H.el("span", { class: "note" }, `${task.metric} ${unit(task.metric)}`),
        said ? H.el("span", { class: "visually-hidden" }, said) : null),
      models.map((model) => cell(task, task.cells[key(model)], runs, bounds, since, said)));
  }

  function cell(task, filled, runs, bounds, since, said) {
    const run = filled && runs.get(filled.run);
    if (!run || (since && run.date.slice(0, 10) < since)) return H.el("td", { class: "none" }, H.el("span", { class: "visually-hidden" }, "not run"), "·");
    const rank = filled.rank && filled.rank[0] === filled.rank[1] ? `#${filled.rank[0]}` : filled.rank ? `#${filled.rank.join("–")}` : "";
    const flags = [run.limit !== null && "limited", run.state === "running" && "running", run.state === "interrupted" && "interrupted",
      run.status === "incomplete" && "incomplete", run.state === "edited" && "edited",
      run.value === null && run.state !== "running" && "no score"].filter(Boolean);
    return H.el("td", {}, H.el("span", { class: "numbers" },
      H.el("a", { class: "value", href: H.link("run", run.id), title: `${run.model} · n = ${H.whole(run.n)} · ${run.date.slice(0, 10)}${said ? `\n${said}` : ""}` },
        H.el(filled.best ? "b" : "span", {}, H.number(run.value))),
      H.el("span", { class: "interval" }, H.interval(run.low, run.high)),
      rank ? H.el("span", { class: "rank", title: "rank interval" }, rank) : null),
      bar(run, task, bounds, filled.best),
      flags.map((flag) => H.el("span", { class: `state ${flag}` }, flag)),
      filled.others ? H.el("span", { class: "note", title: "of this model and protocol; the cell shows the newest complete one" }, `+${filled.others} more`) : null);
  }

  function bar(run, task, bounds, best) {
    const at = (value) => `${Math.max(0, Math.min(100, (100 * value) / task.top))}%`;
    return H.el("span", { class: `bar${best ? " best" : ""}`, "aria-hidden": "true" },
      run.value === null ? null : H.el("i", { class: "fill", style: { width: at(run.value) } }),
      run.low === null ? null : H.el("i", { class: "whisker", style: { left: at(run.low), width: `calc(${at(run.high)} - ${at(run.low)})` } }),
      bounds.map((bound) => H.el("i", { class: `mark ${bound.role}`, style: { left: at(bound.run.value) } })));
  }

  function published(task, columns) {
    if (!task.published.length) return null;
    const shown = task.published.map((figure) => H.el("li", { title: `${figure.source}, ${figure.where}` },
      H.el("b", {}, H.number(figure.value)), ` ${figure.model} `, H.el("span", { class: "note" }, figure.protocol.replaceAll("_", " "))));
    return H.el("tr", { class: "published" }, H.el("th", { scope: "row" }, "published"),
      H.el("td", { colspan: columns }, H.el("ul", {}, shown)));
  }

  // The headline of each model on one task against its rate.  Rates of several devices are not compared.
  function speed(all, runs) {
    const timed = (task) => Object.values(task.cells).map((each) => runs.get(each.run)).filter((run) => run.rate > 0 && run.value !== null);
    const tasks = all.tasks.filter((task) => timed(task).filter((run) => run.role === "model").length > 1);
    if (!tasks.length) return null;
    const place = H.el("div", {});
    const draw = (chosen) => {
      const task = tasks[Number(chosen)];
      const points = timed(task).filter((run) => run.role === "model").map((run) => ({
        name: run.model, x: run.rate, y: run.value, low: run.low, high: run.high, href: H.link("run", run.id),
        said: `${run.model}: ${task.metric} ${H.number(run.value)} at ${H.number(run.rate)} answers/s on ${run.device || "an unknown device"}` }));
      const devices = new Set(timed(task).filter((run) => run.role === "model").map((run) => run.device));
      place.replaceChildren(H.scatter({ title: `${task.task} ${task.split}: ${task.metric} against speed`, file: "speed", points, top: task.top,
        x: "answers/s (logarithmic)", y: `${task.metric} ${unit(task.metric)}`,
        note: devices.size > 1 ? "The runs are of several devices, so their speeds are not comparable." : "Speed as each run measured it; the command bench measures it by rules.",
        csv: [["model", "protocol", "answers/s", task.metric, "low", "high", "device"], ...timed(task).map((run) =>
          [run.model, run.protocol, run.rate, run.value, run.low, run.high, run.device])] }));
    };
    draw("0");
    return H.el("section", {}, H.el("h2", {}, "Accuracy against speed"),
      H.label("Task", H.select(tasks.map((task, index) => [String(index), `${task.task} ${task.split} (${task.data})`]), "0", draw)), place);
  }
}
