// Python with refnorm, in a thread of its own: loads the files, then judges code, or runs the cells of a page.
"use strict";

const say = (kind, more) => postMessage({ kind, ...more });

/** Fetch a file, tell how much of it has come, and refuse one that is not the file that is meant. */
async function fetched({ name, url, size, digest }, arrived) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  const content = new Uint8Array(size);
  const reader = response.body.getReader();
  let length = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (length + part.value.length > size) throw new Error(`${url} is longer than ${size} bytes`);
    content.set(part.value, length);
    length += part.value.length;
    arrived(part.value.length);
  }
  if (crypto.subtle) { // a page without https has none, unless it comes from this machine
    const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    if (btoa(String.fromCharCode(...sum)) !== digest) throw new Error(`${url} is not the file that was published`);
  }
  return [name, content];
}

async function load() {
  const files = await (await fetch("files.json")).json();
  const total = files.reduce((sum, file) => sum + file.size, 0);
  let come = 0;
  const arrived = (bytes) => say("loading", { come: (come += bytes), total });
  const contents = new Map(await Promise.all(files.map((file) => fetched(file, arrived))));
  say("starting");
  const types = { wasm: "application/wasm", json: "application/json" };
  const give = (name) => new Response(contents.get(name), { headers: { "Content-Type": types[name.split(".").pop()] ?? "" } });
  self.fetch = async (url) => give(String(url).split("/").pop()); // what Pyodide asks for has come already
  for (const name of ["pyodide.js", "pyodide.asm.js"])
    importScripts(URL.createObjectURL(new Blob([contents.get(name)], { type: "text/javascript" })));
  const python = await loadPyodide({ indexURL: new URL("pyodide/", self.location).href });
  const wheel = [...contents.keys()].find((name) => name.endsWith(".whl"));
  python.unpackArchive(contents.get(wheel), "wheel");
  python.unpackArchive(contents.get("python.zip"), "zip");
  contents.clear();
  return python;
}

const network = self.fetch.bind(self);
const ready = load();
ready.then(() => say("ready"), (error) => say("failed", { text: String(error.message ?? error) }));
let cold = true; // the first verdict takes seconds: that on float64 alone is told before it is whole

/** Lay the files of a page out as in the repository, and work where the page does. */
async function lesson(python, url) {
  if (!url) return;
  const response = await network(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  python.unpackArchive(await response.arrayBuffer(), "zip", { extractDir: "lesson" });
  const there = "os.chdir('lesson/refnorm-lessons/tutorials')";
  python.runPython(`import os, sys\nhome = os.getcwd()\n${there}\nsys.path[:0] = [os.getcwd(), home]`);
}

onmessage = async ({ data }) => {
  const python = await ready;
  if (data.kind === "page" || data.kind === "cell") {
    try {
      if (data.kind === "page") await lesson(python, data.url);
      const answer = data.kind === "cell" ? JSON.parse(python.runPython("from cells import run\nrun")(data.code)) : {};
      say("done", { number: data.number, ...answer });
    } catch (error) {
      say("broken", { number: data.number, text: String(error.message ?? error) });
    }
    return;
  }
  const judge = python.runPython("from judge import judge\njudge");
  const start = performance.now();
  const progress = (number, of, name) => say("progress", { number, of, name });
  const judged = (...dtypes) => ({ ...JSON.parse(judge(data.code, progress, ...dtypes)), seconds: (performance.now() - start) / 1000 });
  try {
    const first = cold ? judged(["float64"]) : {};
    if (first.report) say("judged", { ...first, partly: true });
    cold = false;
    say("judged", first.trouble ? first : judged());
  } catch (error) {
    say("broken", { text: String(error.message ?? error) });
  }
};
