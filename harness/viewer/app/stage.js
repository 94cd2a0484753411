"use strict";
// A large picture with its shapes: zoom, pan, shapes switched on and off, a least confidence, and a highlighted shape.
{
  const MOST_ZOOM = 40;

  H.stage = (detail, name) => {
    const view = { zoom: 1, x: 0, y: 0, target: true, answer: true, least: 0 };
    const size = detail.size;
    const picture = detail.image
      ? H.el("img", { src: `images/${detail.image}`, alt: `The picture ${detail.name}`, draggable: "false" }) : null;
    const svg = H.svg("svg", { class: "shapes", "aria-hidden": "true", viewBox: size ? `0 0 ${size.join(" ")}` : "0 0 1 1" });
    const masks = { target: [], answer: [] };
    if (size) {
      for (const [key, colour] of [["target", H.TARGET_MASK], ["answer", H.ANSWER_MASK]]) {
        masks[key] = detail[key].filter((shape) => shape.kind === "mask").map((shape) => H.mask(shape, colour)).filter(Boolean);
      }
    }
    const world = H.el("div", { class: "world" }, picture, masks.target, masks.answer, svg);
    const frame = H.el("div", { class: "stage", tabindex: 0, role: "group",
      "aria-label": `${name}: ${detail.target.length} target and ${detail.answer.length} predicted shapes. Plus and minus zoom.` }, world);
    if (size) frame.style.aspectRatio = `${Math.max(0.6, size[0] / size[1])}`;
    const gone = () => frame.append(H.el("p", { class: "gone" }, detail.image ? "The picture is gone or cannot be decoded." : "This report has no picture of this sample (report --pictures)."));
    if (picture) picture.onerror = () => { picture.remove(); gone(); };
    else gone();

    const drawn = { target: [], answer: [] };
    let hovered = () => {};
    const put = (key) => detail[key].forEach((shape, place) => {
      if (shape.kind === "mask") return;
      const polygon = H.polygon(shape, { class: `shape ${key}${shape.crowd ? " crowd" : ""}` }, null);
      const said = [key === "target" ? "target" : "prediction", shape.label, shape.score === undefined ? "" : `confidence ${shape.score.toFixed(2)}`].filter(Boolean).join(" · ");
      polygon.append(H.svg("title", {}, said));
      if (key === "answer") {
        polygon.addEventListener("pointerenter", () => hovered(place));
        polygon.addEventListener("pointerleave", () => hovered(null));
      }
      svg.append(polygon);
      drawn[key][place] = polygon;
    });
    const labels = H.el("div", { class: "labels", "aria-hidden": "true" });
    if (size) {
      if (detail.region) svg.append(H.polygon({ kind: "box", points: detail.region }, { class: "shape region" }));
      put("target");
      put("answer");
      world.append(labels);
    }
    const point = H.svg("g", { class: "point" });
    svg.append(point);

    const visible = (shape) => view.answer && (shape.score === undefined || shape.score >= view.least);
    function layout() {
      const { clientWidth: width, clientHeight: height } = frame;
      if (!size || !width) return;
      const fit = Math.min(width / size[0], height / size[1]);
      const scale = fit * view.zoom;
      const [wide, high] = [size[0] * scale, size[1] * scale];
      view.x = wide <= width ? (width - wide) / 2 : Math.min(0, Math.max(width - wide, view.x));
      view.y = high <= height ? (height - high) / 2 : Math.min(0, Math.max(height - high, view.y));
      Object.assign(world.style, { width: `${wide}px`, height: `${high}px`, left: `${view.x}px`, top: `${view.y}px` });
    }
    function show() {
      drawn.target.forEach((polygon) => polygon.classList.toggle("off", !view.target));
      drawn.answer.forEach((polygon, place) => polygon.classList.toggle("off", !visible(detail.answer[place])));
      masks.target.forEach((mask) => mask.classList.toggle("off", !view.target));
      masks.answer.forEach((mask) => mask.classList.toggle("off", !view.answer));
      const tag = (shape, key) => {
        const [left, top] = [0, 1].map((side) => (100 * Math.min(...shape.points.filter((_, place) => place % 2 === side))) / size[side]);
        return H.el("span", { class: `tag ${key}${top < 6 ? " inside" : ""}`, style: { left: `${Math.max(0, left)}%`, top: `${Math.max(0, top)}%` } }, shape.label);
      };
      const tagged = (key, on) => detail[key].filter((shape) => shape.label && shape.kind !== "mask" && on(shape)).slice(0, 40).map((shape) => tag(shape, key));
      if (size) labels.replaceChildren(...tagged("target", () => view.target), ...tagged("answer", visible));
    }
    function zoom(factor, x = frame.clientWidth / 2, y = frame.clientHeight / 2) {
      const next = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
      const change = next / view.zoom;
      view.x = x - (x - view.x) * change;
      view.y = y - (y - view.y) * change;
      view.zoom = next;
      frame.classList.toggle("zoomed", next > 1);
      layout();
    }
    function fit() { view.zoom = 1; frame.classList.remove("zoomed"); layout(); }

    frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== frame) return; // scrolls the page
      event.preventDefault();
      const box = frame.getBoundingClientRect();
      zoom(Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    frame.addEventListener("dblclick", (event) => {
      const box = frame.getBoundingClientRect();
      zoom(2, event.clientX - box.left, event.clientY - box.top);
    });
    let held = null;
    frame.addEventListener("pointerdown", (event) => {
      held = [event.clientX - view.x, event.clientY - view.y];
      if (view.zoom > 1) frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", (event) => {
      if (!held || view.zoom === 1) return;
      view.x = event.clientX - held[0];
      view.y = event.clientY - held[1];
      layout();
    });
    for (const name_ of ["pointerup", "pointercancel", "pointerleave"]) frame.addEventListener(name_, () => { held = null; });
    frame.addEventListener("keydown", (event) => {
      const keys = { "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit };
      if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
    });
    new ResizeObserver(layout).observe(frame);
    show();

    return {
      element: frame, zoom, fit, detail,
      set(change) { Object.assign(view, change); show(); },
      shown: () => detail.answer.filter(visible),
      onhover(call) { hovered = call; },
      // Highlights a predicted shape, and the edge or vertex of one of its coordinates.
      highlight(place, coordinate = -1) {
        drawn.answer.forEach((polygon, index) => polygon.classList.toggle("lit", index === place));
        point.replaceChildren();
        const shape = place === null ? null : detail.answer[place];
        if (!shape || coordinate < 0) return;
        const p = shape.points;
        if (shape.kind === "box") {
          const edges = [[p[0], p[1], p[0], p[3]], [p[0], p[1], p[2], p[1]], [p[2], p[1], p[2], p[3]], [p[0], p[3], p[2], p[3]]];
          const [x1, y1, x2, y2] = edges[coordinate];
          point.append(H.svg("line", { x1, y1, x2, y2 }));
        } else {
          const at = coordinate - (coordinate % 2);
          point.append(H.svg("line", { x1: p[at], y1: p[at + 1], x2: p[at], y2: p[at + 1] }));
        }
      },
    };
  };
}
