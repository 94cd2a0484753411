"use strict";
// The paper tables, and folders of the data engine.
{
  // A table as the report made it.  Rows of our runs come last and are marked; so are the columns of the paper.
  H.written = (table) => {
    const first = table.rows.length - table.ours;
    const published = (place) => /^paper$/.test(table.head[place]);
    return [H.scroll(table.title, H.el("table", { class: "plain written" },
      H.el("thead", {}, H.el("tr", {}, table.head.map((text, place) => H.el("th", { scope: "col", class: place >= table.text ? "number" : null }, text)))),
      H.el("tbody", {}, table.rows.map((row, number) => H.el("tr", { class: table.ours && number >= first ? `ours${number === first ? " first" : ""}` : null }, row.map((cell, place) =>
        H.el(place ? "td" : "th", { scope: place ? null : "row", class: `${place >= table.text ? "number" : "words"}${published(place) ? " paper" : ""}` }, cell))))))),
    table.notes.length ? H.el("ul", { class: "note notes-list" }, table.notes.map((note) => H.el("li", {}, note))) : null,
    H.saveButton(`${table.key}.csv`, "CSV", () => H.csv([[...table.head, ...(table.ours ? ["source"] : [])], ...table.rows.map((row, number) => [...row, ...(table.ours ? [number >= first ? "this harness" : "published"] : [])])]))];
  };

  H.pages.tables = async (page, parts) => {
    const { tables } = await H.load("tables");
    H.add(page, H.el("h1", {}, "Paper tables"));
    if (!tables.length) {
      H.add(page, H.problem("There are no tables."));
      return { title: "Paper tables" };
    }
    const chosen = tables.find((each) => H.same(each.key, parts[0] || "")) || tables[0];
    H.add(page, H.el("p", { class: "lead" }, `${H.whole(tables.reduce((sum, each) => sum + each.figures, 0))} published figures with their sources in ${H.plural(tables.length, "table")}. Runs of this harness have marked rows below the published ones; numbers of the embedded benchmark are in tables of their own.`),
      H.el("div", { class: "filters" }, H.label("Table", H.select(tables.map((each) => [each.key, each.title]), chosen.key, (key) => { location.hash = H.link("tables", key); }))),
      H.el("h2", {}, chosen.title), H.written(chosen));
    return { title: chosen.title };
  };

  H.pages.engine = async (page, parts) => {
    const { engines } = await H.load("engine");
    H.add(page, H.el("h1", {}, "Data engine"));
    if (!engines.length) {
      H.add(page, H.problem(H.el("p", {}, "No folder of the data engine was given. Its annotations, filters and cost are shown with:"), H.command(`python -m harness ${H.live() ? "view" : "report"} --engine ENGINE`)));
      return { title: "Data engine", runs: ["engine"] };
    }
    const chosen = engines[Number(parts[0]) || 0] || engines[0];
    H.add(page, engines.length > 1 ? H.el("ul", { class: "buttons" }, engines.map((each, place) => H.el("li", {}, H.el("a", { class: "button", href: H.link("engine", place), "aria-current": each === chosen ? "page" : null }, each.name)))) : null,
      H.el("p", { class: "lead" }, chosen.name), H.el("p", { class: "note" }, "Columns named “paper” are of the Florence-2 paper (tables 2 and 3), on its own 126 million images; they compare with nothing here but the shape of the data."), plots(chosen),
      chosen.tables.map((table) => H.el("section", {}, H.el("h2", {}, table.title), H.written(table))));
    return { title: "Data engine", runs: ["engine"] };
  };

  function plots({ flows, sizes, aspects }) {
    const made = [];
    if (flows.length) {
      const rows = flows.slice(0, 18);
      const share = (n, raw) => [(100 * n) / raw, null, null, n];
      made.push(H.bars({ title: "From raw to kept", file: "waterfall", series: ["kept", "merged or superseded", "dropped"], rows: rows.map(([kind, origin, raw, kept, dropped]) =>
        [`${kind}, ${origin}`, [share(kept, raw), share(raw - kept - dropped, raw), share(dropped, raw)]]), note: "Percent of the raw annotations of each kind and origin; n counts annotations.",
      csv: [["kind", "origin", "raw", "kept", "merged or superseded", "dropped"], ...flows.map(([kind, origin, raw, kept, dropped]) => [kind, origin, raw, kept, raw - kept - dropped, dropped])] }));
    }
    const lines = (title, file, x, by, domain) => {
      const series = Object.entries(by).map(([name, points], place) => ({ name, place, points }));
      if (series.length) made.push(H.lines({ title, file, x, y: "boxes, %", series, domain, note: "Each point is a bin of the histogram.", top: Math.max(...series.flatMap((each) => each.points.map((point) => point[1]))), csv: [["kind", x, "boxes, %"], ...series.flatMap((each) => each.points.map((point) => [each.name, ...point]))] }));
    };
    lines("Size of boxes", "sizes", "√(area of box / area of image)", sizes, [0, 1]);
    lines("Aspect ratio of boxes", "aspects", "log₂(width / height)", aspects, [-4, 4]);
    return made.length ? H.el("div", { class: "charts" }, made) : null;
  }
}
