"use strict";
// The raw output token by token.  A location token lights its edge or vertex in the picture, and a shape its tokens.
H.tokens = (detail, stage) => {
  const byShape = new Map();
  const score = (shape) => (shape >= 0 ? detail.answer[shape].score : undefined);
  const light = (shape, on) => (byShape.get(shape) || []).forEach((token) => token.classList.toggle("lit", on));
  const token = ([text, shape, coordinate]) => {
    const bin = /^<loc_(\d+)>$/.exec(text);
    if (!bin && shape < 0) return H.el("span", { class: /^<[^>]+>$/.test(text) ? "mark" : "text" }, text);
    const made = H.el("span", { class: bin ? "loc" : "text label", tabindex: shape >= 0 && (coordinate <= 0) ? 0 : null,
      title: shape >= 0 ? `${H.sides(detail.answer[shape], coordinate)}${score(shape) === undefined ? "" : `, confidence ${score(shape).toFixed(2)}`}` : "not in a parsed shape" },
    bin ? bin[1] : text);
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
  const lines = detail.raw.map((pieces, place) => [prompt(place), H.el("p", { class: "tokens" }, pieces.length ? pieces.map(token) : H.el("span", { class: "note" }, "(empty)"))]);
  let lit = null;
  if (stage) {
    stage.onhover((shape) => {
      if (lit !== null) light(lit, false);
      lit = shape;
      if (shape !== null) light(shape, true);
      stage.highlight(shape);
    });
  }
  const shaded = detail.answer.some((shape) => shape.score !== undefined);
  return H.el("div", { class: "raw", role: "group", "aria-label": "Prompts and raw output" }, lines, detail.prompts.length ? null : H.el("p", { class: "note" }, "The prompt was not recorded."),
    byShape.size ? H.el("p", { class: "note" }, `Numbers are location tokens (0 to 999); point at one to see its edge or vertex.${shaded ? " The stronger its line, the more confident its box." : ""}`) : null);
};

H.sides = (shape, coordinate) => {
  if (coordinate < 0) return "label";
  if (shape.kind === "box") return ["left", "top", "right", "bottom"][coordinate];
  return `${coordinate % 2 ? "y" : "x"} of vertex ${Math.floor(coordinate / 2) + 1}`;
};
