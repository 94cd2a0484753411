"use strict";
// The page of one run: numbers, what decided them, and how to reproduce them.
{
  const shown = (value) => (typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : String(value));

  // A nested record as a list of terms.
  function facts(record) {
    return H.el("dl", { class: "facts" }, Object.entries(record).filter(([, value]) => value !== null && value !== "").map(([name, value]) =>
      H.el("div", {}, H.el("dt", {}, name), H.el("dd", {}, value && typeof value === "object" && !Array.isArray(value)
        ? facts(value) : Array.isArray(value) ? value.map(shown).join(", ") || "none" : shown(value)))));
  }

  function metrics(run) {
    const names = [run.headline, ...Object.keys(run.metrics).filter((name) => name !== run.headline)].filter((name) => run.metrics[name]);
    const top = Math.max(100, ...names.map((name) => run.metrics[name].value || 0)); // CIDEr may exceed 100
    return H.table("Metrics", ["metric", "value", "95 % interval", "n", `of ${H.number(top, 0)}`], names.map((name) => {
      const each = run.metrics[name];
      return [name === run.headline ? H.el("b", {}, name) : name, H.number(each.value, 2),
        each.low === null ? "–" : `${H.number(each.low, 2)} to ${H.number(each.high, 2)}`, H.whole(each.n),
        H.el("span", { class: "bar", "aria-hidden": "true" }, H.el("i", { class: "fill", style: { width: `${(100 * (each.value || 0)) / top}%` } }))];
    }));
  }

  function timings(times, counts) {
    const named = { "answers/s": "answers per second", "images/s": "images per second", "tokens/s": "tokens per second",
      "p50 s": "median latency, s", "p90 s": "90th percentile of latency, s", "p99 s": "99th percentile of latency, s",
      "latency of": "latency is of", seconds: "seconds in all", "first answer s": "seconds to the first answer",
      "peak memory MiB": "peak memory, MiB" };
    return [H.el("h3", {}, "Timings"), Object.keys(times).length
      ? facts(Object.fromEntries(Object.entries(times).map(([name, value]) => [named[name] || name, value])))
      : H.el("p", { class: "note" }, "None recorded."), H.el("h3", {}, "Counts"), facts(counts)];
  }

  // One example for each kind of question; the page of each sample has its own.
  function sent(id, head) {
    if (!head.count) return null;
    return [H.el("h3", {}, "Prompts as sent"), head.prompts.length ? head.prompts.map((each) => H.el("div", { class: "example" },
      H.el("p", { class: "note" }, `${each.kind.replaceAll("_", " ")}, sample `, H.el("a", { href: H.link("sample", id, each.sample) }, each.sample),
        each.prompts.length > 1 ? `, the first of ${H.plural(each.prompts.length, "prompt")}` : ""), H.el("p", { class: "code prompt" }, each.prompts[0])))
      : H.el("p", { class: "note" }, "No prompt is recorded: the model takes none, or the run is older.")];
  }

  H.pages.run = async (page, [id]) => {
    const { record: run, title, state, folder, warnings, about, seen } = await H.load(`run/${id}`);
    const { head, problem } = await H.load(`samples/${id}`).then((found) => ({ head: found, problem: found.problem }));
    const spec = run.spec;
    const from = run.provenance;
    const model = from.model && typeof from.model === "object" ? from.model : {};
    const { prompts, decoding, ...other } = model;
    const headline = run.metrics[run.headline];
    const rest = Object.fromEntries(Object.entries(from).filter(([name]) => !["model", "command", "packages", "machine", "remarks", "notes"].includes(name)));
    H.add(page, 
      H.el("p", { class: "crumbs" }, H.el("a", { href: "#/" }, "Results"), " / ",
        H.el("a", { href: H.link("task", spec.data, spec.task, spec.split) }, `${spec.task} ${spec.split}`)),
      H.el("h1", {}, spec.model), H.el("p", { class: "lead" }, `${spec.task} ${spec.split} of ${spec.data}, ${spec.protocol.replaceAll("_", " ")} `,
        H.el("span", { class: `state ${state}` }, state)),
      about ? H.el("p", { class: "note" }, `${about}. ${seen}`) : null,
      warnings.map((warning) => H.el("p", { class: "warning", role: "note" }, warning)),
      H.el("div", { class: "tiles" },
        headline ? H.el("div", { class: "tile main" }, H.el("span", {}, run.headline), H.el("b", {}, H.number(headline.value)),
          H.el("span", { class: "note" }, H.interval(headline.low, headline.high))) : null,
        H.el("div", { class: "tile" }, H.el("span", {}, "answered"), H.el("b", {}, H.whole(run.counts.answered)), H.el("span", { class: "note" }, run.counts.samples ? `of ${H.plural(run.counts.samples, "sample")}, ${H.plural(run.counts.images, "image")}` : "samples not counted yet")),
        H.el("div", { class: "tile" }, H.el("span", {}, "unparsable"), H.el("b", {}, H.whole(run.counts.unreadable)), H.el("span", { class: "note" }, `${H.whole(run.counts.truncated)} truncated`)),
        run.timings["answers/s"] ? H.el("div", { class: "tile" }, H.el("span", {}, "answers/s"), H.el("b", {}, H.number(run.timings["answers/s"])), H.el("span", { class: "note" }, String(model.device || ""))) : null),
      problem ? H.problem(H.el("p", {}, `No samples: ${problem}.`))
        : H.el("p", {}, H.el("a", { class: "button", href: H.link("samples", id) }, `Look at ${H.plural(head.count, "sample")}`)),
      H.el("h2", {}, "Metrics"), Object.keys(run.metrics).length ? metrics(run) : H.problem(run.status === "running" ? "No metrics yet: they come with the first answers." : "This run has no metrics."),
      H.el("h2", {}, "How to reproduce"), from.command ? H.command(from.command) : H.el("p", { class: "note" }, "The record has no command."),
      from.commit ? H.el("p", { class: "note" }, `Version ${from.harness}, commit ${String(from.commit).slice(0, 12)}${from.dirty ? " with local changes" : ""}. Record: ${folder}`) : H.el("p", { class: "note" }, `Record: ${folder}`),
      H.el("div", { class: "columns" },
        H.el("section", {}, H.el("h2", {}, "Model"), facts({ ...other, fingerprint: spec.fingerprint }),
          decoding ? [H.el("h3", {}, "Decoding"), H.el("p", { class: "code" }, String(decoding))] : null,
          sent(id, head), prompts && typeof prompts === "object" ? [H.el("h3", {}, "Prompt forms by kind of question"), facts(prompts)] : null),
        H.el("section", {}, H.el("h2", {}, "Speed"), timings(run.timings, run.counts),
          H.el("h2", {}, "Environment"), facts({ ...(from.machine || {}), ...(from.packages || {}) })),
        H.el("section", {}, H.el("h2", {}, "Record"), facts({ id: run.id, status: run.status, schema: run.schema, ...spec, fingerprint: null, ...rest }))),
      H.el("p", {}, H.saveButton(`${run.id}.json`, "Save the record as JSON", () => `${JSON.stringify(run, null, 2)}\n`, "application/json")));
    return { title };
  };
}
