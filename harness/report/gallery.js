"use strict";
(() => {
  const form = document.getElementById("samples"), dialog = document.getElementById("sample");
  if (!form) return;
  const sections = [...document.querySelectorAll("section.run")], all = [...document.querySelectorAll("section.run figure")];
  const texts = new Map(all.map(figure => [figure, figure.querySelector("figcaption").textContent.toLowerCase()]));
  const told = document.getElementById("left");

  function filter() {
    const chosen = Object.fromEntries(new FormData(form)), words = chosen.text.toLowerCase();
    let left = 0;
    for (const section of sections) {
      const right = (chosen.run === "" || section.id === chosen.run) && (chosen.task === "" || section.dataset.task === chosen.task);
      let here = 0;
      for (const figure of section.querySelectorAll("figure")) {
        const shown = right && (chosen.outcome === "" || figure.dataset.outcome === chosen.outcome) &&
          (chosen.size === "" || figure.dataset.size === chosen.size) &&
          (chosen.mistake === "" || figure.dataset.mistakes.split(" ").includes(chosen.mistake)) && (words === "" || texts.get(figure).includes(words));
        figure.hidden = !shown;
        here += shown;
      }
      section.hidden = !right || (here === 0 && (chosen.outcome + chosen.size + chosen.mistake + words) !== "");
      left += here;
    }
    told.textContent = `${left} of ${all.length} pictures`;
  }

  function order() {
    const sign = form.order.value === "best" ? -1 : 1;
    for (const gallery of document.querySelectorAll("section.run .gallery")) {
      const figures = [...gallery.children].sort((a, b) => sign * (a.dataset.score - b.dataset.score));
      gallery.append(...figures);
    }
  }

  function pair() {
    const [a, b] = [form.run.value, form.beside.value].map(id => document.getElementById(id)), into = document.getElementById("pair");
    into.hidden = !(a && b && a !== b);
    into.replaceChildren();
    if (into.hidden) return;
    const title = document.createElement("h2");
    title.textContent = `${a.querySelector("h2").textContent} | ${b.querySelector("h2").textContent}`;
    into.append(title);
    const theirs = new Map([...b.querySelectorAll("figure")].map(figure => [figure.dataset.sample, figure]));
    const both = [...a.querySelectorAll("figure")].filter(figure => theirs.has(figure.dataset.sample))
      .map(figure => [figure, theirs.get(figure.dataset.sample)])
      .sort(([a, b], [c, d]) => Math.abs(d.dataset.score - c.dataset.score) - Math.abs(b.dataset.score - a.dataset.score));
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = both.length ? `${both.length} samples drawn for both, the largest difference first` :
      "No sample is drawn for both: report --pictures draws more.";
    into.append(note);
    for (const two of both) {
      const row = document.createElement("div");
      row.className = "two";
      for (const figure of two) {
        const copy = figure.cloneNode(true);
        copy.hidden = false;
        row.append(copy);
      }
      into.append(row);
    }
    into.scrollIntoView();
  }

  let open = null;
  function show(figure) {
    open = figure;
    const image = figure.querySelector("img"), big = dialog.querySelector("img");
    big.src = image.src;
    big.alt = image.alt;
    big.hidden = image.hidden;
    dialog.querySelector("div").replaceChildren(...figure.querySelector("figcaption").cloneNode(true).childNodes);
    if (!dialog.open) dialog.showModal();
  }
  function step(by) {
    const seen = [...open.parentElement.children].filter(one => one.matches("figure") && !one.hidden);
    show(seen[(seen.indexOf(open) + by + seen.length) % seen.length]);
  }
  document.addEventListener("click", event => {
    const button = event.target.closest("figure button");
    if (button) show(button.parentElement);
  });
  dialog.addEventListener("keydown", event => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  dialog.querySelector(".next").addEventListener("click", () => step(1));
  dialog.querySelector(".before").addEventListener("click", () => step(-1));
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  form.addEventListener("input", event => {
    if (event.target.name === "order") order();
    if (event.target.name === "beside" || event.target.name === "run") pair();
    filter();
  });
  form.addEventListener("submit", event => event.preventDefault());
  filter();
})();
