"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => head.querySelector("button").addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") === "descending", words = !head.classList.contains("number");
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const rows = [...body.rows].map(row => {
      const text = row.cells[place].textContent.trim();
      return [words ? text : parseFloat(text.replace(/[~,]/g, "")), row];
    });
    rows.sort(([a], [b]) => {
      if (words) return ascending ? a.localeCompare(b) : b.localeCompare(a);
      if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
      return ascending ? a - b : b - a;
    });
    body.append(...rows.map(([, row]) => row));
  }));
}
const rowFilter = document.getElementById("filter");
if (rowFilter) rowFilter.addEventListener("input", () => {
  const text = rowFilter.value.toLowerCase();
  let visible = 0;
  for (const row of document.querySelectorAll("table.sortable tbody tr")) {
    row.hidden = text !== "" && !row.textContent.toLowerCase().includes(text);
    visible += !row.hidden;
  }
  document.getElementById("count").textContent = text === "" ? "" : `${visible} ${visible === 1 ? "row" : "rows"}`;
});
