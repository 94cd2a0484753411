
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent), items = data.items;
  const at = id => document.getElementById(id), STORED = `audit ${data.sample} ${data.part}`;
  const KEYS = { 1: "right", 2: "wrong", 3: "cannot tell" }, SVG = "http://www.w3.org/2000/svg";
  let verdicts = new Map(), place = 0;

  try {
    const kept = JSON.parse(localStorage.getItem(STORED) ?? "{}");
    const known = new Set(items.map(item => item.annotation)), words = Object.values(KEYS);
    verdicts = new Map((kept.verdicts ?? []).filter(([id, verdict]) => known.has(id) && words.includes(verdict)));
    at("name").value = kept.name ?? "";
  } catch { at("warning").hidden = false; }

  function keep() {
    try { localStorage.setItem(STORED, JSON.stringify({ name: at("name").value, verdicts: [...verdicts] })); }
    catch { at("warning").hidden = false; }
  }

  function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  function draw(figure, item, [x, y, width, height]) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", figure.id === "whole" ? "The image" : "A part of the image, enlarged");
    element("image", { href: data.images[item.image], x: 0, y: 0, width: item.size[0], height: item.size[1], preserveAspectRatio: "none" }, svg);
    const region = item.region ? [[[item.region[0], item.region[1]], [item.region[2], item.region[1]], [item.region[2], item.region[3]], [item.region[0], item.region[3]]]] : [];
    for (const [rings, colour] of [[region, "#0969da"], [item.rings, "#d6008c"]])
      for (const ring of rings)
        for (const [stroke, pixels] of [["#ffffff", 5], [colour, 2.5]])
          element("polygon", { points: ring.map(point => point.join(",")).join(" "), fill: "none", stroke, "stroke-width": pixels, "vector-effect": "non-scaling-stroke" }, svg);
    figure.replaceChildren(svg);
  }

  function close(item) {
    const points = [...item.rings.flat(), ...(item.region ? [item.region.slice(0, 2), item.region.slice(2)] : [])];
    const [width, height] = item.size;
    at("close").replaceChildren();
    if (!points.length) return;
    const xs = points.map(point => point[0]), ys = points.map(point => point[1]);
    let [left, top, right, bottom] = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    const margin = .4 * Math.max(right - left, bottom - top, 8);
    left = Math.max(0, left - margin); top = Math.max(0, top - margin);
    right = Math.min(width, right + margin); bottom = Math.min(height, bottom + margin);
    if (right > left && bottom > top && (right - left) * (bottom - top) < .5 * width * height)
      draw(at("close"), item, [left, top, right - left, bottom - top]);
  }

  function show() {
    const item = items[place];
    at("bar").max = items.length; at("bar").value = verdicts.size;
    at("count").textContent = `${verdicts.size} of ${items.length} judged` + (verdicts.size === items.length ? ": download the verdicts" : "");
    if (!item) return;
    at("question").textContent = `${place + 1}. ${item.question}`;
    at("text").hidden = !item.text;
    const letters = [...item.text], [start, end] = item.span ?? [0, 0], mark = document.createElement("mark");
    mark.textContent = letters.slice(start, end).join("");
    at("text").replaceChildren(letters.slice(0, start).join(""), mark, letters.slice(end).join(""));
    for (const button of document.querySelectorAll("[data-verdict]"))
      button.setAttribute("aria-pressed", verdicts.get(item.annotation) === button.dataset.verdict);
    draw(at("whole"), item, [0, 0, ...item.size]);
    close(item);
  }

  function go(step) {
    place = Math.min(Math.max(place + step, 0), Math.max(items.length - 1, 0));
    show();
  }

  function judge(verdict) {
    if (!items[place]) return;
    verdicts.set(items[place].annotation, verdict);
    keep();
    go(1);
  }

  function download() {
    const by = at("name").value.trim();
    const lines = items.filter(item => verdicts.has(item.annotation))
      .map(item => JSON.stringify({ sample: data.sample, annotation: item.annotation, verdict: verdicts.get(item.annotation), by }) + "\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    link.download = `verdicts-${by.replace(/[^\p{L}\p{N}]+/gu, "-") || "person"}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  for (const button of document.querySelectorAll("[data-verdict]")) button.addEventListener("click", () => judge(button.dataset.verdict));
  at("back").addEventListener("click", () => go(-1));
  at("next").addEventListener("click", () => go(1));
  at("download").addEventListener("click", download);
  at("name").addEventListener("input", keep);
  document.addEventListener("keydown", event => {
    if (event.target === at("name") || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (KEYS[event.key]) judge(KEYS[event.key]);
    else if (event.key === "ArrowLeft" || event.key === "Backspace") go(-1);
    else if (event.key === "ArrowRight") go(1);
    else return;
    event.preventDefault();
  });
  place = Math.max(0, items.findIndex(item => !verdicts.has(item.annotation)));
  show();
})();
