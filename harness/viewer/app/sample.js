"use strict";
// The page of one sample: its picture, its question, and what each chosen model wrote.
{
  const percent = (value) => H.number(100 * value, 1);

  H.pages.sample = async (page, [id, name], query) => {
    const all = await H.load("overview");
    const run = all.runs.find((each) => each.id === id);
    if (!run) throw new Error(`there is no run ${id}`);
    const { head, samples } = await H.index(id);
    const place = samples.findIndex((sample) => H.same(sample.id, name));
    if (place < 0) throw new Error(`run ${id} has no sample ${name}`);
    const order = H.current && H.current.run === id && H.current.places.includes(place) ? H.current.places : samples.map((_, index) => index);
    const at = order.indexOf(place);
    const with_ = (query.get("with") || "").split(",").filter((other) => all.runs.some((each) => each.id === other));
    const keep = with_.length ? `?${new URLSearchParams({ with: with_.join(",") })}` : "";
    const go = (step) => { const next = order[at + step]; if (next !== undefined) location.hash = H.link("sample", id, samples[next].id) + keep; };
    const back = H.link("samples", id) + (H.current && H.current.run === id ? H.current.query : "");
    const detail = await H.detail(id, place);
    const panels = [panel(run, detail, samples[place], head)];
    for (const other of with_) panels.push(await another(all.runs.find((each) => each.id === other), detail.id));
    const stages = panels.map((each) => each.stage).filter(Boolean);
    const others = all.runs.filter((each) => each.id !== id && each.data === run.data && each.task === run.task && each.split === run.split);

    H.add(page, 
      H.el("div", { class: "turn" }, H.el("p", { class: "crumbs" }, H.el("a", { href: back }, `${run.task} ${run.split} · ${run.model}`)),
        H.el("span", { class: "note" }, `${H.whole(at + 1)} of ${H.whole(order.length)}`),
        H.el("button", { type: "button", disabled: at === 0, onclick: () => go(-1), "aria-keyshortcuts": "ArrowLeft" }, "← Previous"),
        H.el("button", { type: "button", disabled: at === order.length - 1, onclick: () => go(1), "aria-keyshortcuts": "ArrowRight" }, "Next →")),
      H.el("h1", { class: "question" }, title(detail)),
      H.el("p", { class: "note" }, `Sample ${detail.id} · ${detail.kind.replaceAll("_", " ")} · ${detail.name}`),
      tools(stages, panels), H.el("div", { class: `panels count-${Math.min(3, panels.length)}` }, panels.map((each) => each.element)),
      H.el("div", { class: "columns" }, references(detail), beside(others, with_, id, detail.id), H.noteEditor(run, detail.id)),
      H.el("p", { class: "note" }, "Keys: ← and → show the previous and the next sample, t and p switch targets and predictions, Escape returns to the grid."));
    return { title: title(detail).slice(0, 60), after: () => {
      const keys = (event) => {
        if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
        const press = (selector) => () => document.querySelector(selector)?.click();
        const acts = { ArrowLeft: () => go(-1), ArrowRight: () => go(1), t: press("#show-target"), p: press("#show-answer"), Escape: () => { location.hash = back; } };
        if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
      };
      document.addEventListener("keydown", keys);
      return () => document.removeEventListener("keydown", keys);
    } };
  };

  const title = (detail) => detail.text || detail.phrases.slice(0, 12).join(", ") || detail.kind.replaceAll("_", " ");

  async function another(run, name) {
    try {
      const { head, samples } = await H.index(run.id);
      const place = samples.findIndex((sample) => sample.id === name);
      if (place < 0) throw new Error(head.problem || "this run does not have the sample");
      return panel(run, await H.detail(run.id, place), samples[place], head);
    } catch (error) {
      return { element: H.el("section", { class: "panel" }, H.el("h2", {}, run.model), H.problem(error.message)), stage: null };
    }
  }

  function panel(run, detail, sample, head) {
    const drawable = detail.image || detail.target.length || detail.answer.length;
    const stage = drawable ? H.stage(detail, run.model) : null;
    const outcome = head.outcomes[sample.outcome];
    const matched = H.el("p", { class: "note matched", role: "status" });
    const raw = H.tokens(detail, stage);
    const recount = () => {
      if (!stage || !detail.answer.some((shape) => shape.kind === "box") || !detail.target.some((shape) => shape.kind === "box")) return;
      const shown = stage.shown();
      const { right, extra, missed } = H.matched(detail.target, shown, ["detect", "find", "ground"].includes(detail.kind));
      matched.textContent = `${H.whole(shown.length)} of ${H.plural(detail.answer.length, "box").replace("boxs", "boxes")} shown; matched one to one at IoU 0.5: ${right} correct, ${extra} wrong, ${missed} missed.`;
    };
    recount();
    return { stage, recount, detail, element: H.el("section", { class: "panel" },
      H.el("h2", {}, H.el("a", { href: H.link("run", run.id) }, run.model), H.el("span", { class: `outcome ${outcome.replace(" ", "-")}` }, outcome)),
      stage ? stage.element : null, matched,
      H.el("ul", { class: "scores" }, Object.entries(detail.scores).slice(0, 12).map(([key, value]) => H.el("li", {}, H.el("span", {}, key), H.el("b", {}, Number.isInteger(value) ? value : percent(value))))),
      H.el("p", { class: "why" }, why(detail, outcome)), detail.texts.length ? H.el("p", { class: "said" }, detail.texts.join(" | ")) : null, raw,
      H.el("p", { class: "note" }, [H.plural(detail.tokens, "token"), detail.truncated ? "cut off at the limit" : "", detail.seconds ? `${H.number(1000 * detail.seconds, 0)} ms in a batch of ${detail.batch}` : ""].filter(Boolean).join(", "))) };
  }

  // Why the sample has its score, in words.
  function why(detail, outcome) {
    if (detail.hidden) return "The target of this sample is not published, so it has no score.";
    if (!detail.parsed) return `The output does not have the form of a ${detail.kind.replaceAll("_", " ")} answer, so it counts as wrong.`;
    const said = detail.mistakes.map((kind) => `${kind[0].toUpperCase()}${kind.slice(1)}: ${H.MISTAKES[kind] || ""}`);
    const iou = detail.scores.iou;
    if (iou !== undefined) said.unshift(`The prediction overlaps the target with an IoU of ${iou.toFixed(2)}; it counts as correct from 0.5.`);
    const [name, value] = Object.entries(detail.scores)[0] || [];
    const bounds = { correct: "from 90 on", "partly correct": "from 50 to 90", wrong: "below 50" }[outcome];
    if (!said.length && name !== undefined && bounds) said.push(`${name} is ${percent(value)}; ${bounds} a sample counts as ${outcome}.`);
    return said.join(" ");
  }

  function tools(stages, panels) {
    if (!stages.length) return null;
    const set = (change) => { stages.forEach((stage) => stage.set(change)); panels.forEach((each) => each.recount && each.recount()); };
    const toggle = (key, label) => H.el("label", { class: "check" }, H.el("input", { type: "checkbox", checked: true, id: `show-${key}`, onchange: (event) => set({ [key]: event.target.checked }) }), H.el("i", { class: `swatch ${key}` }), label);
    const scored = panels.some((each) => each.detail && each.detail.answer.some((shape) => shape.score !== undefined));
    const said = H.el("output", {}, "0.00");
    const all = (call) => () => stages.forEach(call);
    const some = (key) => stages.some((stage) => stage.detail[key].length);
    return H.el("div", { class: "tools", role: "group", "aria-label": "What the picture shows" },
      some("target") ? toggle("target", "Targets") : null, some("answer") ? toggle("answer", "Predictions") : null,
      scored ? H.el("label", { class: "check" }, "Least confidence", H.el("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, oninput: (event) => {
        said.textContent = Number(event.target.value).toFixed(2); set({ least: Number(event.target.value) }); } }), said) : null,
      H.el("span", { class: "zoom" }, H.el("button", { type: "button", "aria-label": "Zoom in", onclick: all((stage) => stage.zoom(1.5)) }, "+"),
        H.el("button", { type: "button", "aria-label": "Zoom out", onclick: all((stage) => stage.zoom(1 / 1.5)) }, "−"),
        H.el("button", { type: "button", onclick: all((stage) => stage.fit()) }, "Fit")));
  }

  function references(detail) {
    const shapes = detail.target.filter((shape) => shape.label);
    if (!detail.references.length && !shapes.length) return null;
    return H.el("section", {}, H.el("h2", {}, "Target"), H.el("ul", { class: "plain-list" },
      detail.references.map((text) => H.el("li", {}, text)), shapes.slice(0, 40).map((shape) => H.el("li", {}, shape.label, shape.crowd ? " (crowd)" : ""))));
  }

  function beside(others, with_, id, name) {
    if (!others.length) return null;
    return H.el("section", {}, H.el("h2", {}, "Other models"), H.el("div", { class: "stack" }, others.map((other) => H.el("label", { class: "check" },
      H.el("input", { type: "checkbox", checked: with_.includes(other.id), onchange: (event) => {
        const next = event.target.checked ? [...with_, other.id] : with_.filter((each) => each !== other.id);
        location.hash = H.link("sample", id, name) + (next.length ? `?${new URLSearchParams({ with: next.join(",") })}` : ""); } }),
      `${other.model} (${other.protocol.replaceAll("_", " ")})`))));
  }
}
