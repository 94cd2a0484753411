"use strict";
// The empty cells of the leaderboard with their commands.
H.pages.missing = async (page) => {
  const { missing } = await H.load("overview");
  H.add(page, H.el("h1", {}, "Missing runs"));
  if (!missing.length) {
    H.add(page, H.problem((await H.load("overview")).runs.length ? "Every model has a run on every task of its metrics." : "There are no runs yet, so no cell is missing."));
    return { title: "Missing runs" };
  }
  H.add(page, 
    H.el("p", { class: "lead" }, `${H.plural(missing.length, "cell")} of the leaderboard ${missing.length === 1 ? "is" : "are"} empty.`),
    H.el("p", { class: "note" }, "A model is expected on a task if it has a run on the same data with the same headline metric. ",
      "DATA_ROOT stands for the folder of the data sets."),
    H.copy(missing.map((cell) => cell.command).join("\n"), "all commands"),
    H.el("ul", { class: "missing" }, missing.map((cell) => H.el("li", {},
      H.el("b", {}, `${cell.task} ${cell.split}`), ` ${cell.model} `, H.el("span", { class: "note" }, cell.data), H.command(cell.command)))));
  return { title: "Missing runs" };
};
