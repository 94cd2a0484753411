"use strict";
// The raw output token by token.  A location token lights its edge or vertex in the picture, and a shape its tokens.
// Where log-probabilities are kept, the background of a token is the stronger the less probable it was.
H.tokens = (detail, stage) => {
  const byShape = new Map();
  const score = (shape) => (shape >= 0 ? detail.answer[shape].score : undefined);
  const light = (shape, on) => (byShape.get(shape) || []).forEach((token) => token.classList.toggle("lit", on));
  const likely = ([, value]) => `probability ${Math.exp(value).toFixed(3)}, log-probability ${value.toFixed(2)}`;
  const shade = (element, token) => {
    element.classList.add("shaded");
    element.style.setProperty("--doubt", `${Math.round(40 * (1 - Math.exp(token[1])))}%`);
    return element;
  };
  const parts = (text, tokens) => (tokens.length ? tokens.map((token) => shade(H.el("span", { title: likely(token) }, token[0]), token)) : text);
  const one = ([text, shape, coordinate], tokens) => {
    const bin = /^<loc_(\d+)>$/.exec(text);
    if (!bin && shape < 0) return H.el("span", { class: /^<[^>]+>$/.test(text) ? "mark" : "text" }, parts(text, tokens));
    const said = [shape >= 0 ? `${H.sides(detail.answer[shape], coordinate)}${score(shape) === undefined ? "" : `, confidence ${score(shape).toFixed(2)}`}` : "not in a parsed shape",
      bin && tokens.length ? likely(tokens[0]) : ""].filter(Boolean).join("; ");
    const made = H.el("span", { class: bin ? "loc" : "text label", tabindex: shape >= 0 && (coordinate <= 0) ? 0 : null, title: said }, bin ? bin[1] : parts(text, tokens));
    if (bin && tokens.length) shade(made, tokens[0]);
    if (shape < 0) { made.classList.add("stray"); return made; }
    if (score(shape) !== undefined) made.style.setProperty("--sure", String(score(shape)));
    if (!byShape.has(shape)) byShape.set(shape, []);
    byShape.get(shape).push(made);
    const on = () => { light(shape, true); made.classList.add("at"); if (stage) stage.highlight(shape, coordinate); };
    const off = () => { light(shape, false); made.classList.remove("at"); if (stage) stage.highlight(null); };
    for (const [event, call] of [["pointerenter", on], ["focus", on], ["pointerleave", off], ["blur", off]]) made.addEventListener(event, call);
    return made;
  };
  const prompt = (place) => (detail.prompts[place] === undefined ? null : H.el("p", { class: "code prompt" }, H.el("span", { class: "note" }, "Prompt "), detail.prompts[place]));
  const output = (pieces, shares) => {
    const [end] = shares.length > pieces.length ? shares[pieces.length] : [];
    return H.el("p", { class: "tokens" }, pieces.length ? pieces.map((piece, place) => one(piece, shares[place] || [])) : H.el("span", { class: "note" }, "(empty)"),
      end ? shade(H.el("span", { class: "mark end", title: `end of the output: ${likely(end)}` }, "end"), end) : null);
  };
  const lines = detail.raw.map((pieces, place) => [prompt(place), output(pieces, detail.log_probs[place] || [])]);
  let lit = null;
  if (stage) {
    stage.onhover((shape) => {
      if (lit !== null) light(lit, false);
      lit = shape;
      if (shape !== null) light(shape, true);
      stage.highlight(shape);
    });
  }
  const kept = detail.log_probs.flat(2);
  const scored = detail.answer.some((shape) => shape.score !== undefined);
  const raw = H.el("div", { class: "raw", role: "group", "aria-label": "Prompts and raw output" }, lines,
    detail.prompts.length ? null : H.el("p", { class: "note" }, "No prompt is recorded: the model takes none, or the run is older."),
    byShape.size ? H.el("p", { class: "note" }, `Numbers are location tokens (0 to 999); point at one to see its edge or vertex.${scored ? " The stronger its line, the more confident its box." : ""}`) : null);
  if (!kept.length) return raw;
  return H.add(raw, H.el("label", { class: "check" }, H.el("input", { type: "checkbox", checked: true, onchange: (event) => raw.classList.toggle("unshaded", !event.target.checked) }),
    "Shade tokens: the stronger, the less probable"),
  H.el("details", {}, H.el("summary", {}, `Log-probabilities of ${H.plural(kept.length, "token")}, ${kept.reduce((sum, token) => sum + token[1], 0).toFixed(2)} in all`),
    H.table("Log-probabilities", ["token", "log-probability", "probability"], kept.map(([text, value]) => [JSON.stringify(text), value.toFixed(4), Math.exp(value).toFixed(4)])),
    H.saveButton("log-probabilities.csv", "CSV", () => H.csv([["token", "log-probability"], ...kept]))));
};

H.sides = (shape, coordinate) => {
  if (coordinate < 0) return "label";
  if (shape.kind === "box") return ["left", "top", "right", "bottom"][coordinate];
  return `${coordinate % 2 ? "y" : "x"} of vertex ${Math.floor(coordinate / 2) + 1}`;
};
