// An editor for a page of Python: a text field under painted text, with line numbers and lines that can be marked.
"use strict";

const TOKENS = new RegExp(
  [
    String.raw`(?<c>#.*)`,
    String.raw`(?<s>"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)`,
    String.raw`(?<=\b(?:def|class)\s+)(?<d>\w+)`,
    String.raw`\b(?<k>and|as|assert|break|class|continue|def|del|elif|else|except|False|finally|for|from|global|if|import|in|is|lambda|None|nonlocal|not|or|pass|raise|return|True|try|while|with|yield)\b`,
    String.raw`\b(?<n>\d[\w.]*(?:(?<=[eE])[+-]\d+)?)`,
  ].join("|"),
  "g",
);
const INDENT = "    ";

const escaped = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

/** Return Python as HTML, its words in the colours of their kinds. */
function painted(code) {
  let html = "";
  let from = 0;
  for (const match of code.matchAll(TOKENS)) {
    const kind = Object.keys(match.groups).find((name) => match.groups[name] !== undefined);
    html += escaped(code.slice(from, match.index)) + `<span class="t-${kind}">${escaped(match[0])}</span>`;
    from = match.index + match[0].length;
  }
  return html + escaped(code.slice(from));
}

/** Make an editor of an element; `changed` and `judged` are called when the code changes, and on Ctrl+Enter. */
function editorIn(element, { changed, judged }) {
  element.innerHTML = `<div class="gutter" aria-hidden="true"></div><div class="sheet"><pre aria-hidden="true"></pre>
    <textarea aria-label="Your code, in Python" spellcheck="false" autocapitalize="off" autocomplete="off" autocorrect="off"
    wrap="off"></textarea></div>`;
  const [gutter, pre, field] = ["div.gutter", "pre", "textarea"].map((name) => element.querySelector(name));
  let bad = new Set();
  let leaving = false;

  const paint = () => {
    const lines = field.value.split("\n");
    gutter.innerHTML = lines.map((_, k) => `<span${bad.has(k + 1) ? ' class="bad"' : ""}>${k + 1}</span>`).join("");
    // a span that goes over lines, as a docstring does, is closed and opened again at each
    let open = "";
    const html = painted(field.value).split("\n").map((line, k) => {
      const whole = open + line;
      const last = [...whole.matchAll(/<span class="t-\w">|<\/span>/g)].pop();
      open = last && last[0] !== "</span>" ? last[0] : "";
      const text = whole + (open ? "</span>" : "");
      return bad.has(k + 1) ? `<span class="bad">${text || " "}</span>` : text;
    });
    pre.innerHTML = html.join("\n") + "\n";
  };
  const insert = (text) => document.execCommand("insertText", false, text); // keeps what "undo" knows
  const reindent = (out) => {
    const { value, selectionStart: a, selectionEnd: b } = field;
    const start = value.lastIndexOf("\n", a - 1) + 1;
    const old = value.slice(start, b);
    const text = out ? old.replace(/^ {1,4}/gm, "") : old.replace(/^(?=.)/gm, INDENT);
    field.setSelectionRange(start, b);
    insert(text);
    field.setSelectionRange(start, start + text.length);
  };
  field.addEventListener("input", () => {
    bad = new Set();
    paint();
    changed();
  });
  field.addEventListener("keydown", (event) => {
    const { key, shiftKey, ctrlKey, metaKey } = event;
    if (key === "Enter" && (ctrlKey || metaKey)) {
      event.preventDefault();
      judged();
    } else if (key === "Enter") {
      event.preventDefault();
      const line = field.value.slice(0, field.selectionStart).split("\n").pop();
      insert("\n" + line.match(/^ */)[0] + (/:\s*$/.test(line) ? INDENT : ""));
    } else if (key === "Tab" && !leaving) {
      event.preventDefault();
      const many = field.value.slice(field.selectionStart, field.selectionEnd).includes("\n");
      if (many || shiftKey) reindent(shiftKey);
      else insert(INDENT);
    }
    leaving = key === "Escape" || (leaving && key === "Shift");
  });
  return {
    get code() {
      return field.value;
    },
    set code(text) {
      field.value = text;
      bad = new Set();
      paint();
      element.scrollTop = 0;
    },
    /** Mark lines as those where something was raised. */
    mark(lines) {
      bad = new Set(lines);
      paint();
    },
    /** Put the cursor on a line, and the line in sight. */
    go(line) {
      const start = field.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1);
      field.focus({ preventScroll: true });
      field.setSelectionRange(start, start);
      gutter.children[line - 1]?.scrollIntoView({ block: "center" });
    },
  };
}
