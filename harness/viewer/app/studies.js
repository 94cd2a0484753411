"use strict";
// The studies of `ablate`: differences of each arm from the baseline, with the paper's differences in rows of their own.
{
  const MARKS = { higher: "higher", lower: "lower", equal: "equal within the margin", "cannot tell": "cannot tell" };

  H.pages.studies = async (page, parts) => {
    const { studies } = await H.load("studies");
    H.add(page, H.el("h1", {}, "Studies"));
    if (!studies.length) {
      H.add(page, H.problem(H.el("p", {}, "No study has a record in this folder of results. This command runs one, in minutes per cell:"), H.command("python -m harness ablate --study granularity")));
      return { title: "Studies", runs: ["studies"] };
    }
    const named = (study) => (studies.filter((other) => other.name === study.name).length > 1 ? `${study.name} (${study.world})` : study.name);
    const study = studies.find((each) => H.same(named(each), parts[0] || "")) || studies[0];
    H.add(page, H.el("p", { class: "lead" }, "Small models trained on the embedded scenes, to see in which direction a choice of the paper changes a metric."),
      H.el("p", { class: "warning", role: "note" }, "The numbers are of small models on synthetic scenes. Only the sign of a difference compares with the paper, whose figures have rows of their own."),
      H.el("ul", { class: "buttons" }, studies.map((each) => H.el("li", {}, H.el("a", { class: "button", href: H.link("studies", named(each)), "aria-current": each === study ? "page" : null }, named(each))))),
      one(study));
    return { title: `Study ${named(study)}`, runs: ["studies"] };
  };

  function one(study) {
    const tasks = Object.keys(study.metrics);
    const head = tasks.map((task) => `${task} ${study.metrics[task]}`);
    const label = (arm) => (arm.evaluation === "as trained" ? arm.arm : `${arm.arm}, ${arm.evaluation}`);
    const compared = study.arms.filter((arm) => Object.keys(arm.differences).length);
    return H.el("section", {}, H.el("h2", {}, `Study: ${study.name}`), H.el("p", { class: "lead" }, study.question),
      H.el("p", {}, `${study.done} of ${H.plural(study.cells, "cell")} have a record (a cell is an arm with a seed). ${compared.length ? study.resolved : ""}`),
      compared.length ? [H.el("h3", {}, `Difference from “${study.baseline}”, paired by seed`), differences(study, compared, tasks, head, label),
        H.el("p", { class: "note" }, `95 % Student t-intervals over seeds. Margin of equality: ${tasks.filter((task) => task in study.margins).map((task) => `${study.margins[task]} ${study.metrics[task]}`).join(", ")}. Agrees, disagrees: the sign of our difference and of the paper's; cannot tell: our interval includes 0.`),
        H.el("div", { class: "charts" }, tasks.map((task) => H.ranges({ title: `${task}: difference in ${study.metrics[task]}`, file: `${study.name}-${task}`, at: 0, band: task in study.margins ? [-study.margins[task], study.margins[task]] : null, x: `difference from “${study.baseline}”, points`,
          note: "Shaded: the margin of equality.", rows: compared.filter((arm) => arm.differences[task]).map((arm) => {
            const [value, low, high, n, decided] = arm.differences[task];
            return { name: label(arm), value, low, high, said: `${label(arm)}: ${H.signed(value)}, ${low === null ? "one seed" : `${H.signed(low)} to ${H.signed(high)}`}, ${H.plural(n, "seed")}, ${MARKS[decided]}` };
          }), csv: csv(study) })))] : H.el("p", { class: "note" }, `No difference yet: the baseline “${study.baseline}” or the other arms have no record.`),
      H.el("h3", {}, "Means over seeds"), H.table(`Means of ${study.name}`, ["arm", "evaluation", "seeds", ...head], study.arms.map((arm) => [
        H.el("span", { title: arm.about }, arm.arm), arm.evaluation, Math.max(0, ...Object.values(arm.values).map((value) => value[3])),
        ...tasks.map((task) => (arm.values[task] ? [H.number(arm.values[task][0]), arm.values[task][1] === null ? null : H.el("span", { class: "interval" }, H.interval(arm.values[task][1], arm.values[task][2]))] : "not run"))]), { text: 2 }),
      H.saveButton(`${study.name}.csv`, "Study as CSV", () => H.csv(csv(study))),
      study.costs.length ? [H.el("h3", {}, "Cost"), H.table("Seconds of asking over those of the baseline", ["arm", "evaluation", "ratio of seconds", "95 % interval"],
        study.costs.map(([arm, evaluation, mean, low, high]) => [arm, evaluation || "as trained", mean.toFixed(2), low === null ? "–" : `${low.toFixed(2)} to ${high.toFixed(2)}`]), { text: 2 })] : null,
      H.el("h3", {}, "The paper"), H.el("p", {}, study.summary),
      study.paper.length ? [H.table(`Figures of the paper (${study.locator})`, ["arm", ...head], study.paper.map((row) => [row.arm, ...tasks.map((task) => H.number(row.values[task]))])),
        H.el("p", { class: "note" }, `On real data; ${study.locator}.`)] : null,
      study.claims.map(([claim, verdict, note]) => H.el("p", {}, "Claim: ", H.el("i", {}, claim), ". Versus the paper: ", H.el("b", {}, verdict), note ? `; ${note}` : "", ".")));
  }

  // A row for our models, and under it a row for the paper where the paper has the arm.
  function differences(study, compared, tasks, head, label) {
    const ours = (each) => (each ? [H.el("span", { class: each[4] === "higher" || each[4] === "lower" ? "strong" : null }, H.signed(each[0])),
      each[1] === null ? null : H.el("span", { class: "interval" }, `${H.signed(each[1])} to ${H.signed(each[2])}`), H.el("span", { class: "interval" }, MARKS[each[4]])] : "–");
    const theirs = (each) => (each && each[5] !== null ? [H.signed(each[5]), H.el("span", { class: `interval agreement ${each[6]}` }, each[6])] : "–");
    return H.scroll(`Differences of ${study.name}`, H.el("table", { class: "plain" },
      H.el("thead", {}, H.el("tr", {}, ["arm", "source", ...head].map((text, place) => H.el("th", { scope: "col", class: place > 1 ? "number" : null }, text)))),
      H.el("tbody", {}, compared.flatMap((arm) => [
        H.el("tr", {}, H.el("th", { scope: "row", title: arm.about }, label(arm)), H.el("td", {}, "small models"), tasks.map((task) => H.el("td", { class: "number" }, ours(arm.differences[task])))),
        tasks.some((task) => arm.differences[task] && arm.differences[task][5] !== null) ? H.el("tr", { class: "published" }, H.el("th", { scope: "row" }, label(arm)), H.el("td", {}, "the paper"),
          tasks.map((task) => H.el("td", { class: "number" }, theirs(arm.differences[task])))) : null].filter(Boolean)))));
  }

  const csv = (study) => [["study", "world", "arm", "evaluation", "task", "metric", "source", "seeds", "mean", "low", "high", "baseline", "difference", "difference low", "difference high", "says"],
    ...study.arms.flatMap((arm) => Object.keys(study.metrics).flatMap((task) => {
      const [mean, low, high, n] = arm.values[task] || [];
      const [value, from, to, , decided, paper, agreement] = arm.differences[task] || [];
      const row = (source, ...cells) => [study.name, study.world, arm.arm, arm.evaluation, task, study.metrics[task], source, ...cells];
      return [...(n ? [row("small models", n, mean, low, high, study.baseline, value, from, to, decided)] : []),
        ...(paper !== null && paper !== undefined ? [row("paper", "", "", "", "", study.baseline, paper, "", "", agreement)] : [])];
    }))];
}
