// The judge: starts Python in a thread, sends it the code, shows what comes back; links that carry code.
"use strict";

{
  const PATIENCE = 60000; // milliseconds without a sign of life, after which code is taken for endless
  const at = (id) => document.getElementById(id);
  const [run, stop, share, example, said, progress, verdict] =
    ["run", "stop", "share", "example", "said", "progress", "verdict"].map(at);
  let worker = null;
  let ready = false;
  let judging = false;
  let wanted = false; // to be judged as soon as Python is ready
  let last = "";
  let watch = 0;

  const editor = editorIn(at("editor"), { changed: () => verdict.classList.add("stale"), judged: () => judge() });

  const tell = (text, value = null) => {
    said.textContent = text;
    if (value === null) progress.removeAttribute("value");
    else progress.value = value;
  };
  const busy = (now) => {
    judging = now;
    run.disabled = now;
    stop.hidden = !now;
    clearTimeout(watch);
  };
  const wait = () => {
    clearTimeout(watch);
    watch = setTimeout(() => halt(`No sign of life for ${PATIENCE / 1000} s`), PATIENCE);
  };
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

  /** Start Python; what stands in the editor is judged when it is ready, if that was wanted. */
  function start() {
    ready = false;
    if (location.protocol === "file:") {
      run.disabled = true;
      tell("Browsers let no page that was opened as a file load Python. In the folder of the book, run "
        + "python -m http.server and open the address that it prints.", 0);
      return;
    }
    worker = new Worker("worker.js");
    worker.onmessage = ({ data }) => heard[data.kind](data);
    worker.onerror = (error) => heard.failed({ text: error.message });
  }

  const heard = {
    loading: ({ come, total }) => tell(`Loading Python: ${megabytes(come)} of ${megabytes(total)} MB`, (0.6 * come) / total),
    starting: () => tell("Starting Python", 0.7),
    ready: () => {
      ready = true;
      tell("Python is ready.", 1);
      if (wanted) judge();
    },
    failed: ({ text }) => {
      worker.terminate(); // the other files may still be on their way, and would tell of it
      worker = null;
      run.disabled = true;
      tell(`Python could not be loaded: ${text}. Reload the page to try again.`, 0);
    },
    progress: ({ number, of, name }) => {
      last = name;
      if (of && number === of) { // from here on refnorm reads what came back, and the code runs no more
        clearTimeout(watch);
        tell("Reading the formula off the numbers");
        return;
      }
      wait();
      if (of) tell(`Judging: case ${number} of ${of}`, number / of);
    },
    judged: (answer) => {
      if (answer.partly) {
        show(answer);
        return;
      }
      busy(false);
      tell(answer.trouble ? "It could not be judged." : `Judged ${answer.report.cases} cases in ${answer.seconds.toFixed(1)} s.`, 1);
      show(answer);
    },
    broken: ({ text }) => {
      busy(false);
      tell("refnorm itself failed; please report this.", 0);
      show({ trouble: text });
    },
  };

  function show(answer) {
    const { html, lines } = shown(answer);
    verdict.innerHTML = html;
    verdict.classList.remove("stale");
    editor.mark(lines);
    if (!answer.partly) document.body.dataset.verdict = answer.report ? (answer.report.conforms ? "conforms" : "deviates") : "trouble";
  }

  function judge() {
    if (judging || !worker) return;
    wanted = !ready;
    if (wanted) return;
    busy(true);
    delete document.body.dataset.verdict;
    tell("Judging");
    wait();
    worker.postMessage({ code: editor.code });
  }

  /** End the thread, whatever it does, and start another. */
  function halt(why) {
    worker.terminate();
    busy(false);
    const where = last ? `, in case ${last}` : "";
    show({ trouble: `${why}${where}: Python was ended and is started again. Is there an endless loop?` });
    wanted = false;
    start();
  }

  // A link carries the code in its fragment, compressed: #code=...
  const through = async (bytes, stream) =>
    new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
  async function packed(code) {
    const bytes = await through(new TextEncoder().encode(code), new CompressionStream("deflate-raw"));
    return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  }
  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    return new TextDecoder().decode(await through(bytes, new DecompressionStream("deflate-raw")));
  }

  share.onclick = async () => {
    const link = new URL(`#code=${await packed(editor.code)}`, location.href);
    history.replaceState(null, "", link);
    try {
      await navigator.clipboard.writeText(link.href);
      share.textContent = "Link copied";
    } catch {
      share.textContent = "Link is in the address bar";
    }
    setTimeout(() => (share.textContent = "Copy link"), 2500);
  };

  example.innerHTML = EXAMPLES.map(({ name }, k) => `<option value="${k}">${escaped(name)}</option>`).join("");
  example.onchange = () => {
    editor.code = EXAMPLES[example.value].code;
    verdict.classList.add("stale");
    judge();
  };
  run.onclick = () => {
    judge();
    if (innerWidth < 960) at("status").scrollIntoView({ block: "start" }); // below the editor there
  };
  stop.onclick = () => halt("Stopped");
  verdict.onclick = ({ target }) => target.dataset.line && editor.go(Number(target.dataset.line));

  const noted = (title, text) => `<article class="finding numerics"><h2>${title}</h2><p>${text}</p></article>`;

  /** Put the code of the link into the editor; it is not run before someone has had a look at it. */
  async function fromLink() {
    const [, carried] = location.hash.match(/^#code=(.+)$/) ?? [];
    if (!carried) return false;
    try {
      editor.code = await unpacked(carried);
    } catch {
      verdict.innerHTML = bannerOf(false, "The link is damaged.", "No code could be read from it");
      return false;
    }
    wanted = false;
    verdict.innerHTML = noted("This code came with the link", "Read it, then press Judge. It runs in this page, in your browser.");
    return true;
  }

  const empty = location.hash === "#skeleton"; // where a lesson sends those who write it themselves
  example.value = empty ? 1 : 0;
  editor.code = EXAMPLES[example.value].code;
  if (empty) verdict.innerHTML = noted("An empty skeleton", "Write what is None, then press Judge. You may judge a part: what is missing is told.");
  const came = fromLink();
  let started = false;
  addEventListener("hashchange", fromLink);
  addEventListener("shown", async ({ detail }) => {
    if (detail !== "judge" || started) return; // who only plays needs no Python
    started = true;
    wanted = !(await came) && !empty;
    start();
  });
}
