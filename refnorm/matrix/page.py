"""The matrix as pages: Markdown for a code host, and one file of HTML that filters, and folds on a phone."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from refnorm.matrix.table import COLUMNS, changed, findings_by_path, grouped

HEAD = """\
What each framework does, measured: every cell is an outcome of the command beside it, none is from memory.

Weights of momentum are those it gives to the new batch, the old value, or running sums. Digits: worst error of y of
training (of inference, where there is no training), float32, in units of the last place of the largest value, at
mean/std = 0, 1e3 and 1e6. Layout: memory layouts whose y differs in a bit; threads: whether y of a large batch is the
same on one core as on all. What to know is made from the measurements, the worst of them first; the column
beside it counts what `refnorm check` finds in float64, float32 and float16, by the row of the path; the findings
themselves stand below. Remade by `refnorm matrix`.
"""
PAST = "The last change of each framework; history.jsonl beside this page has all of them."
STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.2rem}h3{font-size:1rem}p,ul{max-width:75ch}li{overflow-wrap:anywhere}
#filter{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center;margin:1rem 0}
#filter input,#filter select{font:inherit;padding:.4rem .6rem;border:1px solid #888;border-radius:4px}
.scroll{overflow:auto;max-height:92vh;border:1px solid #bbb}
table{border-collapse:separate;border-spacing:0}
th,td{border:0 solid #ccc;border-width:0 1px 1px 0;padding:.3rem .5rem;vertical-align:top;text-align:left}
td,tbody th[scope=row]{min-width:6rem;max-width:18rem;overflow-wrap:break-word}td:nth-of-type(1){min-width:16rem}
thead th{position:sticky;top:0;background:#e4e4e4;z-index:2}
tbody th[scope=row]{position:sticky;left:0;background:#f7f7f7;z-index:1}
thead th:first-child{left:0;z-index:3}
tbody th[scope=rowgroup]{background:#24476b;color:#fff;font-size:1.05rem}
tbody th[scope=rowgroup] span{position:sticky;left:.5rem}
td.conforms{background:#d5ecdf}td.deviates{background:#fbe3cf}
@media (max-width:700px){
.scroll{overflow:visible;max-height:none;border:0}
table,tbody,tr,td,tbody th[scope=row],tbody th[scope=rowgroup]{display:block;border:0;max-width:none;min-width:0}
thead{display:none}tbody th[scope=rowgroup]{position:sticky;top:0;z-index:2;padding:.5rem}
tbody.rows tr:not(.group){border:1px solid #bbb;border-radius:6px;margin:.5rem 0;overflow:hidden}
tbody.rows th[scope=row]{position:static;cursor:pointer}
tbody.rows th[scope=row]::after{content:" \\25be";color:#555}tr.open th[scope=row]::after{content:" \\25b4"}
td:empty{display:none}tbody.rows td:nth-of-type(n+3){display:none}
tbody.rows tr.open td:not(:empty){display:block}
tbody.rows td:not(:nth-of-type(1))::before{content:attr(data-column) ": ";font-weight:600}}
"""
SCRIPT = """
const [text, kind, shown] = ["text", "kind", "shown"].map(id => document.getElementById(id));
const bodies = [...document.querySelectorAll("tbody.rows")];
function filter() {
  const words = text.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let count = 0;
  for (const body of bodies) {
    let any = false;
    for (const row of body.querySelectorAll("tr:not(.group)")) {
      const said = (row.textContent + " " + body.dataset.group).toLowerCase();
      const fits = words.every(word => said.includes(word)) && row.dataset.verdict.startsWith(kind.value);
      row.hidden = !fits;
      row.style.display = fits ? "" : "none";
      any ||= fits;
      count += fits;
    }
    body.style.display = any ? "" : "none";
  }
  shown.textContent = count + " rows";
}
text.addEventListener("input", filter);
kind.addEventListener("change", filter);
for (const body of bodies)
  body.addEventListener("click", event => {
    const head = event.target.closest("th[scope=row]");
    if (head) head.parentElement.classList.toggle("open");
  });
filter();
"""


def markdown_page(results: dict[str, dict[str, Any]], history: Sequence[dict[str, Any]] = ()) -> str:
    """Return the table in Markdown, a part for each group, and what earlier runs found otherwise."""
    lines = ["# Conventions, measured", "", HEAD.rstrip()]
    for group, rows in grouped(results):
        lines += ["", f"## {_title(group)}", "", f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    lines += [
        "",
        "## Versions and commands",
        "",
        "| framework | versions | date | command |",
        "| --- | --- | --- | --- |",
    ]
    for name, result in results.items():
        version = result.get("versions", {}).get("target", "")
        lines.append(f"| {name} | {version} | {result['date']} | `{result.get('command', '')}` |")
    lines += ["", "## What `refnorm check` finds"]
    for path, findings in findings_by_path(results):
        lines += ["", f"{path}:", "", *(f"- {line}" for line in findings)]
    lines += ["", "## What has changed", "", PAST] if history else []
    for title, differences in changed(history):
        lines += ["", f"{title}:", "", *(f"- {line}" for line in differences)]
    return "\n".join(lines) + "\n"


def html_page(results: dict[str, dict[str, Any]], history: Sequence[dict[str, Any]] = ()) -> str:
    """Return the table as one HTML page, and what earlier runs found otherwise.

    Without its script the page shows all rows; on a phone each row is a card that opens.
    """
    head = "".join(f"<th scope=col>{html.escape(c)}</th>" for c in COLUMNS)
    bodies = "".join(
        f'<tbody class=rows data-group="{html.escape(group)}"><tr class=group>'
        f"<th scope=rowgroup colspan={len(COLUMNS)}><span>{html.escape(_title(group))}</span></th></tr>\n"
        f"{''.join(map(_html_row, rows))}</tbody>\n"
        for group, rows in grouped(results)
    )
    lists, past = (
        "".join(
            f"<h3>{html.escape(title)}</h3>\n<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>\n"
            for title, lines in sections
        )
        for sections in (findings_by_path(results), changed(history))
    )
    past = f"<h2>What has changed</h2>\n<p>{html.escape(PAST)}</p>\n{past}" if past else ""
    runs = "".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(r.get('versions', {}).get('target', ''))}</td>"
        f"<td>{html.escape(r['date'])}</td><td><code>{html.escape(r.get('command', ''))}</code></td></tr>\n"
        for name, r in results.items()
    )
    intro = re.sub("`(.+?)`", r"<code>\1</code>", html.escape(HEAD)).strip().replace("\n\n", "</p>\n<p>")
    choices = "".join(
        f"<option value={value}>{said}</option>"
        for value, said in (('""', "any verdict"), ("conforms", "conforms"), ("deviates", "deviates"))
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Conventions, measured</title><style>{STYLE}</style></head><body>\n"
        f"<h1>Conventions, measured</h1>\n<p>{intro}</p>\n"
        f'<div id=filter><input id=text type=search aria-label="Show rows with these words" '
        f'placeholder="words: keras float16"><select id=kind aria-label="Show rows with this verdict">{choices}'
        f"</select><output id=shown></output></div>\n"
        f"<div class=scroll><table><thead><tr>{head}</tr></thead>\n{bodies}</table></div>\n"
        f"<h2>What refnorm check finds</h2>\n{lists}{past}"
        f"<h2>Versions and commands</h2>\n<div class=scroll><table><tbody>{runs}</tbody></table></div>\n"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _html_row(row: Sequence[str]) -> str:
    verdict = next((word for word in ("conforms", "deviates") if row[2].startswith(word)), "none")
    kinds = ["", f" class={verdict}", *[""] * (len(row) - 3)]
    cells = (
        f'<td{kind} data-column="{html.escape(column)}">{html.escape(cell)}</td>'
        for kind, column, cell in zip(kinds, COLUMNS[1:], row[1:], strict=True)
    )
    return f"<tr data-verdict={verdict}><th scope=row>{html.escape(row[0])}</th>{''.join(cells)}</tr>\n"


def _title(group: str) -> str:
    return f"{group[:1].upper()}{group[1:]}"
