"""What the built book must be: `complaints` says which links lead nowhere, what is missing or was left unrendered."""

import html
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LATEX = re.compile(r"\$[^$\s][^$]*\$|\\(?:frac|sqrt|sum|hat|begin|left|text|mathrm|operatorname)(?![a-z])|\\\(|\\\[")
MARKDOWN = re.compile(r"\]\([\w./#-]+\)|^\s*```|\{code-cell\}|\{include\}")


class Page(HTMLParser):
    """Links, what is loaded, anchors, formulas and text outside code of one page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors, self.alts, self.formulas, self.prose = [], [], set(), [], 0, []
        self.code = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        self.anchors |= {a[name] for name in ("id", "name") if a.get(name)}
        if tag == "a" and a.get("href"):
            self.links.append(a["href"])
        elif a.get(LOADED.get(tag, "")) and a.get("rel") not in ("prev", "next", "index", "search", "canonical"):
            self.loads.append(a[LOADED[tag]])
        if tag == "img":
            self.alts.append((a.get("src"), a.get("alt") or ""))
        self.formulas += "math" in (a.get("class") or "").split() and bool(a.get("aria-label"))
        if tag in ("pre", "code", "script", "style", "svg") or self.code:
            self.code += [tag] * (tag not in VOID)

    def handle_endtag(self, tag):
        if tag in self.code:
            del self.code[len(self.code) - 1 - self.code[::-1].index(tag) :]

    def handle_data(self, data):
        if not self.code:
            self.prose.append(data)


def complaints(book):
    """Return what is wrong with a built book, page by page."""
    book = Path(book).resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(book.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        where = path.relative_to(book)
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    found.append(f"{where}: loads {link}, which needs a network")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                found.append(f"{where}: link to {link}: there is no such file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{where}: link to {link}: there is no such place")
        found += [f"{where}: image {src}: no alternative text" for src, alt in page.alts if not alt.strip()]
        prose = " ".join(page.prose)
        found += [f"{where}: not set as a formula: {match[0]!r}" for match in LATEX.finditer(prose)]
        found += [f"{where}: Markdown left: {match[0]!r}" for match in MARKDOWN.finditer(prose)]
    return found


def misfits(book, chromium):
    """Return what does not fit, or is not shown, in headless Chromium 1280 and 390 pixels wide."""
    book = Path(book).resolve()
    pages = sorted(path.relative_to(book).as_posix() for path in book.rglob("*.html"))
    look = Path(__file__).with_name("look.html").read_text(encoding="utf-8")
    page = book / "look.html"
    page.write_text(look.replace("/* PAGES */ []", json.dumps(pages)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    command = [chromium, *options, "--virtual-time-budget=600000", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    page.unlink()
    seen = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert seen, f"Chromium has not come to an end: {done.stderr[-2000:]}"
    answer = json.loads(html.unescape(seen[1]))
    assert answer["pages"] == len(pages)
    return answer["found"]
