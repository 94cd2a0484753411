"use strict";
// Which samples of a run are shown and in which order.  The address keeps the choice, so it can be shared.
{
  H.MISTAKES = {
    localisation: "The closest target of the same category has an IoU of 0.1 to 0.5.",
    classification: "A target of another category has an IoU of 0.5 or more.",
    duplicate: "A prediction of higher confidence already matched the target.",
    background: "No target has an IoU above 0.1.",
    missed: "A target that no prediction matches, or no prediction at all.",
    both: "The closest target is of another category, with an IoU of 0.1 to 0.5.",
  };
  const ORDERS = [["worst", "worst first"], ["best", "best first"], ["data", "in order of the data"], ["apart", "largest disagreement"]];
  const NAMES = ["text", "outcome", "mistake", "size", "group", "length", "tag", "versus", "disagree", "order"];

  H.asked = (query) => Object.fromEntries(NAMES.map((name) => [name, query.get(name) || ""]));
  H.query = (asked) => {
    const set = Object.entries(asked).filter(([, value]) => value);
    return set.length ? `?${new URLSearchParams(set)}` : "";
  };
  const words = (sample) => sample.output.split(/\s+/).filter(Boolean).length;
  const LENGTHS = { "1": [0, 1], "2 to 5": [2, 5], "6 to 12": [6, 12], "over 12": [13, Infinity] };

  // All places in an order; sorting many samples takes long, so the last orders of a run are kept.
  const orders = new WeakMap();
  function ordered(samples, order, others) {
    if (!orders.has(samples)) orders.set(samples, new Map());
    const kept = orders.get(samples);
    const key = order === "apart" ? others : order || "worst";
    if (!kept.has(key)) {
      const places = samples.map((_, place) => place);
      const score = samples.map((sample) => sample.score);
      const apart = order === "apart" && others ? samples.map((sample) => {
        const other = others.get(sample.id);
        return other ? Math.abs(sample.score - other.score) : 0;
      }) : null;
      if (apart) places.sort((a, b) => apart[b] - apart[a] || a - b);
      else if (order === "best") places.sort((a, b) => score[b] - score[a] || a - b);
      else if (order !== "data") places.sort((a, b) => samples[a].outcome - samples[b].outcome || score[a] - score[b] || a - b);
      kept.set(key, places);
    }
    return kept.get(key);
  }

  // The places of the samples that fit, in order.  `others` are the samples of another run by id, if there is one.
  H.chosen = (samples, asked, outcomes, run, others) => {
    const text = asked.text.toLowerCase().split(/\s+/).filter(Boolean);
    const length = LENGTHS[asked.length];
    const tags = asked.tag ? H.tagged(run) : null;
    const differs = { worse: (a, b) => a.score < b.score, better: (a, b) => a.score > b.score, outcome: (a, b) => a.outcome !== b.outcome }[asked.disagree];
    return ordered(samples, asked.order, others).filter((place) => {
      const sample = samples[place];
      if (asked.outcome && outcomes[sample.outcome] !== asked.outcome) return false;
      if (asked.mistake && !sample.mistakes.includes(asked.mistake)) return false;
      if (asked.size && sample.size !== asked.size) return false;
      if (asked.group && !sample.groups.includes(asked.group)) return false;
      if (length && (words(sample) < length[0] || words(sample) > length[1])) return false;
      if (tags && !(tags.get(sample.id) || []).includes(asked.tag)) return false;
      if (differs && others && !(others.has(sample.id) && differs(sample, others.get(sample.id)))) return false;
      if (!text.length) return true;
      const all = `${sample.id} ${sample.question} ${sample.target} ${sample.output}`.toLowerCase();
      return text.every((word) => all.includes(word));
    });
  };

  const counted = (samples, values) => {
    const counts = new Map();
    for (const sample of samples) for (const value of values(sample)) if (value) counts.set(value, (counts.get(value) || 0) + 1);
    return counts;
  };

  // The form of the filters; `others` are the other runs of the task, and `change` is called after each choice.
  H.filters = (asked, head, samples, run, others, change) => {
    const explain = H.el("p", { class: "note explain", role: "status" });
    const say = () => { explain.textContent = asked.mistake ? `${asked.mistake}: ${H.MISTAKES[asked.mistake] || ""}` : ""; };
    const choose = (name, label, counts, order) => {
      const keys = order ? order.filter((key) => counts.has(key)) : [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)).slice(0, 60);
      if (keys.length < 1 || (keys.length < 2 && name !== "mistake" && name !== "tag" && !asked[name])) return null;
      return H.label(label, H.select([["", "any"], ...keys.map((key) => [key, `${key} (${H.whole(counts.get(key))})`])], asked[name], (value) => { asked[name] = value; say(); change(); }));
    };
    let typing = 0;
    const kind = head.kind === "vqa" ? "Question type" : head.kind === "ground" ? "Phrase type" : "Group";
    say();
    const set = (name) => (value) => { asked[name] = value; change(); };
    return H.el("form", { class: "filters sticky", "aria-label": "Filters of the samples", onsubmit: (event) => event.preventDefault() },
      H.label("Text", H.el("input", { type: "search", value: asked.text, oninput: (event) => {
        clearTimeout(typing);
        typing = setTimeout(() => { asked.text = event.target.value; change(); }, 120); } })),
      choose("outcome", "Outcome", counted(samples, (sample) => [head.outcomes[sample.outcome]]), head.outcomes),
      choose("mistake", "Error type", counted(samples, (sample) => sample.mistakes)),
      choose("size", "Object size", counted(samples, (sample) => [sample.size]), ["small", "medium", "large"]),
      choose("group", kind, counted(samples, (sample) => sample.groups)),
      ["caption", "vqa", "ocr"].some((each) => head.kind.includes(each)) ? H.label("Words in the output", H.select([["", "any"], ...Object.keys(LENGTHS)], asked.length, set("length"))) : null,
      choose("tag", "Tag", counted([...H.tagged(run).values()], (tags) => tags)),
      others.length ? H.label("Versus", H.select([["", "no other run"], ...others.map((other) => [other.id, `${other.model} (${other.protocol})`])], asked.versus, set("versus"))) : null,
      others.length ? H.label("Disagreement", H.select([["", "any"], ["outcome", "another outcome"], ["worse", "worse than the other"], ["better", "better than the other"]], asked.disagree, set("disagree"))) : null,
      H.label("Order", H.select(ORDERS, asked.order || "worst", set("order"))), explain);
  };
}
