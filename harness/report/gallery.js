"use strict";
(() => {
  const form = document.getElementById("samples"), dialog = document.getElementById("sample");
  if (!form) return;
  const sections = [...document.querySelectorAll("section.run")], all = [...document.querySelectorAll("section.run figure")];
  const texts = new Map(all.map(figure => [figure, figure.querySelector("figcaption").textContent.toLowerCase()]));
  const count = document.getElementById("left");

  function filter() {
    const chosen = Object.fromEntries(new FormData(form)), words = chosen.text.toLowerCase();
    let total = 0;
    for (const section of sections) {
      const selected = (chosen.run === "" || section.id === chosen.run) && (chosen.task === "" || section.dataset.task === chosen.task);
      let visible = 0;
      for (const figure of section.querySelectorAll("figure")) {
        const shown = selected && (chosen.outcome === "" || figure.dataset.outcome === chosen.outcome) &&
          (chosen.size === "" || figure.dataset.size === chosen.size) &&
          (chosen.mistake === "" || figure.dataset.mistakes.split(" ").includes(chosen.mistake)) && (words === "" || texts.get(figure).includes(words));
        figure.hidden = !shown;
        visible += shown;
      }
      section.hidden = !selected || (visible === 0 && (chosen.outcome + chosen.size + chosen.mistake + words) !== "");
      total += visible;
    }
    count.textContent = `${total} of ${all.length} images`;
  }

  function order() {
    const sign = form.order.value === "best" ? -1 : 1;
    for (const gallery of document.querySelectorAll("section.run .gallery")) {
      const figures = [...gallery.children].sort((a, b) => sign * (a.dataset.score - b.dataset.score));
      gallery.append(...figures);
    }
  }

  function pair() {
    const [a, b] = [form.run.value, form.versus.value].map(id => document.getElementById(id)), pairs = document.getElementById("pair");
    pairs.hidden = !(a && b && a !== b);
    pairs.replaceChildren();
    if (pairs.hidden) return;
    const title = document.createElement("h2");
    title.textContent = `${a.querySelector("h2").textContent} versus ${b.querySelector("h2").textContent}`;
    pairs.append(title);
    const ofB = new Map([...b.querySelectorAll("figure")].map(figure => [figure.dataset.sample, figure]));
    const both = [...a.querySelectorAll("figure")].filter(figure => ofB.has(figure.dataset.sample))
      .map(figure => [figure, ofB.get(figure.dataset.sample)])
      .sort(([a, b], [c, d]) => Math.abs(d.dataset.score - c.dataset.score) - Math.abs(b.dataset.score - a.dataset.score));
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = both.length ? `${both.length} samples with images of both runs, the largest difference first` :
      "No sample has images of both runs. `report --pictures N` draws more images.";
    pairs.append(note);
    for (const two of both) {
      const row = document.createElement("div");
      row.className = "two";
      for (const figure of two) {
        const copy = figure.cloneNode(true);
        copy.hidden = false;
        row.append(copy);
      }
      pairs.append(row);
    }
    pairs.scrollIntoView();
  }

  let open = null;
  function show(figure) {
    open = figure;
    const image = figure.querySelector("img"), large = dialog.querySelector("img");
    large.src = image.src;
    large.alt = image.alt;
    large.hidden = image.hidden;
    dialog.querySelector("div").replaceChildren(...figure.querySelector("figcaption").cloneNode(true).childNodes);
    if (!dialog.open) dialog.showModal();
  }
  function step(by) {
    const visible = [...open.parentElement.children].filter(child => child.matches("figure") && !child.hidden);
    show(visible[(visible.indexOf(open) + by + visible.length) % visible.length]);
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
  dialog.querySelector(".previous").addEventListener("click", () => step(-1));
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  form.addEventListener("input", event => {
    if (event.target.name === "order") order();
    if (event.target.name === "versus" || event.target.name === "run") pair();
    filter();
  });
  form.addEventListener("submit", event => event.preventDefault());
  filter();
})();
