"use strict";
// The addresses of the pages, the bar on top, and the updates of a live viewer.
{
  const page = document.getElementById("page");
  let shown = 0;
  let before = ""; // the name of the page that is shown
  let watched = null; // the runs, or other results, that the page shows; null: all
  let leave = null; // what the page that is shown wants done before another takes its place

  function route() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    const parts = path.split("/").filter(Boolean).map((part) => {
      try { return decodeURIComponent(part); } catch { return part; }
    });
    return { name: parts[0] || "overview", parts: parts.slice(1), query: new URLSearchParams(query || "") };
  }

  async function render(quiet) {
    const turn = (shown += 1);
    const { name, parts, query } = route();
    const draw = Object.hasOwn(H.pages, name) ? H.pages[name] : null;
    const made = H.el("div", { class: `page ${draw ? name : ""}` });
    let after = null;
    let runs = null;
    let title = "Not found";
    try {
      if (!draw) throw new Error(`there is no page ${name}`);
      ({ title, after, runs } = await draw(made, parts, query, quiet));
    } catch (error) {
      made.replaceChildren(H.el("h1", {}, "This page cannot be shown"), H.problem(H.el("p", {}, error.message)),
        H.el("p", {}, H.el("a", { href: "#/" }, "Back to the overview")));
    }
    if (turn !== shown) return; // another page was asked for meanwhile
    if (leave) leave();
    const top = window.scrollY;
    const chooses = name === before && document.activeElement.matches("select"); // the next choice is made there too
    const focused = quiet || chooses ? place() : null;
    before = name;
    page.replaceChildren(made);
    leave = after ? after() || null : null;
    watched = runs || null;
    document.title = `${title} · Florence-2 harness`;
    bar(name);
    if (quiet) { window.scrollTo(0, top); restore(focused); }
    else {
      window.scrollTo(0, 0);
      if (chooses) restore(focused);
      else if (turn > 1) page.focus({ preventScroll: true });
      if (turn > 1) H.say(title);
    }
  }

  // The control that has the focus and its selection, so that an update does not interrupt who types.
  const controls = () => [...page.querySelectorAll("a, button, input, select, textarea, [tabindex]")];
  function place() {
    const { activeElement: control } = document;
    return { number: controls().indexOf(control), start: control.selectionStart, end: control.selectionEnd };
  }
  function restore({ number, start, end }) {
    const control = number < 0 ? null : controls()[number];
    if (!control) return;
    control.focus({ preventScroll: true });
    if (typeof start === "number" && typeof control.selectionStart === "number") control.setSelectionRange(start, end);
  }

  H.refresh = () => render(true);
  // Changes the address of this page without showing it again, so that it can be shared and come back to.
  H.readdress = (address) => history.replaceState(null, "", address);

  function theme() {
    const next = { "": "dark", dark: "light", light: "" };
    const names = { "": "system", dark: "dark", light: "light" };
    let chosen = "";
    try { chosen = localStorage.getItem("harness theme") || ""; } catch { /* a browser that keeps nothing */ }
    if (!(chosen in next)) chosen = "";
    const button = H.el("button", { type: "button", class: "small" });
    const apply = () => {
      if (chosen) document.documentElement.dataset.theme = chosen;
      else delete document.documentElement.dataset.theme;
      button.textContent = `Colours: ${names[chosen]}`;
    };
    button.addEventListener("click", () => {
      chosen = next[chosen];
      try { localStorage.setItem("harness theme", chosen); } catch { /* as above */ }
      apply();
    });
    apply();
    return button;
  }

  const LINKS = { compare: "Compare", speed: "Speed", studies: "Studies", tables: "Paper tables", engine: "Data engine", missing: "Missing", notes: "Notes" };
  const themeButton = theme();
  function bar(name) {
    const here = (page) => (page === name ? "page" : null);
    const links = [["#/", "Overview", "overview"], ...["compare", "speed", "studies", "tables", "engine", "missing", "notes"].map((page) => [`#/${page}`, LINKS[page], page])];
    if (!H.live()) links.push(["../index.html", "One page", ""]);
    const top = document.getElementById("top");
    top.replaceChildren();
    H.add(top,
      H.el("a", { class: "brand", href: "#/" }, H.mark(), "Florence-2 harness"),
      H.el("nav", { "aria-label": "Pages" }, links.map(([href, text, key]) =>
        H.el("a", { href, "aria-current": key ? here(key) : null }, text))),
      H.live() ? H.el("span", { class: "live" }, "live") : null, themeButton);
    const current = top.querySelector("nav [aria-current]");
    if (current) current.parentElement.scrollLeft = current.offsetLeft - current.parentElement.offsetLeft - 40; // on a phone the bar scrolls
  }

  H.mark = () => H.svg("svg", { viewBox: "0 0 20 20", width: 20, height: 20, "aria-hidden": "true", class: "logo" },
    H.svg("rect", { x: 2, y: 2, width: 16, height: 16, rx: 3, fill: "none", "stroke-width": 2, class: "frame" }),
    H.svg("rect", { x: 6, y: 7, width: 9, height: 8, fill: "none", "stroke-width": 2, class: "box" }));

  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); page.focus(); });
  window.addEventListener("hashchange", () => render(false));
  H.load("overview").catch(() => {}); // index.html preloads it, and most pages need it
  render(false).then(() => H.watch((runs) => {
    const { name, parts } = route();
    const own = ["run", "samples", "sample"].includes(name) ? [parts[0]] : watched;
    if (!own || runs.some((run) => own.includes(run))) H.refresh();
  }));
}
