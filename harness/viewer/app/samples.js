"use strict";
// The grid of a run's samples.  Only the cards near the window exist, so a run may have 100,000 samples.
{
  const [CARD, HEIGHT, GAP, SPARE] = [196, 216, 12, 2]; // pixels, and rows beyond the window
  const FRESH = 10; // new cards in one frame, so that a frame stays short
  H.current = null; // the order of the samples in the grid, for previous and next

  H.pages.samples = async (page, [id], query, quiet) => {
    const all = await H.load("overview");
    const run = all.runs.find((each) => each.id === id);
    if (!run) throw new Error(`there is no run ${id}`);
    const { head, samples } = await H.index(id);
    const asked = H.asked(query);
    const others = all.runs.filter((other) => other.id !== id && other.data === run.data && other.task === run.task && other.split === run.split);
    H.add(page, H.el("p", { class: "crumbs" }, H.el("a", { href: "#/" }, "Results"), " / ",
      H.el("a", { href: H.link("task", run.data, run.task, run.split) }, `${run.task} ${run.split}`), " / ", H.el("a", { href: H.link("run", id) }, run.model)),
    H.el("h1", {}, "Samples"));
    if (!samples.length) {
      H.add(page, H.problem(H.el("p", {}, `There are no samples: ${head.problem}.`)));
      return { title: "Samples" };
    }
    const count = H.el("p", { class: "count", role: "status" });
    const grid = H.el("div", { class: "grid", role: "list", "aria-label": "Samples" });
    let wall = null;
    let turn = 0;
    const change = async () => {
      const mine = (turn += 1);
      let versus = null;
      if (asked.versus) {
        try { versus = new Map((await H.index(asked.versus)).samples.map((sample) => [sample.id, sample])); }
        catch { versus = new Map(); }
        if (mine !== turn) return;
      }
      const places = H.chosen(samples, asked, head.outcomes, run, versus);
      H.current = { run: id, places, query: H.query(asked) };
      if (location.hash.startsWith(H.link("samples", id))) H.readdress(H.link("samples", id) + H.query(asked));
      const unparsable = places.filter((place) => samples[place].outcome === 0).length;
      count.textContent = `${H.whole(places.length)} of ${H.plural(samples.length, "sample")}`
        + (unparsable ? `, ${H.whole(unparsable)} unparsable` : "") + (versus && !versus.size ? "; the other run has no samples here" : "");
      if (wall) wall.set(places, versus);
      return places;
    };
    H.add(page, H.filters(asked, head, samples, run, others, change), count,
      H.el("p", { class: "note legend-line" }, H.el("i", { class: "swatch target" }), " target ", H.el("i", { class: "swatch answer" }), " prediction ", H.el("i", { class: "swatch region" }), " region of the question"), grid);
    await change();
    return { title: `Samples of ${run.model}`, after: () => {
      wall = cards(grid, run, head, samples);
      change();
      return wall.end;
    } };
  };

  function cards(grid, run, head, samples) {
    let places = [];
    let versus = null;
    let columns = 1;
    let planned = 0;
    const made = new Map(); // card by its number in the order
    const fill = (card, place) => H.detail(run.id, place).then((detail) => {
      const outlines = H.outlines(detail);
      if (outlines && card.isConnected) card.querySelector(".thumb").append(outlines);
    }).catch(() => {});

    function draw() {
      planned = 0;
      const top = window.scrollY - grid.offsetTop;
      const first = Math.max(0, Math.floor(top / (HEIGHT + GAP)) - SPARE);
      const last = Math.ceil((top + window.innerHeight) / (HEIGHT + GAP)) + SPARE;
      const [from, to] = [first * columns, Math.min(places.length, last * columns)];
      for (const [number, card] of made) if (number < from || number >= to) { card.remove(); made.delete(number); }
      const width = (grid.clientWidth - GAP * (columns - 1)) / columns;
      const seen = Math.min(to, Math.max(from, Math.floor(top / (HEIGHT + GAP)) * columns)); // these cards come first
      const missing = Array.from({ length: to - from }, (_, place) => (seen + place < to ? seen + place : from + seen + place - to))
        .filter((number) => !made.has(number));
      if (missing.length > FRESH) plan();
      for (const number of missing.slice(0, FRESH)) {
        const card = one(samples[places[number]], number);
        Object.assign(card.style, { width: `${width}px`, left: `${(number % columns) * (width + GAP)}px`, top: `${Math.floor(number / columns) * (HEIGHT + GAP)}px` });
        grid.append(card);
        made.set(number, card);
        fill(card, places[number]);
      }
    }
    function one(sample, number) {
      const other = versus && versus.get(sample.id);
      const outcome = head.outcomes[sample.outcome];
      return H.el("div", { class: "card", role: "listitem", "aria-setsize": places.length, "aria-posinset": number + 1 },
        H.el("a", { href: H.link("sample", run.id, sample.id), title: sample.question },
          H.el("div", { class: "thumb" }, sample.image
            ? H.el("img", { src: `thumbs/${sample.image}`, alt: "", decoding: "async", onerror: (event) => { event.target.replaceWith(H.el("span", { class: "gone" }, "picture is gone")); } })
            : H.el("span", { class: "gone" }, "no picture")),
          H.el("span", { class: "line" }, H.el("span", { class: `outcome ${outcome.replace(" ", "-")}` }, outcome),
            H.el("b", {}, H.number(100 * sample.score, 0)), other ? H.el("span", { class: "note" }, `vs ${H.number(100 * other.score, 0)}`) : null),
          H.el("span", { class: "question" }, sample.question), H.el("span", { class: "output" }, sample.output)));
    }
    function lay() {
      columns = Math.max(1, Math.floor((grid.clientWidth + GAP) / (CARD + GAP)));
      grid.style.height = `${Math.ceil(places.length / columns) * (HEIGHT + GAP)}px`;
      for (const card of made.values()) card.remove();
      made.clear();
      draw();
    }
    const plan = () => { planned = planned || requestAnimationFrame(draw); };
    const watcher = new ResizeObserver(lay);
    watcher.observe(grid);
    window.addEventListener("scroll", plan, { passive: true });
    return {
      set(next, others) { places = next; versus = others; lay(); },
      end() { watcher.disconnect(); window.removeEventListener("scroll", plan); },
    };
  }
}
