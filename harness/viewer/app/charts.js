"use strict";
// Charts drawn by d3.  Each is a figure with a caption, a line that reads out values, and its numbers as CSV.
{
  const MARGIN = { top: 12, right: 16, bottom: 40, left: 48 };
  const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
  // d3 is the last script, so that the first page need not wait for it.  Chunks would delay the event "load".
  const ready = new Promise((resolve) => { document.addEventListener("DOMContentLoaded", resolve, { once: true }); });
  H.colour = (place) => `var(--series-${place % 8})`;

  // `draw(svg, width, say)` fills an SVG of the width of its figure; it is called again when the width changes.
  function figure(options, height, draw) {
    const svg = H.svg("svg", { role: options.points ? "group" : "img", "aria-label": options.title, height });
    const said = H.el("p", { class: "readout" }, "");
    const say = (text) => { said.textContent = text || options.note || ""; };
    say("");
    const made = H.el("figure", { class: "chart" },
      H.el("figcaption", {}, H.el("b", {}, options.title),
        H.saveButton(`${options.file || "chart"}.csv`, "CSV", () => H.csv(options.csv))),
      options.legend ? H.el("ul", { class: "legend" }, options.legend.map(([name, place]) => H.el("li", {},
        H.svg("svg", { width: 22, height: 10, "aria-hidden": "true" }, H.svg("line", {
          x1: 1, x2: 21, y1: 5, y2: 5, "stroke-width": 3, "stroke-dasharray": DASHES[Math.floor(place / 8) % 4],
          style: { stroke: H.colour(place) } })), name))) : null,
      svg, said);
    let drawn = 0;
    const redraw = (width) => {
      if (width < 40 || width === drawn) return;
      drawn = width;
      svg.setAttribute("width", width);
      svg.replaceChildren();
      draw(d3.select(svg), width, say);
    };
    new ResizeObserver(async ([entry]) => {
      await ready;
      redraw(Math.floor(entry.contentRect.width));
    }).observe(made);
    return made;
  }

  function axes(svg, x, y, width, height, options) {
    const bottom = height - MARGIN.bottom;
    const ticks = Math.max(2, Math.floor(width / 90));
    const across = d3.axisBottom(x).ticks(ticks, options.log ? "~g" : undefined).tickSizeOuter(0);
    const up = d3.axisLeft(y).ticks(5).tickSize(-(width - MARGIN.left - MARGIN.right));
    svg.append("g").attr("class", "axis grid").attr("transform", `translate(${MARGIN.left},0)`).call(up);
    svg.append("g").attr("class", "axis").attr("transform", `translate(0,${bottom})`).call(across);
    svg.append("text").attr("class", "title").attr("x", width - MARGIN.right).attr("y", height - 6)
      .attr("text-anchor", "end").text(options.x);
    svg.append("text").attr("class", "title").attr("transform", `translate(12,${MARGIN.top}) rotate(-90)`)
      .attr("text-anchor", "end").text(options.y);
  }

  // series: [{ name, place, points: [[x, y], ...] }]; `place` decides the colour
  H.lines = (options) => figure({ ...options, legend: options.series.map((each) => [each.name, each.place]) }, 280, (svg, width, say) => {
    const height = 280;
    const all = options.series.flatMap((each) => each.points);
    const x = d3.scaleLinear().domain(options.domain || d3.extent(all, (point) => point[0]))
      .range([MARGIN.left, width - MARGIN.right]);
    const y = d3.scaleLinear().domain([0, options.top || 100]).range([height - MARGIN.bottom, MARGIN.top]);
    axes(svg, x, y, width, height, options);
    if (options.diagonal) {
      svg.append("line").attr("class", "diagonal").attr("x1", x(0)).attr("y1", y(0)).attr("x2", x(100)).attr("y2", y(100));
    }
    const path = d3.line().x((point) => x(point[0])).y((point) => y(point[1]));
    options.series.forEach((each) => {
      svg.append("path").attr("class", "line").attr("d", path(each.points))
        .attr("stroke-dasharray", DASHES[Math.floor(each.place / 8) % 4]).style("stroke", H.colour(each.place));
      if (each.points.length < 30) {
        svg.append("g").selectAll("circle").data(each.points).enter().append("circle").attr("r", 2.5)
          .attr("cx", (point) => x(point[0])).attr("cy", (point) => y(point[1])).style("fill", H.colour(each.place));
      }
    });
    const cross = svg.append("line").attr("class", "cross").attr("y1", MARGIN.top).attr("y2", height - MARGIN.bottom);
    svg.on("pointerleave", () => { say(""); cross.style("opacity", 0); });
    svg.node().onpointermove = (event) => {
      const at = x.invert(d3.clientPoint(svg.node(), event)[0]);
      const nearest = options.series.map((each) => each.points.reduce(
        (best, point) => (Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best), each.points[0]));
      cross.style("opacity", 1).attr("x1", x(nearest[0][0])).attr("x2", x(nearest[0][0]));
      say(options.series.map((each, place) =>
        `${each.name}: ${H.number(nearest[place][1])} at ${Number(nearest[place][0].toPrecision(3))}`).join(" · "));
    };
  });

  // The width in pixels for names left of an axis, at most `most`.
  const LETTER = 6.8;
  const room = (names, most) => Math.min(most, 12 + LETTER * Math.max(...names.map((name) => name.length)));
  // A name in this room without its middle, since names often differ at their ends.
  const shortened = (name, left) => {
    const letters = Math.floor((left - 12) / LETTER);
    if (name.length <= letters) return name;
    const end = Math.floor((letters - 1) / 2);
    return `${name.slice(0, letters - 1 - end)}…${name.slice(name.length - end)}`;
  };

  // rows: [[name, [[value, low, high, n] or null for each series]], ...]
  H.bars = (options) => {
    const band = 15;
    const group = options.series.length * band + 12;
    const height = options.rows.length * group + 36;
    return figure({ ...options, legend: options.series.length > 1 ? options.series.map((name, place) => [name, place]) : null }, height, (svg, width, say) => {
      const left = room(options.rows.map((row) => row[0]), width * 0.45);
      const top = Math.max(...options.rows.flatMap((row) => row[1].flatMap((bar) => (bar ? [bar[0] || 0, bar[2] || 0] : [0]))));
      const x = d3.scaleLinear().domain([0, Math.max(top * 1.05, options.least || 1)]).range([left, width - 52]);
      svg.append("g").attr("class", "axis grid").attr("transform", `translate(0,${height - 24})`)
        .call(d3.axisBottom(x).ticks(Math.max(2, Math.floor(width / 110))).tickSize(-(height - 30)));
      options.rows.forEach(([name, bars], row) => {
        const start = row * group + 8;
        svg.append("text").attr("class", "name").attr("x", left - 10).attr("text-anchor", "end")
          .attr("y", start + (group - 12) / 2 + 4).text(shortened(name, left)).append("title").text(name);
        bars.forEach((bar, place) => {
          if (!bar || bar[0] === null) return;
          const [value, low, high, n] = bar;
          const y = start + place * band;
          const said = `${options.series[place]}, ${name}: ${H.number(value)}${low === null ? "" : ` [${H.number(low)}, ${H.number(high)}]`}, n = ${H.whole(n)}`;
          svg.append("rect").attr("x", x(0)).attr("y", y).attr("height", band - 4).attr("rx", 2)
            .attr("width", Math.max(1, x(value) - x(0))).style("fill", H.colour(place))
            .on("pointerenter", () => say(said)).on("pointerleave", () => say("")).append("title").text(said);
          if (low !== null) {
            svg.append("line").attr("class", "whisker").attr("x1", x(low)).attr("x2", x(high))
              .attr("y1", y + (band - 4) / 2).attr("y2", y + (band - 4) / 2);
          }
          svg.append("text").attr("class", "value").attr("x", x(Math.max(value, high || 0)) + 5).attr("y", y + 10)
            .text(H.number(value));
        });
      });
    });
  };

  // Values with intervals beside a line at `at`; rows: [{ name, value, low, high, faint, said }], band: [low, high] or null
  H.ranges = (options) => {
    const height = options.rows.length * 24 + 48;
    return figure(options, height, (svg, width, say) => {
      const left = room(options.rows.map((row) => row.name), width * 0.5);
      const all = options.rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value]).concat(options.at, options.log ? [] : options.band || []);
      const [least, most] = d3.extent(options.log ? all.filter((value) => value > 0) : all);
      const bounded = (value) => (options.log ? Math.max(value, least / 1.1) : value); // 0 has no place on a logarithmic axis
      const spare = (most - least) * 0.04 || 1;
      const x = (options.log ? d3.scaleLog().domain([least / 1.1, most * 1.1]) : d3.scaleLinear().domain([least - spare, most + spare])).range([left, width - 24]);
      const bottom = height - 40;
      if (options.band) svg.append("rect").attr("class", "band").attr("x", x(options.band[0])).attr("width", x(options.band[1]) - x(options.band[0])).attr("y", 4).attr("height", bottom - 4);
      svg.append("g").attr("class", "axis grid").attr("transform", `translate(0,${bottom})`)
        .call(d3.axisBottom(x).ticks(Math.max(2, Math.floor((width - left) / 80)), options.log ? "~g" : undefined).tickSize(4 - bottom));
      svg.append("line").attr("class", "zero").attr("x1", x(options.at)).attr("x2", x(options.at)).attr("y1", 4).attr("y2", bottom);
      options.rows.forEach((row, place) => {
        const y = place * 24 + 16;
        svg.append("text").attr("class", "name").attr("x", left - 10).attr("y", y + 4).attr("text-anchor", "end")
          .text(shortened(row.name, left)).append("title").text(row.name);
        if (row.low !== null) svg.append("line").attr("class", "whisker").attr("x1", x(bounded(row.low))).attr("x2", x(bounded(row.high))).attr("y1", y).attr("y2", y);
        svg.append("circle").attr("r", 5).attr("cx", x(bounded(row.value))).attr("cy", y).attr("class", row.faint ? "dot faint" : "dot")
          .on("pointerenter", () => say(row.said)).on("pointerleave", () => say("")).append("title").text(row.said);
      });
      svg.append("text").attr("class", "title").attr("x", width - 24).attr("y", height - 8).attr("text-anchor", "end").text(options.x);
    });
  };

  // points: [{ name, x, y, low, high, href, said }]
  H.scatter = (options) => figure(options, 320, (svg, width, say) => {
    const height = 320;
    const [least, most] = d3.extent(options.points, (point) => point.x);
    const x = d3.scaleLog().domain([least / 1.6, most * 2.2]).range([MARGIN.left, width - MARGIN.right]);
    const y = d3.scaleLinear().domain([0, options.top]).range([height - MARGIN.bottom, MARGIN.top]);
    axes(svg, x, y, width, height, { ...options, log: true });
    options.points.forEach((point, place) => {
      const mark = svg.append("a").attr("href", point.href);
      if (point.low !== null) {
        mark.append("line").attr("class", "whisker").attr("x1", x(point.x)).attr("x2", x(point.x))
          .attr("y1", y(point.low)).attr("y2", y(point.high));
      }
      mark.append("circle").attr("r", 6).attr("cx", x(point.x)).attr("cy", y(point.y)).style("fill", H.colour(place))
        .append("title").text(point.said);
      const end = x(point.x) > width - 150;
      mark.append("text").attr("class", "name").attr("x", x(point.x) + (end ? -10 : 10)).attr("y", y(point.y) + 4)
        .attr("text-anchor", end ? "end" : "start").text(point.name);
      mark.on("pointerenter", () => say(point.said)).on("pointerleave", () => say(""));
    });
  });
}
