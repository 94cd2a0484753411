"use strict";
// Boxes, rings and masks on a picture, in the picture's own pixels.
{
  const MOST_PIXELS = 5e7; // of a mask; a larger one is not drawn
  const corners = ([left, top, right, bottom]) => `${left},${top} ${right},${top} ${right},${bottom} ${left},${bottom}`;
  const vertices = (points) => points.reduce((all, number, place) => all + (place % 2 ? `,${number} ` : number), "");

  H.polygon = (shape, attributes) => H.svg("polygon", {
    points: shape.kind === "box" ? corners(shape.points) : vertices(shape.points), ...attributes });

  // The run lengths in COCO's compressed code: numbers in base 32, each the difference from the number two before.
  H.runs = (code) => {
    const runs = [];
    for (let place = 0; place < code.length;) {
      let number = 0;
      let shift = 0;
      let part = 0x20;
      while (part & 0x20) {
        if (place >= code.length || shift > 30) return [];
        part = code.charCodeAt(place) - 48;
        place += 1;
        number |= (part & 0x1f) << shift;
        shift += 5;
      }
      if (part & 0x10 && shift < 32) number |= -1 << shift;
      runs.push(runs.length > 2 ? number + runs[runs.length - 2] : number);
    }
    return runs;
  };

  // A canvas with the pixels of a mask, which COCO counts column by column.
  H.mask = (shape, colour) => {
    const [width, height] = shape.points;
    if (!(width > 0 && height > 0 && width * height <= MOST_PIXELS)) return null;
    const canvas = H.el("canvas", { width, height, class: "mask" });
    const pen = canvas.getContext("2d");
    const inside = pen.createImageData(width, height);
    const pixels = new Uint32Array(inside.data.buffer);
    let place = 0;
    H.runs(shape.counts).forEach((run, number) => {
      const end = Math.min(place + Math.max(0, run), pixels.length);
      if (number % 2) for (; place < end; place += 1) pixels[(place % height) * width + Math.floor(place / height)] = colour;
      place = end;
    });
    pen.putImageData(inside, 0, 0);
    return canvas;
  };
  H.TARGET_MASK = 0x8043a02e; // alpha, blue, green, red
  H.ANSWER_MASK = 0x808c00d6;

  // The overlay of a card: outlines only.
  H.outlines = (detail) => {
    if (!detail.size) return null;
    const draw = (shapes, name) => shapes.filter((shape) => shape.kind !== "mask").slice(0, 60)
      .map((shape) => H.polygon(shape, { class: `shape ${name}` }));
    return H.svg("svg", { viewBox: `0 0 ${detail.size.join(" ")}`, class: "outlines", "aria-hidden": "true" },
      detail.region ? H.polygon({ kind: "box", points: detail.region }, { class: "shape region" }) : null,
      draw(detail.target, "target"), draw(detail.answer, "answer"));
  };

  H.iou = (a, b) => {
    const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
    const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
    const both = width > 0 && height > 0 ? width * height : 0;
    const either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both;
    return either > 0 ? both / either : 0;
  };

  // Boxes matched one to one at an IoU of 0.5, the most confident first.  With `named`, labels are categories, which
  // must agree; otherwise they are free text.
  H.matched = (target, answer, named) => {
    const free = target.filter((shape) => shape.kind === "box" && !shape.crowd);
    const crowds = target.filter((shape) => shape.crowd);
    const agree = (a, b) => !named || !a.label || !b.label || a.label.toLowerCase() === b.label.toLowerCase();
    let right = 0;
    let extra = 0;
    for (const box of answer.filter((shape) => shape.kind === "box").sort((a, b) => (b.score || 0) - (a.score || 0))) {
      const best = free.filter((other) => agree(box, other)).map((other) => [H.iou(box.points, other.points), other])
        .reduce((most, each) => (each[0] > most[0] ? each : most), [0, null]);
      if (best[0] >= 0.5) { right += 1; free.splice(free.indexOf(best[1]), 1); }
      else if (!crowds.some((crowd) => agree(box, crowd) && H.iou(box.points, crowd.points) >= 0.5)) extra += 1;
    }
    return { right, extra, missed: free.length };
  };
}
