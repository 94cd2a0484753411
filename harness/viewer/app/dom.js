"use strict";
// Elements made from text.  Text from data becomes a text node or an attribute, never markup.
const H = { pages: {} };

H.el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
H.svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return H.add(element, children);
}

// Appends elements and texts, also within lists; null, undefined and false stand for nothing.
H.add = (element, ...children) => {
  for (const child of children.flat(4)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
};

// Numbers as the tables of the report show them: one decimal, a dash for none.
H.number = (value, digits = 1) => (value === null || value === undefined ? "–" : Number(value).toFixed(digits));
H.interval = (low, high) => (low === null || low === undefined ? "" : `${H.number(low)} to ${H.number(high)}`);
H.whole = (value) => Number(value || 0).toLocaleString("en");
H.signed = (value) => (value > 0 ? "+" : value < 0 ? "−" : "±") + Math.abs(value).toFixed(1);
H.plural = (count, noun) => `${H.whole(count)} ${noun}${count === 1 ? "" : "s"}`;

H.link = (...parts) => `#/${parts.map((part) => encodeURIComponent(wellFormed(part))).join("/")}`;
const wellFormed = (text) => String(text).replace(/[\ud800-\udfff]/g, (half, place, all) => {
  const pair = /[\ud800-\udbff]/.test(half) ? /[\udc00-\udfff]/.test(all[place + 1] || "") : /[\ud800-\udbff]/.test(all[place - 1] || "");
  return pair ? half : "\ufffd";
});
H.same = (a, b) => wellFormed(a) === wellFormed(b);

H.say = (text) => { document.getElementById("said").textContent = text; };

let labels = 0;
H.label = (text, control) => {
  control.id = `control-${(labels += 1)}`;
  return H.el("div", { class: "field" }, H.el("label", { for: control.id }, text), control);
};

H.select = (options, value, change) => {
  const select = H.el("select", { onchange: () => change(select.value) });
  for (const option of options) {
    const [key, text] = Array.isArray(option) ? option : [option, option];
    select.append(H.el("option", { value: key, selected: key === value }, text));
  }
  return select;
};

H.copy = (text, what) => {
  const button = H.el("button", { type: "button", class: "small", "aria-label": `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = H.el("textarea", { class: "visually-hidden" }, text); // no clipboard on pages from disk
      button.after(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = "Copied";
    H.say(`${what} copied`);
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
};

H.command = (text) => H.el("div", { class: "command" }, H.el("code", { tabindex: 0 }, text), H.copy(text, "the command"));

// A spreadsheet takes a cell that begins like a formula as one, so such text begins with an apostrophe.
H.csv = (rows) => rows.map((row) => row.map((cell) => {
  const text = cell === null || cell === undefined ? "" : String(cell);
  const safe = typeof cell === "string" && /^\s*[-+=@]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}).join(",")).join("\n") + "\n";

H.save = (name, text, type) => {
  const address = URL.createObjectURL(new Blob([text], { type }));
  H.el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
};

H.saveButton = (name, text, content, type = "text/csv") =>
  H.el("button", { type: "button", class: "small", onclick: () => H.save(name, content(), type) }, text);

H.scroll = (label, ...children) =>
  H.el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, children);

H.table = (label, head, rows, options = {}) => H.scroll(label, H.el("table", { class: "plain" },
  H.el("thead", {}, H.el("tr", {}, head.map((name, place) =>
    H.el("th", { scope: "col", class: place >= (options.text ?? 1) ? "number" : null }, name)))),
  H.el("tbody", {}, rows.map((row) => H.el("tr", {}, row.map((cell, place) => place === 0
    ? H.el("th", { scope: "row" }, cell)
    : H.el("td", { class: place >= (options.text ?? 1) ? "number" : null }, cell)))))));

H.problem = (...text) => H.el("div", { class: "empty" }, text);
