"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending", words = !head.classList.contains("number");
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].map(row => {
      const text = row.cells[place].textContent.trim();
      return [words ? text : parseFloat(text.replace("~", "")), row];
    });
    rows.sort(([a], [b]) => {
      if (words) return up ? a.localeCompare(b) : b.localeCompare(a);
      if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
      return up ? a - b : b - a;
    });
    body.append(...rows.map(([, row]) => row));
  }));
}
const wantedRows = document.getElementById("filter");
if (wantedRows) wantedRows.addEventListener("input", () => {
  const wanted = wantedRows.value.toLowerCase();
  let left = 0;
  for (const row of document.querySelectorAll("table.sortable tbody tr")) {
    row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
    left += !row.hidden;
  }
  document.getElementById("count").textContent = wanted === "" ? "" : `${left} rows`;
});
