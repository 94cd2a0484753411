"use strict";
// Chunks of data are script files that call `harnessData`; each is loaded once, and again after its run changed.
{
  const waiting = new Map();
  const kept = new Map();
  let version = -1;
  const policy = window.trustedTypes && window.trustedTypes.createPolicy("harness-data", { createScriptURL: checked });

  function checked(address) {
    if (!/^data\/[A-Za-z0-9_/-]+\.js(\?v=\d+)?$/.test(address)) throw new Error("not the address of a chunk");
    return address;
  }

  window.harnessData = (name, json) => {
    const request = waiting.get(name);
    if (request) request.resolve(json);
  };

  function request(name) {
    return new Promise((resolve, reject) => {
      waiting.set(name, { resolve });
      const address = `data/${name}.js${H.live() && (version += 1) ? `?v=${version}` : ""}`; // the first is preloaded;
      const script = document.createElement("script");
      script.src = policy ? policy.createScriptURL(address) : checked(address);
      script.onload = () => { script.remove(); waiting.delete(name); };
      script.onerror = () => {
        script.remove();
        waiting.delete(name);
        reject(new Error(H.live() ? "the viewer does not answer; is `view` still running?" : `there is no data/${name}.js`));
      };
      document.head.append(script);
    });
  }

  H.live = () => document.body.dataset.live === "yes";

  H.load = (name) => {
    if (!kept.has(name)) {
      const loaded = request(name).then((json) => JSON.parse(json));
      loaded.catch(() => kept.delete(name));
      kept.set(name, loaded);
    }
    return kept.get(name);
  };

  // All parts of a run's index as one array.  Between two parts the browser may handle input.
  H.index = async (run) => {
    const head = await H.load(`samples/${run}`);
    const parts = Array.from({ length: Math.ceil(head.count / head.indexed) }, (_, part) => H.load(`index/${run}/${part}`));
    const all = [];
    for (const part of parts) {
      for (const row of await part) all.push(Object.fromEntries(head.columns.map((name, place) => [name, row[place]])));
      await new Promise((resolve) => setTimeout(resolve));
    }
    return { head, samples: all };
  };

  H.detail = async (run, place) => {
    const { detailed } = await H.load(`samples/${run}`);
    return (await H.load(`details/${run}/${Math.floor(place / detailed)}`))[place % detailed];
  };

  // Every two seconds the server says which runs have changed; their chunks are forgotten.
  const SECONDS = 2;
  let stamps = null;
  H.watch = (changed) => {
    if (!H.live()) return;
    const look = async () => {
      if (!document.hidden) {
        try {
          stamps = stamps || (await H.load("overview")).stamps;
          const now = JSON.parse(await request("stamp"));
          const runs = new Set([...Object.keys(now), ...Object.keys(stamps)]);
          const different = [...runs].filter((run) => stamps[run] !== now[run]);
          stamps = now;
          document.body.classList.remove("away");
          if (different.length) {
            for (const name of [...kept.keys()]) {
              if (["overview", "tables"].includes(name) || different.some((run) => name.split("/").includes(run))) kept.delete(name);
            }
            changed(different);
          }
        } catch {
          document.body.classList.add("away");
        }
      }
      setTimeout(look, SECONDS * 1000);
    };
    look();
  };
}
