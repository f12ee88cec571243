// Live cells: the code of a page of the book, to be changed and run where it stands. Python is the playground's.
"use strict";

(() => {
  const button = document.querySelector("button.run-page");
  if (!button) return;
  const base = new URL("playground/", document.baseURI);
  const status = button.nextElementSibling;
  const inputs = [...document.querySelectorAll("div.cell > div.cell_input pre")];
  let worker, waiting = new Map(), done = -1; // the last cell that has run since Python started
  let queue = Promise.resolve();

  const say = (text) => { status.textContent = text; };
  const ask = (kind, more) => new Promise((resolve, reject) => {
    const number = waiting.size ? Math.max(...waiting.keys()) + 1 : 1;
    waiting.set(number, { resolve, reject });
    worker.postMessage({ kind, number, ...more });
  });

  function heard({ data }) {
    if (data.kind === "loading") say(`Python is coming: ${Math.round(100 * data.come / data.total)} %`);
    if (data.kind === "starting") say("Python starts ...");
    if (data.kind === "failed") say(`Python could not be loaded: ${data.text}`);
    const one = waiting.get(data.number);
    if (!one) return;
    waiting.delete(data.number);
    data.kind === "broken" ? one.reject(new Error(data.text)) : one.resolve(data);
  }

  function output(input) {
    const cell = input.closest("div.cell");
    let place = cell.querySelector(":scope > div.cell_output");
    if (!place) {
      place = document.createElement("div");
      place.className = "cell_output docutils container";
      cell.append(place);
    }
    return place;
  }

  const SVG = "http://www.w3.org/2000/svg";
  const SHAPES = ["svg", "title", "desc", "g", "path", "polyline", "rect", "circle", "text"];
  const LOOKS = /^(viewBox|width|height|role|x|y|cx|cy|r|d|points|fill|stroke|font|text-anchor)(-\w+)*$/;

  /** Take over of an SVG what draws, and nothing that acts or is loaded: no script, no link, no style. */
  function picture(text) {
    const root = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    if (root.namespaceURI !== SVG || root.localName !== "svg") return "What this cell returns to be drawn is no SVG.";
    for (const element of [root, ...root.querySelectorAll("*")]) {
      if (element.namespaceURI !== SVG || !SHAPES.includes(element.localName)) element.remove();
      for (const { name, value } of [...element.attributes])
        if (!LOOKS.test(name) || value.includes("url(")) element.removeAttribute(name);
    }
    return document.importNode(root, true);
  }

  function show(input, { printed = "", drawn = "", trouble = "", line = null }) {
    const text = document.createElement("pre");
    text.textContent = printed;
    const parts = printed ? [text] : [];
    if (drawn) parts.push(picture(drawn));
    if (trouble) {
      const said = document.createElement("p");
      said.className = "cell-trouble";
      said.setAttribute("role", "alert");
      said.textContent = (line ? `Line ${line}: ` : "") + trouble;
      parts.push(said);
    }
    output(input).replaceChildren(...parts);
    input.closest("div.cell").dataset.ran = trouble ? "trouble" : "well";
  }

  /** Run a cell, and first those before it that have not run yet; stop at the first that raises. */
  async function run(last) {
    for (let k = Math.min(done + 1, last); k <= last; k++) {
      say(`Cell ${k + 1} of ${inputs.length} runs ...`);
      inputs[k].closest("div.cell").dataset.ran = "now";
      const answer = await ask("cell", { code: inputs[k].innerText });
      show(inputs[k], answer);
      if (answer.trouble) return say(`Cell ${k + 1} raised; what comes after it was not run.`);
      done = Math.max(done, k);
    }
    say(done === inputs.length - 1 ? "Every cell has run. Change one, and run it again." : `Cells 1 to ${done + 1} have run.`);
  }

  const later = (last) => { queue = queue.then(() => run(last)).catch((error) => say(String(error.message ?? error))); };

  /** Begin a line as deep as the last one, or deeper after a colon. */
  function breakLine(input) {
    const before = document.createRange(), caret = getSelection().getRangeAt(0);
    before.selectNodeContents(input);
    before.setEnd(caret.startContainer, caret.startOffset);
    const above = before.cloneContents();
    for (const br of above.querySelectorAll("br")) br.replaceWith("\n");
    const line = above.textContent.split("\n").pop();
    document.execCommand("insertText", false, "\n" + line.match(/^ */)[0] + (/:\s*$/.test(line) ? "    " : ""));
  }

  function prepare(input, k) {
    input.contentEditable = "plaintext-only";
    input.spellcheck = false;
    input.setAttribute("role", "textbox");
    input.setAttribute("aria-multiline", "true");
    input.setAttribute("aria-label", `Code of cell ${k + 1}`);
    input.addEventListener("keydown", (event) => {
      event.stopPropagation(); // else the book takes a slash for its own, and goes to the field of its search
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      if (event.ctrlKey || event.shiftKey || event.metaKey) later(k);
      else breakLine(input);
    });
    const go = document.createElement("button");
    go.type = "button";
    go.className = "run-cell";
    go.textContent = "Run";
    go.title = `Run cell ${k + 1}, and those before it that have not run (Ctrl+Enter)`;
    go.addEventListener("click", () => later(k));
    input.closest("div.cell_input").append(go);
  }

  button.addEventListener("click", async () => {
    button.textContent = "Run all cells";
    if (!worker) {
      worker = new Worker(new URL("worker.js", base));
      worker.onmessage = heard;
      inputs.forEach(prepare);
      queue = ask("page", { url: button.dataset.files ? new URL(button.dataset.files, document.baseURI).href : "" })
        .catch((error) => { say(String(error.message ?? error)); throw error; });
    }
    later(inputs.length - 1);
  });
})();
