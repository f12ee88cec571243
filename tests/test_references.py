"""The papers of the lessons and `references.bib` are the same; what is quoted exists; the glossary's words are used.

Not verified: that a DOI or an arXiv number leads to the paper beside it, which needs a network.
"""

import re

from tutorial_pages import FENCE, FOLDER, PAGES

import refnorm

BIB = (FOLDER / "references.bib").read_text(encoding="utf-8")
FIELDS = re.compile(r"(\w+)\s*=\s*[{](.*?)[}]\s*(?:,|$)", re.MULTILINE)
ENTRIES = {
    key: dict(FIELDS.findall(body))
    for key, body in re.findall(r"^@\w+\{([\w-]+),\n(.*?)^\}", BIB, re.MULTILINE | re.DOTALL)
}


def linked():
    text = "\n".join(PAGES.values())
    return {*re.findall(r"https://arxiv\.org/abs/([\d.]+)", text), *re.findall(r"https://doi\.org/([^)\s]+)", text)}


def test_every_paper_that_is_linked_has_an_entry_and_every_entry_is_linked():
    named = {entry.get("eprint", entry.get("doi")) for entry in ENTRIES.values()}
    assert None not in named
    assert named == linked()
    assert len(named) == len(ENTRIES) == BIB.count("\n@")


def test_every_entry_says_who_what_and_when():
    for key, entry in ENTRIES.items():
        assert {"author", "title", "year"} <= set(entry), key
        assert entry["year"] in key, key
        assert entry.get("eprint", entry["year"])[:2] <= entry["year"][2:] or "doi" in entry, key
    assert BIB.count("{") == BIB.count("}")


def test_what_a_page_says_of_a_paper_is_what_its_entry_says():
    """Where a page names year and number of a paper beside each other, the year is that of the entry."""
    years = {entry["eprint"]: entry["year"] for entry in ENTRIES.values() if "eprint" in entry}
    seen = 0
    for name, text in PAGES.items():
        for year, title, number in re.findall(r"\((\d{4})\), \*([^*]+)\*,?\s+\[arXiv:([\d.]+)\]", FENCE.sub("", text)):
            assert years[number] == year, (name, number)
            (entry,) = [e for e in ENTRIES.values() if e.get("eprint") == number]
            plain = re.sub(r"[{}`'\"]", "", entry["title"]).lower()
            assert plain.startswith(" ".join(re.sub(r"[\"`']", "", title).lower().split())[:20]), (name, title)
            seen += 1
    assert seen > 10


def test_a_paper_is_never_named_without_its_link():
    for name, text in PAGES.items():
        assert not re.findall(r"(?<!\[)arXiv:\d", FENCE.sub("", text)), name
        assert not re.findall(r"(?<!\[)doi:10\.", FENCE.sub("", text)), name


def test_what_the_page_on_quoting_quotes_exists():
    text = PAGES["quote.md"]
    assert set(re.findall(r"\d+\.\d+\.\d+", text)) == {refnorm.__version__}
    for path in re.findall(r"((?:tutorials|figures)/[\w\\-]+\.(?:md|svg|py))", text):
        assert (FOLDER.parent / path.replace("\\", "")).is_file(), path
    title = re.search(r"title\s*= \{(Derive[^}]*)\}", text)[1]
    assert PAGES["backward-twice.md"].count(f"# {title}\n") == 1


def test_the_glossary_is_in_order_and_explains_words_that_the_lessons_use():
    terms = re.findall(r"^\*\*(.+?)\*\*", PAGES["glossary.md"], re.MULTILINE)
    plain = [re.sub(r"[^a-z ]", "", re.sub(r"\$.*?\$", "", term).lower()).strip() for term in terms]
    assert plain == sorted(plain, key=lambda term: term.split()[0])
    lessons = "\n".join(text for name, text in PAGES.items() if name != "glossary.md").lower()
    for term in terms:
        for word in re.sub(r"\$.*?\$", "", term).strip(" .").split(","):
            assert word.strip().lower() in lessons or not word.strip(), word
