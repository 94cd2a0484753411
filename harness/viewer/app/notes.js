"use strict";
// Tags and notes on samples, kept in this browser alone and exported as a file.
{
  const KEY = "harness notes";
  function all() {
    try {
      const read = JSON.parse(localStorage.getItem(KEY) || "{}");
      return read && typeof read === "object" && !Array.isArray(read) ? read : {};
    } catch { return {}; }
  }
  const key = (run, sample) => JSON.stringify([run.data, run.task, run.split, sample]);

  H.note = (run, sample) => {
    const read = Object.hasOwn(all(), key(run, sample)) ? all()[key(run, sample)] : {};
    return { tags: Array.isArray(read.tags) ? read.tags.map(String) : [], note: String(read.note || ""), run: String(read.run || "") };
  };
  // The tags of a run's samples, by sample.
  H.tagged = (run) => {
    const tags = new Map();
    for (const [name, note] of Object.entries(all())) {
      try {
        const [data, task, split, sample] = JSON.parse(name);
        if (data === run.data && task === run.task && split === run.split && Array.isArray(note.tags)) tags.set(sample, note.tags.map(String));
      } catch { /* not one of ours */ }
    }
    return tags;
  };
  H.keep = (run, sample, note) => {
    const notes = all();
    if (note.tags.length || note.note) notes[key(run, sample)] = { ...note, run: run.id, changed: new Date().toISOString() };
    else delete notes[key(run, sample)];
    try { localStorage.setItem(KEY, JSON.stringify(notes)); } catch { H.say("This browser keeps no notes"); }
  };

  H.noteEditor = (run, sample) => {
    const note = H.note(run, sample);
    const save = () => H.keep(run, sample, note);
    return H.el("section", { class: "notes" }, H.el("h2", {}, "Tags and note"),
      H.label("Tags, with commas", H.el("input", { value: note.tags.join(", "), oninput: (event) => {
        note.tags = event.target.value.split(",").map((tag) => tag.trim()).filter(Boolean); save(); } })),
      H.label("Note", H.el("textarea", { rows: 2, oninput: (event) => { note.note = event.target.value.trim(); save(); } }, note.note)),
      H.el("p", { class: "note" }, "Kept in this browser. ", H.el("a", { href: "#/notes" }, "All notes, and their export")));
  };

  H.pages.notes = async (page) => {
    const entries = Object.entries(all()).flatMap(([name, note]) => {
      try {
        const [data, task, split, sample] = JSON.parse(name);
        return [{ data, task, split, sample, ...note, tags: Array.isArray(note.tags) ? note.tags : [] }];
      } catch { return []; }
    });
    H.add(page, H.el("h1", {}, "Tags and notes"));
    if (!entries.length) {
      H.add(page, H.problem(H.el("p", {}, "There are no notes yet. The page of each sample takes tags and a note.")));
      return { title: "Notes" };
    }
    H.add(page, 
      H.el("p", {}, H.saveButton("notes.json", "Save as JSON", () => `${JSON.stringify(entries, null, 2)}\n`, "application/json"), " ",
        H.saveButton("notes.csv", "Save as CSV", () => H.csv([["data", "task", "split", "sample", "tags", "note", "run", "changed"],
          ...entries.map((each) => [each.data, each.task, each.split, each.sample, each.tags.join(" "), each.note, each.run, each.changed])]))),
      H.table("Notes", ["sample", "task", "tags", "note"], entries.map((each) => [
        H.el("a", { href: H.link("sample", each.run, each.sample) }, each.sample), `${each.task} ${each.split} (${each.data})`, each.tags.join(", "), each.note || ""]), { text: 4 }));
    return { title: "Notes" };
  };
}
