/* The list of versions beside the search field, where the site is published with several (website/versions.py). */
const place = document.querySelector("nav.versions");
const shown = DOCUMENTATION_OPTIONS.VERSION;
const page = location.pathname.split("/").pop() || "index.html";

async function offer() {
  if (!place || !location.protocol.startsWith("http")) return;
  const reply = await fetch("../versions.json");
  if (!reply.ok) return;
  const { newest, versions } = await reply.json();
  const list = document.createElement("select");
  list.setAttribute("aria-label", "Version");
  for (const version of versions) {
    list.add(new Option(version === newest ? `${version} (newest)` : version, version, false, version === shown));
  }
  list.addEventListener("change", () => go(list.value));
  place.replaceChildren(list);
  if (shown !== newest) warn(newest);
}

/* The same page of another version, or its first page where it has no such page. */
async function go(version) {
  const same = await fetch(`../${version}/${page}`, { method: "HEAD" });
  location.assign(`../${version}/${same.ok ? page : "index.html"}`);
}

function warn(newest) {
  const note = document.createElement("p");
  note.className = "older";
  const link = document.createElement("a");
  link.href = `../${newest}/index.html`;
  link.textContent = `version ${newest}`;
  note.append(`This page is of version ${shown}; the newest is `, link, ".");
  document.querySelector("[role=main]").prepend(note);
}

offer().catch(() => {}); // without a list, the version stays as text
