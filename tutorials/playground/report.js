// A report as a person reads it: the verdict, what is wrong in formulas, the table, how the code was read.
"use strict";

const LETTERS = [
  [/\bgamma\b/g, "γ"], [/\bbeta\b/g, "β"], [/\beps\b/g, "ε"], [/\bx_hat\b/g, "x̂"], [/\bstd\^2/g, "std²"],
  [/\^2\b/g, "²"], [/\^\(-3\/2\)/g, "⁻³ᐟ²"], [/\bsqrt\(/g, "√("], [/ - /g, " − "],
];
const lettered = (formula) => LETTERS.reduce((text, [name, sign]) => text.replace(name, sign), formula);
const linesIn = (text) => [...text.matchAll(/your_code\.py:(\d+)/g)].map((match) => Number(match[1]));

/** Return two formulas as HTML, each word marked that the other has not in that place. */
function compared(measured, expected) {
  const [a, b] = [measured, expected].map((formula) => lettered(formula).match(/\s+|[\w.²̂]+|[^\s\w]/gu) ?? []);
  const same = a.map(() => new Array(b.length + 1).fill(0)).concat([new Array(b.length + 1).fill(0)]);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      same[i][j] = a[i] === b[j] ? same[i + 1][j + 1] + 1 : Math.max(same[i + 1][j], same[i][j + 1]);
  const marked = (word) => (word.trim() ? `<mark>${escaped(word)}</mark>` : word);
  let [left, right, i, j] = ["", "", 0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      left += escaped(a[i++]);
      right += escaped(b[j++]);
    } else if (j === b.length || (i < a.length && same[i + 1][j] >= same[i][j + 1])) left += marked(a[i++]);
    else right += marked(b[j++]);
  }
  const joined = (html) => html.replace(/<\/mark>(\s*)<mark>/g, "$1");
  return [joined(left), joined(right)];
}

const NAMES = /^(?:d?x|d?y|x_hat|d?gamma|d?beta|eps|std|var|jvp)\b/; // which keep their letters
const capital = (text) => (NAMES.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1));
const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
const chips = (lines) => [...new Set(lines)].map((n) => `<button class="chip" data-line="${n}">line ${n}</button>`).join("");
const short = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value));

function bannerOf(good, title, small) {
  return `<div class="banner ${good ? "good" : "bad"}"><span class="sign" aria-hidden="true">${good ? "✓" : "✗"}</span>
    <div><strong>${escaped(title)}</strong><small>${escaped(small)}</small></div></div>`;
}

function findingOf(finding) {
  const { title, measured, formula, effect, expected, got, quantity, index, kind } = finding;
  const lines = chips(linesIn(title));
  let html = `<article class="finding ${kind}"><h2>${escaped(capital(title.replace(/ at your_code\.py:\d+/g, "")))}${lines}</h2>`;
  if (measured) {
    const [left, right] = compared(measured, formula);
    html += `<dl><dt>measured</dt><dd class="formula">${left}</dd><dt>expected</dt><dd class="formula">${right}</dd></dl>`;
  }
  if (effect) html += `<p>${escaped(effect)}</p>`;
  const cases = finding.cases.length ? `In ${count(finding.cases.length, "case")}.` : "";
  const clear = expected === null || got === null
    ? ""
    : ` The clearest: ${quantity}${index.length ? `[${index.join(", ")}]` : ""} should be ${short(expected)} and is ${short(got)}.`;
  return html + (cases ? `<p class="small">${escaped(cases + clear)}</p>` : "") + "</article>";
}

/** What is not written yet, told in one piece; the rest one by one. */
function findingsOf(findings) {
  const isMissing = (finding) => /is NoneType, expected a NumPy array/.test(finding.title);
  const missing = findings.filter(isMissing).flatMap((finding) => finding.quantities);
  const told = missing.length
    ? `<article class="finding"><h2>Not written yet: ${escaped([...new Set(missing)].join(" · "))}</h2>
       <p>These come back as None. The verdict is renewed each time you judge.</p></article>`
    : "";
  return findings.filter((finding) => !isMissing(finding)).map(findingOf).join("") + told;
}

const STATES = ["WRONG", "CONVENTION", "NUMERICS", "unclaimed", "fragile", "ok"]; // the worst that is there is shown
function tableOf(path, dtypes, rows) {
  const cellOf = (quantities, dtype) => {
    const own = path.cells.filter((cell) => cell.dtype === dtype && quantities.includes(cell.quantity));
    const state = STATES.find((name) => own.some((cell) => cell.state === name));
    if (!state) return '<td class="none">–</td>';
    if (state === "unclaimed") return '<td class="none">loses digits</td>';
    if (state !== "ok" && state !== "fragile") return `<td class="bad">✗ ${state.toLowerCase()}</td>`;
    const worst = Math.max(...own.map((cell) => Number(cell.worst)));
    return `<td class="good">✓${state === "fragile" ? " fragile" : ""}<small>${worst.toFixed(2)}</small></td>`;
  };
  const lines = Object.entries(rows)
    .filter(([, quantities]) => path.cells.some((cell) => quantities.includes(cell.quantity)))
    .map(([name, quantities]) => `<tr><th scope="row">${escaped(name)}</th>${dtypes.map((d) => cellOf(quantities, d)).join("")}</tr>`);
  const head = dtypes.map((dtype) => `<th scope="col">${dtype}</th>`).join("");
  return `<div class="scroll"><table><thead><tr><th scope="col">result</th>${head}</tr></thead><tbody>${lines.join("")}</tbody></table></div>
    <p class="small">Beside each ✓ stands the worst error, in units of what rounding may cost: 1 is the limit.</p>`;
}

function pathOf(path, report, rows) {
  const convention = path.convention || report.convention;
  const kinds = ["wrong", "convention", "numerics"].map((kind) => [path.findings.filter((f) => f.kind === kind).length, kind]);
  const found = kinds.filter(([n]) => n).map(([n, kind]) => `${n} ${kind}`);
  const small = [...found, `${count(path.cases, "case")} in ${count(report.dtypes.length, "format")}`].join(" · ");
  const title = path.conforms ? `It conforms to ${convention}.` : `It deviates from ${convention}.`;
  const read = [path.reading, path.followed, ...path.gaps, ...path.remarks].filter(Boolean);
  for (const why of new Set(Object.values(path.not_judged)))
    read.push(`${why}: ${Object.keys(path.not_judged).filter((name) => path.not_judged[name] === why).join(", ")}`);
  return (
    (report.paths.length > 1 ? `<h2>${escaped(path.name)}</h2>` : "") +
    bannerOf(path.conforms, path.cells.length ? title : "Nothing could be judged.", small) +
    findingsOf(path.findings) +
    (path.cells.length ? tableOf(path, report.dtypes, rows) : "") +
    `<ul class="read">${read.map((line) => `<li>${escaped(line)}</li>`).join("")}</ul>`
  );
}

/** Return the answer of `judge.py` as HTML, and the lines of the code that it names. */
function shown({ report, rows, text, trouble, line, printed, partly }) {
  let html = "";
  let lines = line ? [line] : [];
  if (trouble) {
    lines = lines.length ? lines : linesIn(trouble);
    const told = trouble.replace(/ at your_code\.py:\d+/g, "").replace(/^your_code\.py /, "The code ");
    html = bannerOf(false, "It could not be judged.", "No verdict yet") +
      `<article class="finding"><h2>${lines.length ? `There is an error in${chips(lines)}` : "Why"}</h2><p>${escaped(told)}</p></article>`;
  } else {
    lines = report.paths.flatMap((path) => path.findings.flatMap((finding) => linesIn(finding.title)));
    if (partly) html = '<p class="small">In float64; the other formats follow.</p>';
    html += report.paths.map((path) => pathOf(path, report, rows)).join("");
    if (report.notes.length) html += `<ul class="read">${report.notes.map((note) => `<li>${escaped(note)}</li>`).join("")}</ul>`;
  }
  if (printed) html += `<details><summary>What your code printed</summary><pre>${escaped(printed)}</pre></details>`;
  if (text) html += `<details><summary>The report as the command line prints it</summary><pre>${escaped(text)}</pre></details>`;
  return { html, lines };
}
